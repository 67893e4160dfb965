"""Metrics as pure functions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from importlib import import_module
from pathlib import Path
from types import MappingProxyType

from masa_cli.errors import SettingsError, SourceError
from masa_cli.evaluation.report import Report


@dataclass(frozen=True, slots=True)
class EvalSettings:
    """What the user may choose; each protocol takes some of it."""

    allow_missing: bool = False  # results that lack a sequence count as empty
    seqmap: Path | None = None  # file that names the sequences to evaluate
    class_vote: bool = True  # a track is of the class most of its boxes have
    strict: bool = False  # ignore what the data set calls ignored in every metric


@dataclass(frozen=True, slots=True)
class Protocol:
    """How results of one kind are compared with their truth.

    Attributes:
        module: in masa_cli.evaluation; its `evaluate(gt, results, **options)` gives a Report.
        takes: names of EvalSettings it is given.
        fixed: options that make it this protocol and no other.
    """

    module: str
    takes: tuple[str, ...]
    fixed: Mapping[str, object] = field(default_factory=dict)


_MOT = ("allow_missing", "seqmap")
PROTOCOLS: Mapping[str, Protocol] = MappingProxyType(
    {
        "mot": Protocol("motchallenge", _MOT, {"protocol": "mot"}),
        "mot20": Protocol("motchallenge", _MOT, {"protocol": "mot20"}),
        "mots": Protocol("motchallenge", _MOT, {"protocol": "mots"}),
        "kitti-mots": Protocol("motchallenge", _MOT, {"protocol": "kitti-mots"}),
        "tao": Protocol("tao", ("allow_missing", "class_vote")),
        "bdd": Protocol("bdd", ("allow_missing", "strict"), {"masks": False}),
        "bdd-mots": Protocol("bdd", ("allow_missing", "strict"), {"masks": True}),
    }
)


def evaluate(name: str, gt: Path, results: Path, settings: EvalSettings) -> Report:
    """Compare results with their truth by the protocol of that name.

    Args:
        name: one of PROTOCOLS.
        gt: file or folder, as the protocol has it.
        results: file or folder, as the protocol has it.
        settings: choices; those that differ from the default must be known to the protocol.

    Raises:
        SettingsError: a choice does not belong to the protocol, or a library is missing.
        SourceError: a file is missing or malformed, or the two do not belong together.
    """
    protocol = PROTOCOLS[name]
    check_settings(name, settings)
    for path in (gt, results):
        if not path.exists():
            raise SourceError(f"{path} does not exist", fix="check the path")
    options = {choice: getattr(settings, choice) for choice in protocol.takes}
    module = import_module(f"masa_cli.evaluation.{protocol.module}")
    report: Report = module.evaluate(gt, results, **protocol.fixed, **options)
    return report


def check_settings(name: str, settings: EvalSettings) -> None:
    """Raise SettingsError for a choice that the protocol would not look at."""
    for choice in fields(settings):
        is_chosen = getattr(settings, choice.name) != choice.default
        if is_chosen and choice.name not in PROTOCOLS[name].takes:
            option = choice.name.replace("_", "-")
            takers = [other for other, row in PROTOCOLS.items() if choice.name in row.takes]
            raise SettingsError(
                f"{option} means nothing to --format {name}",
                fix=f"leave it out; it is for {', '.join(takers)}",
            )
