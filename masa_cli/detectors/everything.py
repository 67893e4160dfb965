"""Everything there is, of whatever class: how it is looked for, before anything is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from masa_cli.errors import SettingsError

Proposals = Literal["adapter", "grid"]

# The most overlap of two boxes: in MASA's configuration, in Segment Anything's generator.
USUAL_OVERLAP: Mapping[Proposals, float] = MappingProxyType({"adapter": 0.5, "grid": 0.7})


@dataclass(frozen=True, slots=True)
class ObjectChoice:
    """Which objects are given on; by default those of the published configuration (spec 7)."""

    min_score: float = 0.02  # objects up to this score are left out, 0 to 1
    max_overlap: float = USUAL_OVERLAP[
        "adapter"
    ]  # IoU of boxes above which the weaker of two is left out, 0 to 1
    max_objects: int = 50  # of one frame, the best
    min_area: float = 0.0  # smaller boxes are left out, square pixels of the source

    def __post_init__(self) -> None:
        if not (0 <= self.min_score <= 1 and 0 <= self.max_overlap <= 1):
            raise SettingsError(
                "the least score and the most overlap are within 0 and 1, got "
                f"{self.min_score:g} and {self.max_overlap:g}",
                fix="give --min-score and --max-overlap a number from 0 to 1",
            )
        if self.max_objects < 1 or self.min_area < 0:
            raise SettingsError(
                f"expected at least 1 object of at least 0 square pixels, got {self.max_objects} "
                f"and {self.min_area:g}",
                fix="give --max-objects a number from 1, --min-area one from 0",
            )


@dataclass(frozen=True, slots=True)
class Everything:
    """A search for objects of any class.

    Attributes:
        model: the variant of the adapter in which they are found: one with Segment Anything inside,
            or lite.
        weights: its file.
        proposals: "adapter" for boxes of the branch that MASA learned for it, "grid" for masks at
            a grid of points, as Segment Anything's authors do it.
        choice: which objects are given on.
    """

    model: str
    weights: Path
    proposals: Proposals = "adapter"
    choice: ObjectChoice = ObjectChoice()

    @property
    def classes(self) -> tuple[str, ...]:
        """One, for nothing is known of it."""
        return ("object",)
