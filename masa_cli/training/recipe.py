"""How a variant is trained: everything that decides the result, in one value. No torch.

RECIPES has a row for each; MASA published one recipe, the default of all its variants (spec 10). A
`TrainJob` is a recipe with data, a seed, and where the results go.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from masa_cli import __version__
from masa_cli.errors import SettingsError
from masa_cli.models.variants import VARIANTS, find_variant
from masa_cli.settings import with_changes
from masa_cli.training.augmentations import AugmentationSettings
from masa_cli.training.detection import DetectionSettings, SecondStageLossSettings
from masa_cli.training.matching import ContrastSettings, MatchingSettings
from masa_cli.training.object_prior import ObjectPriorSettings


@dataclass(frozen=True, slots=True)
class OptimiserSettings:
    """How fast weights change, and when slower: by stochastic gradient descent, or AdamW."""

    lr: float = 0.08  # learning rate of a step over `lr_batch` pairs; scaled with the real batch
    lr_batch: int = 64  # pairs
    adam: bool = False  # whether steps are AdamW's, which needs no momentum and smaller rates
    momentum: float = 0.9
    weight_decay: float = 1e-4
    max_gradient: float = 35.0  # length that the gradient of all weights is cut to
    warm_up_steps: int = 1000
    warm_up_from: float = 0.001  # share of the learning rate in the first step
    drop: float = 0.1  # what the learning rate is multiplied by at both of the next two
    first_drop: float = 8 / 12  # share of all steps
    second_drop: float = 11 / 12
    cosine: bool = False  # whether the learning rate falls as a cosine instead, to `drop` squared
    backbone_lr: float = 1.0  # share of the learning rate for an unfrozen backbone
    average: float = 0.0  # what is left, after a step, of the mean of all weights before, which is
    # what is validated and kept instead of the last weights; 0: those

    def __post_init__(self) -> None:
        if not 0 <= self.average < 1:
            raise ValueError("average must be at least 0 and below 1")


@dataclass(frozen=True, slots=True)
class RunSettings:
    """How long a run is, and when it looks back."""

    steps: int = 37_500
    batch: int = 64  # pairs per step, over all processes
    part: int = 8  # pairs that one process takes through the network at a time
    save_every: int = 500  # steps
    keep: int = 3  # checkpoints
    validate_every: int = 1000  # steps
    held_out: float = 0.02  # share of the images that validation has for itself
    max_held_out: int = 200  # most of them

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "part", "save_every", "keep", "validate_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1")
        if not 0 < self.held_out < 1:
            raise ValueError("held_out must be between 0 and 1")


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that decides what a run ends with, apart from data and seed.

    Attributes:
        variant: the row of `variants.VARIANTS` that is trained.
        objectives: what is trained for: settings by a name for --set, in order.
        views: how two views differ.
        optimiser: how weights change.
        run: how long.
        identity_init: whether new layers begin as the identity, see `objectives.initial_weights`;
            otherwise all at random.
    """

    variant: str
    objectives: Mapping[str, Any]
    views: AugmentationSettings = field(default_factory=AugmentationSettings)
    optimiser: OptimiserSettings = field(default_factory=OptimiserSettings)
    run: RunSettings = field(default_factory=RunSettings)
    identity_init: bool = False

    def groups(self) -> dict[str, Any]:
        """All settings by the first part of their names."""
        fixed = {"run": self.run, "optimiser": self.optimiser, "views": self.views}
        return fixed | dict(self.objectives)

    def record(self) -> dict[str, Any]:
        """All settings, as JSON has them."""
        return {name: asdict(settings) for name, settings in self.groups().items()}

    def changed(self, changes: Sequence[str]) -> Recipe:
        """A copy with "group.name=value" applied.

        Raises:
            SettingsError: for an unknown name, or a value that cannot be.
        """
        groups = self.groups()
        for change in changes:
            group, dot, rest = change.partition(".")
            if not dot or group.strip() not in groups:
                raise SettingsError(
                    f'no setting to change in "{change}"',
                    fix=f"begin with one of: {', '.join(f'{name}.' for name in groups)}",
                )
            name = group.strip()
            groups[name] = with_changes(groups[name], [rest])
        run, optimiser, views = (groups.pop(name) for name in ("run", "optimiser", "views"))
        return replace(
            self,
            run=run,
            optimiser=optimiser,
            views=views,
            objectives=MappingProxyType(groups),
        )


_OBJECTIVES = MappingProxyType({"objects": ObjectPriorSettings(), "matching": MatchingSettings()})
_MASA = Recipe("gdino", _OBJECTIVES)
# For two CPU cores: small views, small batches, and objects that stay large enough to be seen. Dot
# products of embeddings of any length, as MASA has them, need thousands of steps before they begin
# to tell objects apart; cosines over a temperature, and AdamW, some dozens.
_LITE_MATCHING = MatchingSettings(
    draw=replace(MatchingSettings().draw, num_samples=256, positive_share=0.8),
    contrast=ContrastSettings(weight=1.0, temperature=VARIANTS["lite-learned"].temperature),
    copies=3,
)
_LITE = Recipe(
    "lite-learned",
    MappingProxyType(
        {
            "objects": ObjectPriorSettings(
                boxes=replace(ObjectPriorSettings().boxes, num_samples=128)
            ),
            "matching": _LITE_MATCHING,
        }
    ),
    views=AugmentationSettings(
        size=320,
        min_scale=0.8,
        max_scale=1.25,
        mix_chance=0.0,
        min_resize=0.6,
        max_resize=1.8,
        min_side=8.0,
        clips=True,
        min_visible=0.3,
    ),
    optimiser=OptimiserSettings(
        adam=True, lr=5e-4, lr_batch=8, weight_decay=0.01, warm_up_steps=50, cosine=True
    ),
    run=RunSettings(steps=3000, batch=8, part=8, save_every=50, validate_every=100, held_out=0.05),
    identity_init=True,
)

# The detector of `lite`, from boxes with classes and a teacher, whose input has this size. No view
# is turned or sheared: the box around a turned box is larger than the object, and the detector
# would learn to draw loose ones.
_LITE_DETECTOR = replace(
    _LITE,
    variant="lite",
    objectives=MappingProxyType({"detection": DetectionSettings()}),
    views=replace(
        _LITE.views,
        size=416,
        # Frames come to it at 640 pixels: views show parts of pictures from half of that size on.
        min_resize=0.8,
        max_resize=2.2,
        mosaic_chance=0.2,
        mix_chance=0.1,
        mix_share=0.35,
        max_rotation=0.0,
        max_shear=0.0,
        blur_chance=0.1,
        jpeg_chance=0.2,
        repeat_below=0.02,
        min_side=4.0,
    ),
    optimiser=OptimiserSettings(
        adam=True,
        lr=1e-3,
        lr_batch=8,
        weight_decay=0.05,
        warm_up_steps=100,
        cosine=True,
        backbone_lr=0.6,
        average=0.998,
    ),
)

RECIPES: Mapping[str, Recipe] = MappingProxyType(
    {
        "lite": _LITE,
        "lite-detector": _LITE_DETECTOR,
        # Both stages together, on the maps they share; begins from a file that has both.
        "lite-two-stage": replace(
            _LITE_DETECTOR,
            objectives=MappingProxyType(
                {**_LITE_DETECTOR.objectives, "second": SecondStageLossSettings()}
            ),
            optimiser=replace(_LITE_DETECTOR.optimiser, lr=5e-4),
        ),
        "r50": replace(
            _MASA,
            variant="r50",
            objectives=MappingProxyType(
                {**_OBJECTIVES, "objects": ObjectPriorSettings(smooth=0.0)}
            ),
        ),
        "gdino": _MASA,
        "detic": replace(_MASA, variant="detic"),
        "sam-b": replace(_MASA, variant="sam-b"),
        "sam-h": replace(_MASA, variant="sam-h"),
    }
)


def find_recipe(adapter: str, name: str | None = None) -> Recipe:
    """A recipe for an adapter: the first that it has, or another of its own by name.

    Args:
        adapter: what the recipe is called, or the variant that it trains.
        name: of the recipe, in `RECIPES`.

    Raises:
        SettingsError: there is no such variant, it has nothing to learn, or no such recipe.
    """
    find_variant(adapter)
    own = [each for each, recipe in RECIPES.items() if adapter in (each, recipe.variant)]
    if not own:
        raise SettingsError(
            f'adapter "{adapter}" has no weights to learn',
            fix=f"use one of: {', '.join(each for each in RECIPES if each in VARIANTS)}",
        )
    if name is not None and name not in own:
        raise SettingsError(
            f'there is no recipe "{name}" for adapter "{adapter}"',
            fix=f"use one of: {', '.join(own)}",
        )
    return RECIPES[name or own[0]]


def learning_rate(step: int, optimiser: OptimiserSettings, run: RunSettings) -> float:
    """The learning rate of a step, counted from 0: grows linearly at first, falls later."""
    full = optimiser.lr * run.batch / optimiser.lr_batch
    grown = 1.0
    if step < optimiser.warm_up_steps:
        share = step / optimiser.warm_up_steps
        grown = optimiser.warm_up_from + share * (1 - optimiser.warm_up_from)
    done = step / run.steps
    if optimiser.cosine:
        last = optimiser.drop**2
        return full * grown * (last + (1 - last) * (1 + math.cos(math.pi * done)) / 2)
    num_drops = (done >= optimiser.first_drop) + (done >= optimiser.second_drop)
    return float(full * grown * optimiser.drop**num_drops)


@dataclass(frozen=True, slots=True)
class TrainJob:
    """What to train, on what, and where the results go.

    Attributes:
        data: folders or files of regions.
        recipe: which variant, and how.
        folder: for the results.
        seed: of everything drawn at random.
        device: auto, cpu, cuda or mps.
        precision: of the network: float32, bfloat16 or float16; weights stay float32.
        threads: that each process that trains works with; None: as torch takes by itself.
        workers: processes that make views, per process that trains; 0: itself.
        start: a file of weights to go on from.
        weights_dir: folder of weights, where the user named one.
        cutouts: folder of objects to paste into images, `<class>/*.png`.
        teacher: ONNX file of a detector to imitate.
        videos: folder of sequences with known boxes, to validate with.
        resume: go on from the last checkpoint.
        overwrite: begin anew where there are results.
    """

    data: tuple[Path, ...]
    recipe: Recipe
    folder: Path
    seed: int = 0
    device: str = "auto"
    precision: str = "float32"
    threads: int | None = None
    workers: int = 0
    start: Path | None = None
    weights_dir: Path | None = None
    cutouts: Path | None = None
    teacher: Path | None = None
    videos: Path | None = None
    resume: bool = False
    overwrite: bool = False

    @property
    def variant(self) -> str:
        """The variant that is trained."""
        return self.recipe.variant

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
        """Plots of both."""
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
            "teacher": str(self.teacher) if self.teacher else None,
            **settings,
            "run": run,
        }


def is_helper() -> bool:
    """Whether torchrun started this process, and not as the first of a run."""
    return int(os.environ.get("RANK", "0")) > 0
