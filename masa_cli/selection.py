"""Which of the detector's boxes are tracked at all: by class, score, size and place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from masa_cli.boxes import area, centres
from masa_cli.errors import SettingsError
from masa_cli.structures import BoolArray, Detections, FloatArray

Placement = Literal["centre", "foot", "overlap"]
Polygon = tuple[tuple[float, float], ...]

_OVERLAP = 0.5  # share of a box that must be within a region, where overlap decides
_GRID = 24  # points across a box in each direction, with which its share is measured


@dataclass(frozen=True, slots=True)
class Selection:
    """What is wanted of the boxes that are found; by default all.

    Attributes:
        least_scores: by class, the least score of its boxes; only these classes are wanted. Empty:
            all classes.
        min_area: square pixels.
        inside: polygons, pixels; a box must be in one of them. None: no such condition.
        outside: polygons; a box must be in none of them.
        placement: what of the box counts: its centre, the middle of its lower edge, or whether more
            than half of it is inside.
    """

    least_scores: Mapping[str, float] = field(default_factory=dict)
    min_area: float = 0.0
    inside: tuple[Polygon, ...] | None = None
    outside: tuple[Polygon, ...] = ()
    placement: Placement = "centre"

    def check(self, classes: Sequence[str]) -> None:
        """Raise SettingsError for a wanted class that the detector does not know."""
        unknown = [name for name in self.least_scores if name not in classes]
        if unknown:
            raise SettingsError(
                f'there is no class "{unknown[0]}" among what is detected',
                fix=f"name some of: {', '.join(classes)}",
            )

    def of(self, found: Detections, classes: Sequence[str]) -> Detections:
        """The boxes that are wanted, in the order given.

        Args:
            found: boxes of one frame.
            classes: names that labels index.
        """
        kept = area(found.boxes) >= self.min_area
        if self.least_scores:
            # In the precision of scores: 0.7 is not below 0.7.
            least = np.array([self.least_scores.get(name, np.inf) for name in classes], np.float32)
            kept &= found.scores >= least[found.labels] if len(found) else False
        if self.inside is not None:
            kept &= self._within(found.boxes, self.inside)
        if self.outside:
            kept &= ~self._within(found.boxes, self.outside)
        return found[kept]

    def _within(self, boxes: FloatArray, polygons: tuple[Polygon, ...]) -> BoolArray:
        """(N,) which boxes are in one of the polygons."""
        if self.placement == "overlap":
            steps = (np.arange(_GRID) + 0.5) / _GRID
            across, down = (grid.ravel() for grid in np.meshgrid(steps, steps))
            first, size = boxes[:, None, :2], (boxes[:, 2:] - boxes[:, :2])[:, None]
            points: FloatArray = first + size * np.stack([across, down], axis=1)
            within = within_any(points.reshape(-1, 2), polygons).reshape(len(boxes), -1)
            mostly: BoolArray = within.mean(axis=1) > _OVERLAP
            return mostly
        places = centres(boxes)
        if self.placement == "foot":
            places[:, 1] = boxes[:, 3]
        return within_any(places, polygons)


def within_any(
    points: FloatArray | NDArray[np.float64], polygons: tuple[Polygon, ...]
) -> BoolArray:
    """(N,) which points, (N, 2) x and y, are in one of the polygons (by the even-odd rule)."""
    inside = np.zeros(len(points), np.bool_)
    x, y = points[:, 0].astype(np.float64), points[:, 1].astype(np.float64)
    for polygon in polygons:
        odd = np.zeros(len(points), np.bool_)
        for (x1, y1), (x2, y2) in zip(polygon, (*polygon[1:], polygon[0]), strict=True):
            if y1 == y2:
                continue  # a ray to the right never crosses a level edge
            spans = (y1 <= y) != (y2 <= y)
            odd ^= spans & (x < x1 + (y - y1) * ((x2 - x1) / (y2 - y1)))
        inside |= odd
    return inside
