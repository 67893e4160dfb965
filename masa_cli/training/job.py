"""A run of training in its settings, and the files it leaves. No torch."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from masa_cli import __version__
from masa_cli.training.recipe import Recipe


@dataclass(frozen=True, slots=True)
class TrainJob:
    """What to train, on what, and where the results go.

    Attributes:
        data: folders or files of regions.
        variant: a name in `variants.VARIANTS`.
        recipe: how.
        folder: for the results.
        seed: of everything drawn at random.
        device: auto, cpu, cuda or mps.
        precision: of the network: float32, bfloat16 or float16; weights stay float32.
        workers: processes that make views, per process that trains; 0: itself.
        start: a file of weights to go on from.
        weights_dir: folder of weights, where the user named one.
        cutouts: folder of objects to paste into images, `<class>/*.png`.
        videos: folder of sequences with known boxes, to validate with.
        resume: go on from the last checkpoint.
        overwrite: begin anew where there are results.
    """

    data: tuple[Path, ...]
    variant: str
    recipe: Recipe
    folder: Path
    seed: int = 0
    device: str = "auto"
    precision: str = "float32"
    workers: int = 0
    start: Path | None = None
    weights_dir: Path | None = None
    cutouts: Path | None = None
    videos: Path | None = None
    resume: bool = False
    overwrite: bool = False

    @property
    def losses(self) -> Path:
        """A row for each step."""
        return self.folder / "losses.csv"

    @property
    def validation(self) -> Path:
        """A row for each validation."""
        return self.folder / "validation.csv"

    @property
    def curves(self) -> Path:
        """Both as a picture."""
        return self.folder / "curves.png"

    @property
    def checkpoints(self) -> Path:
        """Folder of checkpoints."""
        return self.folder / "checkpoints"

    @property
    def tensorboard(self) -> Path:
        """Folder of TensorBoard's files, where it is installed."""
        return self.folder / "tensorboard"

    @property
    def best(self) -> Path:
        """The weights that validated best."""
        return self.folder / "best.safetensors"

    @property
    def last(self) -> Path:
        """The weights after the last step."""
        return self.folder / "last.safetensors"

    def conditions(self) -> Mapping[str, Any]:
        """All that the result depends on; how often a run looks back may change on the way."""
        settings = self.recipe.record()
        run = {name: settings["run"][name] for name in ("steps", "batch", "part", "held_out")}
        return {
            "masa": __version__,
            "data": [str(path) for path in self.data],
            "variant": self.variant,
            "seed": self.seed,
            "precision": self.precision,
            "start": str(self.start) if self.start else None,
            "cutouts": str(self.cutouts) if self.cutouts else None,
            **settings,
            "run": run,
        }


def is_helper() -> bool:
    """Whether torchrun started this process, and not as the first of a run."""
    return int(os.environ.get("RANK", "0")) > 0
