"""Who crosses a line, where to and when."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from masa_cli.analysis.lifetimes import rows_by_track
from masa_cli.formats.tables import TrackTable
from masa_cli.structures import FloatArray

Point = Literal["foot", "centre"]
Points = NDArray[np.float64]

# A point nearer to the line is on neither side yet: boxes tremble. Box heights.
DEAD_BAND = 0.05


@dataclass(frozen=True, slots=True)
class Line:
    """From a first to a second point, in pixels.

    Attributes:
        name: for results.
        x1, y1, x2, y2: its ends.
    """

    name: str
    x1: float
    y1: float
    x2: float
    y2: float

    @property
    def ends(self) -> tuple[Points, Points]:
        """(2,) each."""
        return np.array([self.x1, self.y1]), np.array([self.x2, self.y2])


@dataclass(frozen=True, slots=True)
class Crossing:
    """One track crosses one line.

    Attributes:
        line: its name.
        id: of the track.
        label: its class in that frame.
        frame: the first one in which it is clearly beyond.
        time: of that frame, seconds.
        to: the side it goes to, for one who looks from the line's first point to its second.
    """

    line: str
    id: int
    label: str
    frame: int
    time: float
    to: Literal["left", "right"]


def crossings(
    table: TrackTable, times: NDArray[np.float64], lines: list[Line], point: Point
) -> list[Crossing]:
    """All crossings, in order of time.

    A track crosses where its way between two frames, in which it is clearly on different sides,
    cuts the line between its ends. In gaps the way is straight.

    Args:
        table: the tracks.
        times: (num_frames,) seconds of each frame.
        lines: with names of their own.
        point: of the box, whose way counts.
    """
    found = []
    for rows in rows_by_track(table):
        boxes = table.tracks.boxes[rows].astype(np.float64)
        points = np.stack(
            [
                (boxes[:, 0] + boxes[:, 2]) / 2,
                boxes[:, 3] if point == "foot" else (boxes[:, 1] + boxes[:, 3]) / 2,
            ],
            axis=1,
        )
        for line in lines:
            for index, to in _of_one(points, DEAD_BAND * (boxes[:, 3] - boxes[:, 1]), line):
                row = rows[index]
                frame = int(table.frames[row])
                label = table.classes[table.tracks.labels[row]]
                id_ = int(table.tracks.ids[row])
                found.append(Crossing(line.name, id_, label, frame, float(times[frame]), to))
    return sorted(found, key=lambda crossing: (crossing.frame, crossing.id, crossing.line))


def _of_one(
    points: Points, band: Points, line: Line
) -> Iterator[tuple[int, Literal["left", "right"]]]:
    """Index of the point at which a track has crossed, and to which side.

    Args:
        points: (N, 2) of the track.
        band: (N,) distance from the line below which it is on neither side, pixels.
        line: to cross.
    """
    first, second = line.ends
    along = second - first
    # Positive to the right of one who looks along the line: y grows downwards.
    side = _cross(along, points - first) / np.linalg.norm(along)
    clear = np.flatnonzero(np.abs(side) > band)
    for before, after in zip(clear[:-1].tolist(), clear[1:].tolist(), strict=True):
        if side[before] * side[after] < 0 and _meets(points[before : after + 1], first, second):
            yield after, "right" if side[after] > 0 else "left"


def _meets(way: Points, first: Points, second: Points) -> bool:
    """Whether a way whose ends are on different sides of a line cuts it between its ends."""
    along = second - first
    sides = _cross(along, way - first)
    for start, stop, from_side, to_side in zip(
        way[:-1], way[1:], sides[:-1], sides[1:], strict=True
    ):
        if from_side * to_side > 0 or from_side == to_side:
            continue
        meeting = start + (stop - start) * (from_side / (from_side - to_side))
        share = float((meeting - first) @ along / (along @ along))
        if 0 <= share <= 1:
            return True
    return False


def _cross(along: Points, offsets: FloatArray | Points) -> Points:
    """(N,) cross products of a vector with N others."""
    product: Points = along[0] * offsets[:, 1] - along[1] * offsets[:, 0]
    return product
