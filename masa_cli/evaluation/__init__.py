"""Results against their truth, by the protocol of their benchmark.

A protocol is a row of PROTOCOLS and nothing else: `masa eval --format`, its help and the table in
docs/evaluation.md are made from the rows or checked against them.
"""

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
    """What the user may choose; each protocol takes some of it, and refuses the rest."""

    allow_missing: bool = False  # results that lack a sequence count as empty
    seqmap: Path | None = None  # file that names the sequences to evaluate
    class_vote: bool = True  # a track is of the class most of its boxes have
    strict: bool = False  # ignore what the data set calls ignored in every metric
    all_classes: bool = False  # score each class that occurs, not those of the benchmark


@dataclass(frozen=True, slots=True)
class Protocol:
    """How results of one kind are compared with their truth.

    Attributes:
        title: which benchmarks, for help and documents.
        module: its `evaluate(gt, results, **options)` gives a Report; imported when it is run.
        takes: names of EvalSettings it is given as options.
        fixed: further options, which make it this protocol and no other.
    """

    title: str
    module: str
    takes: tuple[str, ...]
    fixed: Mapping[str, object] = field(default_factory=dict)


_MOT, _MOT_TAKES = "masa_cli.evaluation.motchallenge", ("allow_missing", "seqmap")
_BOXES_TAKE = (*_MOT_TAKES, "all_classes")
_BDD, _BDD_TAKES = "masa_cli.evaluation.bdd_metrics", ("allow_missing", "strict")

PROTOCOLS: Mapping[str, Protocol] = MappingProxyType(
    {
        "mot": Protocol(
            "MOTChallenge 15 to 17, DanceTrack, SportsMOT",
            _MOT,
            _BOXES_TAKE,
            # Person on a vehicle, static person, distractor, reflection.
            {"classes": {"pedestrian": 1}, "distractors": (2, 7, 8, 12)},
        ),
        "mot20": Protocol(
            "MOT20, where vehicles without motor are distractors as well",
            _MOT,
            _BOXES_TAKE,
            {"classes": {"pedestrian": 1}, "distractors": (2, 6, 7, 8, 12)},
        ),
        "mots": Protocol(
            "MOTS: masks, with ignored regions",
            _MOT,
            _MOT_TAKES,
            {"classes": {"pedestrian": 2}, "masks": True},
        ),
        "kitti-mots": Protocol(
            "KITTI MOTS: masks of cars and pedestrians",
            _MOT,
            _MOT_TAKES,
            {"classes": {"car": 1, "pedestrian": 2}, "masks": True, "first_frame": 0},
        ),
        "tao": Protocol(
            "TAO, also with an open vocabulary: TETA and Track mAP",
            "masa_cli.evaluation.tao_metrics",
            ("allow_missing", "class_vote"),
        ),
        "bdd": Protocol("BDD100K, boxes", _BDD, _BDD_TAKES, {"masks": False}),
        "bdd-mots": Protocol("BDD100K, masks", _BDD, _BDD_TAKES, {"masks": True}),
    }
)

_DEFAULTS = EvalSettings()


def evaluate(
    gt: Path, results: Path, *, protocol: str, settings: EvalSettings = _DEFAULTS
) -> Report:
    """Compare results with their truth.

    Args:
        gt: file or folder, as the protocol has it.
        results: file or folder, as the protocol has it.
        protocol: one of PROTOCOLS.
        settings: choices; those that differ from the default must be known to the protocol.

    Raises:
        SettingsError: a choice does not belong to the protocol, or a library is missing.
        SourceError: a file is missing or malformed, or the two do not belong together.
    """
    row = PROTOCOLS[protocol]
    _check_settings(protocol, settings)
    for path in (gt, results):
        if not path.exists():
            raise SourceError(f"{path} does not exist", fix="check the path")
    options = {choice: getattr(settings, choice) for choice in row.takes}
    report: Report = import_module(row.module).evaluate(gt, results, **row.fixed, **options)
    return report


def _check_settings(protocol: str, settings: EvalSettings) -> None:
    """Raise SettingsError for a choice that the protocol would not look at."""
    for choice in fields(settings):
        is_chosen = getattr(settings, choice.name) != choice.default
        if is_chosen and choice.name not in PROTOCOLS[protocol].takes:
            option = choice.name.replace("_", "-")
            takers = [name for name, row in PROTOCOLS.items() if choice.name in row.takes]
            raise SettingsError(
                f"{option} means nothing to --format {protocol}",
                fix=f"leave it out; it is for {', '.join(takers)}",
            )
