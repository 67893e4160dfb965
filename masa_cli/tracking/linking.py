"""Tracklet linking: which tracklets of a whole video are one object, decided all at once.

The tracker had to decide with what it had seen so far. Afterwards both sides of every gap and every
occlusion are known, so tracklets are linked anew: one assignment of each tracklet's end to
another's beginning, for the greatest total log-likelihood ratio (llr). What is likely is learned
from the video: how far objects wander while unseen, how much their embeddings vary, and how often
new ones appear.
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
    BoolArray,
    CameraMotion,
    EndedTracklets,
    FloatArray,
    FrameTracks,
    IntArray,
    TrackletRecord,
    Tracks,
)
from masa_cli.tracking.appearance import MEAN_OUTLIERS, SimilarityDensities
from masa_cli.tracking.kalman import student
from masa_cli.tracking.scene import GAP_SECONDS, Clock

_END_POINTS = 4  # at least, whatever the frame rate
_MAX_SAMPLES = 4000
END_SECONDS = 0.5  # at either end of a tracklet, from which its speed is told

Point: TypeAlias = tuple[float, float, float, float]  # seconds, centre x, centre y, size
Sample: TypeAlias = tuple[float, float]  # seconds of a gap, squared distance in sizes


@dataclass(frozen=True, slots=True, eq=False)
class End:
    """Where a tracklet begins or ends.

    Attributes:
        time: seconds.
        position: (2,) centre of its box, pixels.
        size: of its box, the geometric mean of width and height, pixels.
        velocity: (2,) pixels per second.
    """

    time: float
    position: NDArray[np.float64]
    size: float
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
) -> tuple[list[Tracklet], list[Sample]]:
    """The tracklets of confirmed tracks in the order in which they begin, and samples of gaps.

    Times are those of a `Clock`, which counts frames where frames are rarer than seconds. What is
    kept meanwhile grows with the number of tracklets, not with that of boxes.

    Args:
        frames: all of them, with their records.
        open_tracklets: those that were not over with the last frame.
    """
    ground, clock, time = _Ground(), Clock(), 0.0
    growing: dict[int, _Growing] = {}
    done: list[Tracklet] = []
    samples: list[Sample] = []

    def finish(number: int, embedding: FloatArray) -> None:
        tracklet = growing.pop(number, None)
        if tracklet and tracklet.identity:
            done.append(tracklet.finished(number, embedding))

    for frame in frames:
        record, tracks = recorded(frame), frame.tracks
        time += clock.advance(frame.time)
        ground.follow(record.motion)
        tentative, measured = record.tentative, ~tracks.interpolated
        for rows, numbers, identities in (
            (tracks[measured], record.tracklets[measured], tracks.ids[measured]),
            (tentative, tentative.ids, np.zeros(len(tentative), np.int64)),
        ):
            points = ground.points(rows, time)
            columns = (numbers, identities, rows.labels, rows.scores)
            for number, identity, label, score, point in zip(
                *(column.tolist() for column in columns), points, strict=True
            ):
                if number not in growing:
                    growing[number] = _Growing(ground.shot)
                growing[number].add(identity, point, samples)
                growing[number].scores[label] += score
        for number, embedding in _pairs(record.ended):
            finish(number, embedding)
    for number, embedding in _pairs(open_tracklets):
        finish(number, embedding)
    return sorted(done, key=lambda tracklet: (tracklet.first.time, tracklet.number)), samples


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
        """Time, centre and size of each box."""
        positions = centres(tracks.boxes) @ self._back[:2, :2].T + self._back[:2, 2]
        scale = np.sqrt(abs(np.linalg.det(self._back[:2, :2])))
        sides = np.maximum(tracks.boxes[:, 2:] - tracks.boxes[:, :2], 1)
        rows = zip(positions.tolist(), (np.sqrt(sides.prod(axis=1)) * scale).tolist(), strict=True)
        return [(time, x, y, size) for (x, y), size in rows]


@dataclass(slots=True, eq=False)
class _Growing:
    """A tracklet that is being read: the points at its two ends."""

    shot: int
    identity: int = 0
    head: list[Point] = field(default_factory=list)
    tail: deque[Point] = field(default_factory=deque)
    scores: Counter[int] = field(default_factory=Counter)
    sampled: float = -math.inf

    def add(self, identity: int, point: Point, samples: list[Sample]) -> None:
        self.identity = identity
        if point[0] <= (self.head or [point])[0][0] + END_SECONDS or len(self.head) < _END_POINTS:
            self.head.append(point)
        self.tail.append(point)
        while len(self.tail) > 3 * _END_POINTS and self.tail[0][0] < point[0] - 3 * END_SECONDS:
            self.tail.popleft()
        # Now and then, how far what was seen is from what would have been expected across a gap.
        if len(self.tail) >= 3 * _END_POINTS and point[0] - self.sampled >= 2 * END_SECONDS:
            self.sampled = point[0]
            if len(samples) < _MAX_SAMPLES:
                third = len(self.tail) // 3
                points = np.array(self.tail)
                samples.append(_sample(_end(points[:third], -1), _end(points[-third:], 0)))

    def finished(self, number: int, embedding: FloatArray) -> Tracklet:
        head, tail = np.array(self.head), np.array(self.tail)
        keep = max(_END_POINTS, int((tail[:, 0] > tail[-1, 0] - END_SECONDS).sum()))
        first, last = _end(head, 0), _end(tail[-keep:], -1)
        return Tracklet(number, self.identity, first, last, self.shot, embedding, self.scores)


def _end(points: NDArray[np.float64], row: int) -> End:
    """The end at that row of (P, 4) points; the speed is that of the line fitted to all."""
    times, positions = points[:, 0] - points[:, 0].mean(), points[:, 1:3]
    spread = float(times @ times)
    # Of less than three boxes, noise would be taken for speed.
    fitted = len(points) > 2
    velocity = times @ (positions - positions.mean(axis=0)) / spread if fitted else np.zeros(2)
    return End(float(points[row, 0]), positions[row], float(points[row, 3]), velocity)


def _sample(last: End, first: End) -> Sample:
    """The gap between two ends of one tracklet, and how far apart they are, squared, in sizes."""
    gap = first.time - last.time
    reach = _DAMPING * (1 - math.exp(-gap / _DAMPING)) / 2
    way = first.position - last.position - reach * (first.velocity + last.velocity)
    return gap, float(way @ way) / (first.size * last.size)


_USUAL_AREA = 100.0  # of a frame whose size is not known, in sizes squared
_UNLINKED = 1.0  # weight of an end that nothing continues; a link adds its gain to this
_SIZE_SPREAD = 0.2  # of the logarithm of size
_DAMPING = 1.0  # seconds in which a speed that was seen fades
_TURNING = 4.0  # seconds after which a wandering object has turned round
_NOISES = (0.02, 0.05, 0.1, 0.2)  # of a tracklet's end, in sizes
_WANDERS = (0.1, 0.2, 0.4, 0.8, 1.6, 3.2)  # speed of what is not seen, sizes per second
_PRIOR_NOISE, _PRIOR_WANDER, _PRIOR_SPREAD = 0.1, 0.5, 0.7  # log-normal


@dataclass(frozen=True, slots=True)
class LinkingSettings:
    """When two tracklets are one object."""

    seconds: float = 10.0  # longest gap between two that are linked
    min_llr: float = 3.0  # of a link, beyond that of a new object
    tracker_llr: float = 8.0  # in favour of what the tracker decided
    interpolation_seconds: float = 1.2  # longest gap in a track that is interpolated
    one_class: bool = True  # all boxes of an identity get the class that most of them have

    former_names: ClassVar[Mapping[str, str]] = MappingProxyType(
        {
            "least_nats": "min_llr",
            "trust_nats": "tracker_llr",
            "fill_seconds": "interpolation_seconds",
        }
    )


def link_tracklets(
    tracklets: Sequence[Tracklet],
    settings: LinkingSettings,
    frame_size: tuple[int, int],
    samples: Sequence[Sample] = (),
) -> dict[int, int]:
    """The identity of each tracklet by its number, from 1 in the order in which they appear.

    Args:
        tracklets: in the order in which they begin.
        settings: weights and thresholds.
        frame_size: width and height, pixels; 0 if unknown.
        samples: how far objects are from where they would be expected after a gap.
    """
    candidates = list(_candidates(tracklets, settings, frame_size, samples))
    successors = _assign(candidates, len(tracklets))
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
    tracklets: Sequence[Tracklet],
    settings: LinkingSettings,
    frame_size: tuple[int, int],
    samples: Sequence[Sample],
) -> Iterator[tuple[int, IntArray, NDArray[np.float64]]]:
    """For each tracklet that may go on: its position, those that may be next, and the gains."""
    if not tracklets:
        return
    begins = _Begins.of(tracklets)
    densities = _densities(tracklets, begins)
    births = _birth_llr(tracklets, frame_size)
    noise, wander = _fitted(samples)
    # Even a vague idea of the position is not vaguer than "somewhere in the frame".
    largest = max(frame_size) ** 2 / 12 or math.inf
    for position, tracklet in enumerate(tracklets):
        end = tracklet.last.time
        start, stop = np.searchsorted(begins.times, [end, end + settings.seconds], side="right")
        rows = np.arange(start, stop)
        gains = begins.motion_llr(rows, tracklet, noise, wander, largest)
        gains += begins.appearance_llr(rows, tracklet, densities)
        # The longer it was away, the less likely it comes back in just this moment.
        gains -= math.log(GAP_SECONDS) + 2 * np.log1p((begins.times[rows] - end) / GAP_SECONDS)
        gains += settings.tracker_llr * (begins.identities[rows] == tracklet.identity)
        gains -= births + settings.min_llr
        good = gains > 0
        if good.any():
            yield position, rows[good], gains[good]


def _birth_llr(tracklets: Sequence[Tracklet], frame_size: tuple[int, int]) -> float:
    """Log density of new objects, in one second and the square of a usual size."""
    size = float(np.median([tracklet.first.size for tracklet in tracklets]))
    area = frame_size[0] * frame_size[1] / size**2 or _USUAL_AREA
    seconds = max(tracklet.last.time for tracklet in tracklets) - tracklets[0].first.time
    count = len({tracklet.identity for tracklet in tracklets})
    return math.log((count + 1) / (max(seconds, 1.0) * max(area, 1.0)))


def _variance(gaps: NDArray[np.float64], noise: float, wander: float) -> NDArray[np.float64]:
    """Of a position after gaps of so many seconds, in squared sizes."""
    variance: NDArray[np.float64] = 2 * noise**2 + (wander * gaps) ** 2 / (1 + gaps / _TURNING)
    return variance


def _fitted(samples: Sequence[Sample]) -> tuple[float, float]:
    """Noise and wandering that explain the samples best."""
    gaps, squares = np.array(samples, np.float64).reshape(-1, 2).T
    best, found = -math.inf, (_PRIOR_NOISE, _PRIOR_WANDER)
    for noise in _NOISES:
        for wander in _WANDERS:
            variance = _variance(gaps, noise, wander)
            fit = float(student(squares / variance, 2 * np.log(variance), 2).sum())
            fit -= 10 * math.log(noise / _PRIOR_NOISE) ** 2 / (2 * _PRIOR_SPREAD**2)
            fit -= 10 * math.log(wander / _PRIOR_WANDER) ** 2 / (2 * _PRIOR_SPREAD**2)
            if fit > best:
                best, found = fit, (noise, wander)
    return found


@dataclass(frozen=True, slots=True, eq=False)
class _Begins:
    """The beginnings of all tracklets, a row each."""

    times: NDArray[np.float64]  # (N,) ascending
    positions: NDArray[np.float64]  # (N, 2)
    velocities: NDArray[np.float64]  # (N, 2)
    sizes: NDArray[np.float64]  # (N,)
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
            np.array([tracklet.first.size for tracklet in tracklets]),
            np.array([tracklet.shot for tracklet in tracklets], np.int64),
            np.array([tracklet.identity for tracklet in tracklets], np.int64),
            np.stack([tracklet.embedding for tracklet in tracklets]),
        )

    def motion_llr(
        self, rows: IntArray, before: Tracklet, noise: float, wander: float, largest: float
    ) -> NDArray[np.float64]:
        """(R,) llr of position and size, for going on in these rows.

        Args:
            rows: (R,) that begin after the end of `before`.
            before: the tracklet that is to go on.
            noise: of the position of an end, sizes.
            wander: speed of what is not seen, sizes per second.
            largest: variance of a position of which nothing is known, square pixels.
        """
        last = before.last
        gap = self.times[rows] - last.time
        size = np.sqrt(self.sizes[rows] * last.size)
        # Both sides are followed into the gap, ever less, until they should meet.
        reach = (_DAMPING * (1 - np.exp(-gap / _DAMPING)) / 2)[:, None]
        begin = self.positions[rows] - reach * self.velocities[rows]
        way = begin - last.position - reach * last.velocity
        variance = np.minimum(_variance(gap, noise, wander), largest / size**2)
        squares = (way**2).sum(axis=1) / size**2 / variance
        llr = student(squares, 2 * np.log(2 * math.pi * variance), 2)
        change = np.log(self.sizes[rows] / last.size) / _SIZE_SPREAD
        llr += student(change**2, np.zeros_like(change), 1)
        # In another shot it may be anywhere, of any size.
        anywhere = -np.log(2 * math.pi * largest / size**2)
        return np.where(self.shots[rows] == before.shot, llr, anywhere)

    def appearance_llr(
        self, rows: IntArray, before: Tracklet, densities: SimilarityDensities
    ) -> NDArray[np.float64]:
        """(R,) llr of the embeddings; 0 where one of them is unknown."""
        embeddings = self.embeddings[rows]
        known = embeddings.any(axis=1) & before.embedding.any()
        similarities = embeddings @ before.embedding
        llr = densities.llr(similarities, outliers=MEAN_OUTLIERS).astype(np.float64)
        return np.where(known, llr, 0.0)


def _densities(tracklets: Sequence[Tracklet], begins: _Begins) -> SimilarityDensities:
    """Impostors are tracklets that exist together; one object, those that go on at once."""
    densities = SimilarityDensities()
    known: BoolArray = np.any(begins.embeddings, axis=1)
    previous: dict[int, int] = {}
    for position, tracklet in enumerate(tracklets):
        if not known[position]:
            continue
        stop = int(np.searchsorted(begins.times, tracklet.last.time, side="right"))
        rows = np.arange(position + 1, stop)
        rows = rows[known[rows] & (begins.identities[rows] != tracklet.identity)]
        densities.learn_impostors(begins.embeddings[rows] @ tracklet.embedding)
        before = previous.get(tracklet.identity)
        if before is not None:
            own = begins.embeddings[before] @ tracklet.embedding
            densities.learn_own(np.array([own], np.float32))
        previous[tracklet.identity] = position
    return densities


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
