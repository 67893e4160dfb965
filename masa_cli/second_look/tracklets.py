"""Tracklets of a whole video, each in a few numbers: where and when it began and ended, its look.

Places are in the picture of the first frame of their shot, as if the camera had never moved.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from masa_cli.boxes import centres
from masa_cli.structures import FloatArray, Tracks
from masa_cli.trace import Trace

END_SECONDS = 0.5  # at either end of a tracklet, from which its speed is told

# One frame as the first pass left it: index, seconds, tracks, and what is behind them.
Line: TypeAlias = tuple[int, float, Tracks, Trace]
Point: TypeAlias = tuple[float, float, float, float]  # seconds, centre x, centre y, height


@dataclass(frozen=True, slots=True, eq=False)
class End:
    """Where a tracklet begins or ends.

    Attributes:
        time: seconds.
        place: (2,) centre of its box, pixels.
        height: of its box, pixels.
        velocity: (2,) pixels per second.
    """

    time: float
    place: NDArray[np.float64]
    height: float
    velocity: NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Tracklet:
    """A stretch of a track in which its identity is sure.

    Attributes:
        number: from 1.
        identity: that the tracker gave it, from 1.
        first: where it begins.
        last: where it ends.
        shot: how many cuts were before it.
        look: (D,) mean of its clear looks, length 1; 0 if none was clear.
        scores: of its boxes, the sum for each label.
    """

    number: int
    identity: int
    first: End
    last: End
    shot: int
    look: FloatArray
    scores: Mapping[int, float]


def collect(lines: Iterable[Line], open_looks: Mapping[int, FloatArray]) -> list[Tracklet]:
    """The tracklets of confirmed tracks, in the order in which they begin.

    What is kept meanwhile grows with the number of tracklets, not with that of boxes.

    Args:
        lines: all frames.
        open_looks: looks of the tracklets that were not over with the last frame.
    """
    ground = _Ground()
    growing: dict[int, _Growing] = {}
    done: list[Tracklet] = []

    def finish(number: int, look: FloatArray) -> None:
        tracklet = growing.pop(number, None)
        if tracklet and tracklet.identity:
            done.append(tracklet.finished(number, look))

    for _, time, tracks, trace in lines:
        ground.follow(trace)
        tentative = trace.tentative
        for rows, numbers, identities in (
            (tracks, trace.tracklets, tracks.ids),
            (tentative, tentative.ids, np.zeros(len(tentative), np.int64)),
        ):
            points = ground.points(rows, time)
            columns = (numbers, identities, rows.labels, rows.scores)
            for number, identity, label, score, point in zip(
                *(column.tolist() for column in columns), points, strict=True
            ):
                if number not in growing:
                    growing[number] = _Growing(ground.shot)
                growing[number].add(identity, point)
                growing[number].scores[label] += score
        for number, look in zip(trace.ended.tolist(), trace.looks, strict=True):
            finish(number, look)
    for number in list(growing):
        finish(number, open_looks[number])
    return sorted(done, key=lambda tracklet: (tracklet.first.time, tracklet.number))


class _Ground:
    """Takes places back to the first picture of their shot."""

    def __init__(self) -> None:
        self.shot = 0
        self._back = np.eye(3)

    def follow(self, trace: Trace) -> None:
        if trace.is_cut:
            self.shot += 1
            self._back = np.eye(3)
        else:
            self._back = self._back @ np.linalg.inv(np.vstack([trace.camera, (0, 0, 1)]))

    def points(self, tracks: Tracks, time: float) -> list[Point]:
        """Time, centre and height of each box."""
        places = centres(tracks.boxes) @ self._back[:2, :2].T + self._back[:2, 2]
        scale = np.sqrt(abs(np.linalg.det(self._back[:2, :2])))
        heights = (tracks.boxes[:, 3] - tracks.boxes[:, 1]) * scale
        rows = zip(places.tolist(), heights.tolist(), strict=True)
        return [(time, x, y, height) for (x, y), height in rows]


@dataclass(slots=True, eq=False)
class _Growing:
    """A tracklet that is being read: the points at its two ends."""

    shot: int
    identity: int = 0
    head: list[Point] = field(default_factory=list)
    tail: deque[Point] = field(default_factory=deque)
    scores: Counter[int] = field(default_factory=Counter)

    def add(self, identity: int, point: Point) -> None:
        self.identity = identity
        if not self.head or point[0] <= self.head[0][0] + END_SECONDS:
            self.head.append(point)
        self.tail.append(point)
        while self.tail[0][0] < point[0] - END_SECONDS:
            self.tail.popleft()

    def finished(self, number: int, look: FloatArray) -> Tracklet:
        first, last = _end(np.array(self.head), 0), _end(np.array(self.tail), -1)
        return Tracklet(number, self.identity, first, last, self.shot, look, self.scores)


def _end(points: NDArray[np.float64], row: int) -> End:
    """The end at that row of (P, 4) points; the speed is that of the line fitted to all."""
    times, places = points[:, 0] - points[:, 0].mean(), points[:, 1:3]
    spread = float(times @ times)
    # Of less than three boxes, noise would be taken for speed.
    velocity = times @ (places - places.mean(axis=0)) / spread if len(points) > 2 else np.zeros(2)
    return End(float(points[row, 0]), places[row], float(points[row, 3]), velocity)
