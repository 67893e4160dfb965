"""Detectors without a network: boxes of a file, and of another detector those that are wanted.

What is wanted is told by class, score, size and position.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from masa_cli.boxes import area, centres
from masa_cli.detectors import Detector, DetectorRequest
from masa_cli.errors import SettingsError, SourceError, UsageError, shortened
from masa_cli.formats.json_fields import read_json
from masa_cli.formats.tables import LARGEST, DetectionTable
from masa_cli.settings import in_quotes, parse_names
from masa_cli.sources.excerpt import Excerpt
from masa_cli.structures import BoolArray, Detections, FloatArray, Frame

if TYPE_CHECKING:
    from masa_cli.models import SharedNetworks

Placement = Literal["centre", "foot", "overlap"]
Polygon = tuple[tuple[float, float], ...]

_OVERLAP = 0.5  # share of a box that must be within a region, where overlap decides
_FIX = "write a list of points, [[x, y], [x, y], [x, y]], a list of such lists, or GeoJSON"
_MAX_DEPTH = 8  # of lists in lists
_GRID = 24  # points across a box in each direction, with which its share is measured


def build_given(request: DetectorRequest, networks: SharedNetworks) -> Detector:
    """The detector that a request brings along; no network is asked."""
    detector: Detector = request.queries[0]
    return detector


class FromFile:
    """Gives each frame the detections a table has for it, in the order of the file.

    Args:
        table: detections of the whole video.
        min_score: detections below it are left out; by default none is.
    """

    def __init__(self, table: DetectionTable, *, min_score: float = -math.inf) -> None:
        self._table, _ = table.scored(min_score)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the file's classes."""
        return self._table.classes

    @property
    def has_masks(self) -> bool:
        """Whether the file has any masks."""
        return any(mask is not None for mask in self._table.masks)

    def detect(self, frames: Sequence[Frame]) -> list[Detections]:
        """The detections of these frames; their images are not looked at."""
        return [self._table.of_frame(frame.index) for frame in frames]


class OfExcerpt:
    """Asks another detector for the frames of the whole video that those of the part are.

    Args:
        detector: of the whole video, such as a file of detections.
        excerpt: the part; its frames are read before they are asked for.
    """

    def __init__(self, detector: Detector, excerpt: Excerpt) -> None:
        self._detector, self._excerpt = detector, excerpt

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the detector's classes."""
        return self._detector.classes

    def detect(self, frames: Sequence[Frame]) -> list[Detections]:
        """One Detections per frame of the part."""
        numbers = [self._excerpt.in_whole(frame.index) for frame in frames]
        return self._detector.detect(
            [replace(frame, index=number) for frame, number in zip(frames, numbers, strict=True)]
        )


@dataclass(frozen=True, slots=True)
class Selection:
    """What is wanted of the boxes that are found; by default all.

    Attributes:
        min_scores: by class, the minimum score of its boxes; only these classes are wanted. Empty:
            all classes.
        min_area: square pixels.
        inside: polygons, pixels; a box must be in one of them. None: no such condition.
        outside: polygons; a box must be in none of them.
        placement: what of the box counts: its centre, the middle of its lower edge, or whether more
            than half of it is inside.
    """

    min_scores: Mapping[str, float] = field(default_factory=dict)
    min_area: float = 0.0
    inside: tuple[Polygon, ...] | None = None
    outside: tuple[Polygon, ...] = ()
    placement: Placement = "centre"

    def check(self, classes: Sequence[str]) -> None:
        """Raise SettingsError for a wanted class that the detector does not know."""
        unknown = [name for name in self.min_scores if name not in classes]
        if unknown:
            raise SettingsError(
                f'there is no class "{unknown[0]}" among what is detected',
                fix=f"name some of: {in_quotes(classes)}",
            )

    def of(self, found: Detections, classes: Sequence[str]) -> Detections:
        """The boxes that are wanted, in the order given.

        Args:
            found: boxes of one frame.
            classes: names that labels index.
        """
        kept = area(found.boxes) >= self.min_area
        if self.min_scores:
            # In the precision of scores: 0.7 is not below 0.7.
            limits = np.array([self.min_scores.get(name, np.inf) for name in classes], np.float32)
            kept &= found.scores >= limits[found.labels] if len(found) else False
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
            grid_points: FloatArray = first + size * np.stack([across, down], axis=1)
            within = within_any(grid_points.reshape(-1, 2), polygons).reshape(len(boxes), -1)
            mostly: BoolArray = within.mean(axis=1) > _OVERLAP
            return mostly
        points = centres(boxes)
        if self.placement == "foot":
            points[:, 1] = boxes[:, 3]
        return within_any(points, polygons)


def parse_classes(text: str) -> dict[str, float]:
    """The minimum score of each class in "car, person:0.6"; none where nothing is said.

    A name that has a comma is in double quotes; see `parse_names`.
    """
    min_scores: dict[str, float] = {}
    for part in parse_names(text):
        name, colon, number = part.rpartition(":")
        if not colon:
            name, number = part, "-inf"
        try:
            score = float(number)
        except ValueError:
            score = math.nan
        if math.isnan(score) or not name.strip():
            raise UsageError(
                f'--classes: "{part}" is no class, and no class with its minimum score',
                fix="write names with or without a score: car,person:0.6",
            )
        min_scores[name.strip()] = score
    return min_scores


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


class FilteredDetector:
    """What another detector finds, less what is not wanted; classes keep their numbers.

    Args:
        detector: does the work.
        selection: what is wanted.
    """

    def __init__(self, detector: Detector, selection: Selection) -> None:
        self._detector, self._selection = detector, selection

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the detector's classes."""
        return self._detector.classes

    def detect(self, frames: Sequence[Frame]) -> list[Detections]:
        """The wanted boxes of each frame."""
        return [self._selection.of(found, self.classes) for found in self._detector.detect(frames)]


def read_polygons(path: Path) -> tuple[Polygon, ...]:
    """The polygons of a file, at least one.

    Raises:
        SourceError: it is no JSON of polygons, or a polygon has holes or less than three points.
    """
    content = read_json(path, fix=_FIX)
    polygons = _polygons(content, path, 0)
    if not polygons:
        raise SourceError(f"{path} has no polygon", fix=_FIX)
    return tuple(polygons)


def _polygons(content: Any, path: Path, depth: int) -> list[Polygon]:  # noqa: ANN401 - JSON
    if isinstance(content, dict) and depth < _MAX_DEPTH:
        return _geo(content, path, depth)
    if not isinstance(content, list):
        raise SourceError(f"{path}: expected points, got {shortened(str(content))}", fix=_FIX)
    if all(_is_point(each) for each in content):
        if len(content) < 3:
            raise SourceError(
                f"{path}: a polygon has {len(content)} points, at least 3 are needed", fix=_FIX
            )
        return [tuple((float(x), float(y)) for x, y in content)]
    if depth >= _MAX_DEPTH or any(_is_point(each) for each in content):
        raise SourceError(f"{path}: expected points, got {shortened(str(content))}", fix=_FIX)
    return [polygon for each in content for polygon in _polygons(each, path, depth + 1)]


def _geo(content: dict[str, Any], path: Path, depth: int) -> list[Polygon]:
    kind, rings = content.get("type"), content.get("coordinates")
    if kind == "FeatureCollection" and isinstance(content.get("features"), list):
        return [
            polygon
            for feature in content["features"]
            for polygon in _polygons(feature, path, depth + 1)
        ]
    if kind == "Feature":
        return _polygons(content.get("geometry"), path, depth + 1)
    polygons = {"Polygon": [rings], "MultiPolygon": rings}.get(str(kind))
    if not isinstance(polygons, list) or not all(isinstance(each, list) for each in polygons):
        raise SourceError(f"{path}: GeoJSON of type {shortened(str(kind))}", fix=_FIX)
    if any(len(each) != 1 for each in polygons):
        raise SourceError(f"{path}: a polygon has holes", fix="draw it as several without")
    return [polygon for each in polygons for polygon in _polygons(each[0], path, depth + 1)]


def _is_point(each: object) -> bool:
    return (
        isinstance(each, list)
        and len(each) == 2
        and all(type(number) in (int, float) and abs(number) < LARGEST for number in each)
    )
