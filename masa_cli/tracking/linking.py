"""Tracklet linking: which tracklets of a whole video are one object, decided all at once.

The tracker had to decide with what it had seen so far. Afterwards both sides of every gap and every
occlusion are known, so tracklets are linked anew: one assignment of each tracklet's end to
another's beginning, for the greatest total log-likelihood ratio (llr).
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import ClassVar, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import min_weight_full_bipartite_matching

from masa_cli.boxes import centres
from masa_cli.structures import (
    CameraMotion,
    EndedTracklets,
    FloatArray,
    FrameTracks,
    IntArray,
    TrackletRecord,
    Tracks,
)

END_SECONDS = 0.5  # at either end of a tracklet, from which its speed is told

Point: TypeAlias = tuple[float, float, float, float]  # seconds, centre x, centre y, height


@dataclass(frozen=True, slots=True, eq=False)
class End:
    """Where a tracklet begins or ends.

    Attributes:
        time: seconds.
        position: (2,) centre of its box, pixels.
        height: of its box, pixels.
        velocity: (2,) pixels per second.
    """

    time: float
    position: NDArray[np.float64]
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
        embedding: (D,) mean of those of its unoccluded boxes, length 1; 0 if there was none.
        scores: of its boxes, the sum for each label.
    """

    number: int
    identity: int
    first: End
    last: End
    shot: int
    embedding: FloatArray
    scores: Mapping[int, float]


def collect_tracklets(
    frames: Iterable[FrameTracks], open_tracklets: EndedTracklets
) -> list[Tracklet]:
    """The tracklets of confirmed tracks, in the order in which they begin.

    What is kept meanwhile grows with the number of tracklets, not with that of boxes.

    Args:
        frames: all of them, with their records.
        open_tracklets: those that were not over with the last frame.
    """
    ground = _Ground()
    growing: dict[int, _Growing] = {}
    done: list[Tracklet] = []

    def finish(number: int, embedding: FloatArray) -> None:
        tracklet = growing.pop(number, None)
        if tracklet and tracklet.identity:
            done.append(tracklet.finished(number, embedding))

    for frame in frames:
        record, time, tracks = recorded(frame), frame.time, frame.tracks
        ground.follow(record.motion)
        tentative = record.tentative
        for rows, numbers, identities in (
            (tracks, record.tracklets, tracks.ids),
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
        for number, embedding in _pairs(record.ended):
            finish(number, embedding)
    for number, embedding in _pairs(open_tracklets):
        finish(number, embedding)
    return sorted(done, key=lambda tracklet: (tracklet.first.time, tracklet.number))


def recorded(frame: FrameTracks) -> TrackletRecord:
    """The record of a frame; ValueError where it has none."""
    if frame.record is None:
        raise ValueError(f"frame {frame.index} has no record of its tracklets")
    return frame.record


def _pairs(ended: EndedTracklets) -> Iterator[tuple[int, FloatArray]]:
    """Number and embedding of each tracklet."""
    return zip(ended.numbers.tolist(), ended.embeddings, strict=True)


class _Ground:
    """Takes positions back to the first image of their shot."""

    def __init__(self) -> None:
        self.shot = 0
        self._back = np.eye(3)

    def follow(self, motion: CameraMotion) -> None:
        if motion.is_cut:
            self.shot += 1
            self._back = np.eye(3)
        else:
            self._back = self._back @ np.linalg.inv(np.vstack([motion.matrix, (0, 0, 1)]))

    def points(self, tracks: Tracks, time: float) -> list[Point]:
        """Time, centre and height of each box."""
        positions = centres(tracks.boxes) @ self._back[:2, :2].T + self._back[:2, 2]
        scale = np.sqrt(abs(np.linalg.det(self._back[:2, :2])))
        heights = (tracks.boxes[:, 3] - tracks.boxes[:, 1]) * scale
        rows = zip(positions.tolist(), heights.tolist(), strict=True)
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

    def finished(self, number: int, embedding: FloatArray) -> Tracklet:
        first, last = _end(np.array(self.head), 0), _end(np.array(self.tail), -1)
        return Tracklet(number, self.identity, first, last, self.shot, embedding, self.scores)


def _end(points: NDArray[np.float64], row: int) -> End:
    """The end at that row of (P, 4) points; the speed is that of the line fitted to all."""
    times, positions = points[:, 0] - points[:, 0].mean(), points[:, 1:3]
    spread = float(times @ times)
    # Of less than three boxes, noise would be taken for speed.
    fitted = len(points) > 2
    velocity = times @ (positions - positions.mean(axis=0)) / spread if fitted else np.zeros(2)
    return End(float(points[row, 0]), positions[row], float(points[row, 3]), velocity)


_UNLINKED = 1.0  # weight of an end that nothing continues; a link adds its gain to this
_UNKNOWN_COSINE = 0.5  # of impostors, in a video where no two tracklets exist together
_MIN_DISTANCE = 0.1  # of impostors, as in appearance.py
_SIZE_NOISE = 0.2  # standard deviation of the logarithm of height
_END_NOISE = 0.1  # of the position of a tracklet's end, box heights
_DAMPING = 1.0  # seconds in which a speed that was seen fades
_TURNING = 4.0  # seconds after which a wandering object has turned round


@dataclass(frozen=True, slots=True)
class LinkingSettings:
    """When two tracklets are one object; llr and similarity as in the tracker's settings."""

    seconds: float = 10.0  # longest gap that is bridged
    min_llr: float = 0.0  # of a link
    tracker_llr: float = 8.0  # in favour of what the tracker decided
    appearance_weight: float = 10.0  # llr per unit of similarity
    neutral_similarity: float = 0.4  # a smaller similarity speaks against a link
    wander: float = 0.5  # speed of objects that are not seen, box heights per second
    interpolation_seconds: float = 0.7  # longest gap in a track that is interpolated
    one_class: bool = True  # all boxes of an identity get the class that most of them have

    former_names: ClassVar[Mapping[str, str]] = MappingProxyType(
        {
            "least_nats": "min_llr",
            "trust_nats": "tracker_llr",
            "look_nats": "appearance_weight",
            "neutral_likeness": "neutral_similarity",
            "fill_seconds": "interpolation_seconds",
        }
    )


def link_tracklets(
    tracklets: Sequence[Tracklet], settings: LinkingSettings, frame_size: tuple[int, int]
) -> dict[int, int]:
    """The identity of each tracklet by its number, from 1 in the order in which they appear.

    Args:
        tracklets: in the order in which they begin.
        settings: weights and thresholds.
        frame_size: width and height, pixels; 0 if unknown.
    """
    successors = _assign(list(_candidates(tracklets, settings, frame_size)), len(tracklets))
    identities: dict[int, int] = {}
    num_objects = 0
    for position, tracklet in enumerate(tracklets):
        if tracklet.number not in identities:
            num_objects += 1
            link = position
            while link >= 0:
                identities[tracklets[link].number] = num_objects
                link = int(successors[link])
    return identities


def _candidates(
    tracklets: Sequence[Tracklet], settings: LinkingSettings, frame_size: tuple[int, int]
) -> Iterator[tuple[int, IntArray, NDArray[np.float64]]]:
    """For each tracklet that may go on: its position, those that may be next, and the gains."""
    if not tracklets:
        return
    begins = _Begins.of(tracklets)
    distance = _impostor_distance(tracklets, begins)
    # Even a vague idea of the position is not vaguer than "somewhere in the frame".
    largest = max(frame_size) ** 2 / 12 or math.inf
    for position, tracklet in enumerate(tracklets):
        end = tracklet.last.time
        start, stop = np.searchsorted(begins.times, [end, end + settings.seconds], side="right")
        rows = np.arange(start, stop)
        gains = begins.motion_llr(rows, tracklet, settings.wander, largest)
        gains += begins.appearance_llr(rows, tracklet, settings, distance)
        gains += settings.tracker_llr * (begins.identities[rows] == tracklet.identity)
        good = gains > settings.min_llr
        if good.any():
            yield position, rows[good], gains[good] - settings.min_llr


@dataclass(frozen=True, slots=True, eq=False)
class _Begins:
    """The beginnings of all tracklets, a row each."""

    times: NDArray[np.float64]  # (N,) ascending
    positions: NDArray[np.float64]  # (N, 2)
    velocities: NDArray[np.float64]  # (N, 2)
    heights: NDArray[np.float64]  # (N,)
    shots: IntArray  # (N,)
    identities: IntArray  # (N,)
    embeddings: FloatArray  # (N, D)

    @staticmethod
    def of(tracklets: Sequence[Tracklet]) -> _Begins:
        """At least one tracklet."""
        return _Begins(
            np.array([tracklet.first.time for tracklet in tracklets]),
            np.stack([tracklet.first.position for tracklet in tracklets]),
            np.stack([tracklet.first.velocity for tracklet in tracklets]),
            np.array([tracklet.first.height for tracklet in tracklets]),
            np.array([tracklet.shot for tracklet in tracklets], np.int64),
            np.array([tracklet.identity for tracklet in tracklets], np.int64),
            np.stack([tracklet.embedding for tracklet in tracklets]),
        )

    def motion_llr(
        self, rows: IntArray, before: Tracklet, wander: float, largest: float
    ) -> NDArray[np.float64]:
        """(R,) llr of position and size, for going on in these rows.

        Args:
            rows: (R,) that begin after the end of `before`.
            before: the tracklet that is to go on.
            wander: speed of what is not seen, box heights per second.
            largest: variance of a position of which nothing is known, square pixels.
        """
        last = before.last
        gap = self.times[rows] - last.time
        height = (self.heights[rows] + last.height) / 2
        # Both sides are followed into the gap, ever less, until they should meet.
        reach = (_DAMPING * (1 - np.exp(-gap / _DAMPING)) / 2)[:, None]
        begin = self.positions[rows] - reach * self.velocities[rows]
        way = begin - last.position - reach * last.velocity
        wandered = (wander * height * gap) ** 2 / (1 + gap / _TURNING)
        variance = np.minimum(2 * (_END_NOISE * height) ** 2 + wandered, largest)
        size = np.log(self.heights[rows] / last.height) / _SIZE_NOISE
        surprise = ((way**2).sum(axis=1) / variance + size**2) / 2
        # In another shot it may be anywhere, of any size.
        same = self.shots[rows] == before.shot
        surprise, variance = np.where(same, surprise, 0), np.where(same, variance, largest)
        llr: NDArray[np.float64] = -surprise - np.log(2 * math.pi * variance / height**2)
        return llr

    def appearance_llr(
        self, rows: IntArray, before: Tracklet, settings: LinkingSettings, distance: float
    ) -> NDArray[np.float64]:
        """(R,) llr of the embeddings; 0 where one of them is unknown."""
        embeddings = self.embeddings[rows]
        similarity = 1 - (1 - embeddings @ before.embedding) / distance
        known = embeddings.any(axis=1) & before.embedding.any()
        llr = settings.appearance_weight * (similarity - settings.neutral_similarity)
        return np.where(known, llr, 0.0)


def _impostor_distance(tracklets: Sequence[Tracklet], begins: _Begins) -> float:
    """One less the mean cosine of tracklets that exist together, so are different objects."""
    total, count = 0.0, 0
    for position, tracklet in enumerate(tracklets):
        stop = int(np.searchsorted(begins.times, tracklet.last.time, side="right"))
        embeddings = begins.embeddings[position + 1 : stop]
        if tracklet.embedding.any():
            total += float((embeddings @ tracklet.embedding).sum())  # unknown embeddings are 0
            count += int(embeddings.any(axis=1).sum())
    return max(1 - (total / count if count else _UNKNOWN_COSINE), _MIN_DISTANCE)


def _assign(
    candidates: Sequence[tuple[int, IntArray, NDArray[np.float64]]], count: int
) -> IntArray:
    """(N,) the successor of each tracklet, -1 for none, for the greatest total gain."""
    ends = np.arange(count)
    rows = [ends, *(np.full(len(nexts), position) for position, nexts, _ in candidates)]
    # Beside the tracklets, a column of its own for every end that nothing continues.
    columns = [count + ends, *(nexts for _, nexts, _ in candidates)]
    weights = [
        np.full(count, _UNLINKED),
        *(_UNLINKED + gains for _, _, gains in candidates),
    ]
    successors = np.full(count, -1, np.int64)
    if count:
        positions = (np.concatenate(rows), np.concatenate(columns))
        graph = csr_array((np.concatenate(weights), positions), shape=(count, 2 * count))
        first, second = min_weight_full_bipartite_matching(graph, maximize=True)
        successors[first] = np.where(second < count, second, -1)
    return successors
