"""`masa detectors`: what can find the objects, and what of it is on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer

from masa_cli.cli import options
from masa_cli.cli.doctor import files_of, is_here
from masa_cli.detectors import DETECTORS, GIVEN, DetectorRow, Takes
from masa_cli.detectors.plug_in import installed_plug_ins

Json = Annotated[bool, typer.Option("--json", help="Print as JSON, for machines.")]

_FINDS: dict[Takes, str] = {
    "words": "any words",
    "vocabulary": "classes and words for them",
    "classes": "its own classes",
    "nothing": "any object (segment-track)",
}
_AUTHORS = "its authors'"  # licence of what is not in the manifest
_OWN_LICENCE = "Apache-2.0"  # of what comes with masa


@dataclass(frozen=True, slots=True)
class Listed:
    """A detector, or a model of one."""

    name: str  # as --detector has it
    finds: str
    weights: str  # "here", or how to get them
    is_ready: bool
    licence: str  # of the weights
    runtime: str
    what: str


def detectors(weights_dir: options.WeightsDir = None, json: Json = False) -> None:
    """List the detectors: what they find, whether weights are here, their licence, the runtime.

    Nothing is loaded or downloaded. Models of the Hugging Face hub and of torchvision that are on
    this machine, and plug-ins, are listed one by one. masa doctor tells what packages they lack.
    """
    from masa_cli.cli.console import show_json, show_table

    rows = [*list_detectors(weights_dir)]
    if json:
        show_json({"detectors": [asdict(row) for row in rows]})
        return
    show_table(
        ("name", "finds", "weights", "licence", "runtime", "what"),
        [(r.name, r.finds, r.weights, r.licence, r.runtime, r.what) for r in rows],
        num_left=6,
    )


def list_detectors(folder: Path | None = None) -> Iterator[Listed]:
    """The rows of DETECTORS, each with its models that are here.

    Args:
        folder: the user's --weights-dir.
    """
    for row in DETECTORS.values():
        if row is GIVEN:
            continue
        models = [*_models_of(row, folder)]
        yield _listed(row, folder)
        yield from models


def _listed(row: DetectorRow, folder: Path | None) -> Listed:
    missing = [file.name for file in files_of(row) if not is_here(file, folder)]
    if row.packaged:
        weights, licence = "come with masa", _OWN_LICENCE
    elif row.form:
        weights, licence = "yours", _AUTHORS
    else:
        weights = f"masa weights pull {' '.join(missing)}" if missing else "here"
        licence = files_of(row)[0].licence or "not stated"
    finds = ", ".join(_FINDS[takes] for takes in row.takes if takes in _FINDS)
    if row.name == "hf":
        finds = f"any words, or {finds}"
    return Listed(row.written, finds, weights, not missing, licence, row.runtime, row.summary)


def _models_of(row: DetectorRow, folder: Path | None) -> Iterator[Listed]:
    """Those of a row that are on this machine."""
    if row.name == "plug-in":
        for name, target in installed_plug_ins().items():
            yield Listed(name, "its own classes", "its own", True, _AUTHORS, row.runtime, target)
    elif row.name == "hf":
        from masa_cli.detectors.hugging_face import models_here

        for model, kind, has_words in models_here(folder):
            finds = "any words" if has_words else "its own classes"
            yield Listed(f"hf:{model}", finds, "here", True, _AUTHORS, row.runtime, kind)
    elif row.name == "torchvision":
        from masa_cli.detectors.torchvision_models import models_here as here

        for model in here(folder):
            name = f"{row.prefix}{model}"
            yield Listed(name, "COCO's classes", "here", True, _AUTHORS, row.runtime, row.name)
