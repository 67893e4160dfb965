"""How a variant is trained: everything that decides the result, in one value. No torch.

MASA published one recipe; it is the default of all its variants (spec 10).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from types import MappingProxyType
from typing import Any

from masa_cli.errors import SettingsError
from masa_cli.settings import with_changes
from masa_cli.training.views import ViewSettings


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
        objectives: what is trained for: settings by a name for --set, in order.
        views: how two views differ.
        optimiser: how weights change.
        run: how long.
        lets_through: whether new layers begin by letting through what the backbone sees, see
            `initial`; otherwise all at random.
    """

    objectives: Mapping[str, Any]
    views: ViewSettings = field(default_factory=ViewSettings)
    optimiser: OptimiserSettings = field(default_factory=OptimiserSettings)
    run: RunSettings = field(default_factory=RunSettings)
    lets_through: bool = False

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
