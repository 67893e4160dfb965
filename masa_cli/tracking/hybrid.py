"""Tracking by motion and appearance together: log-likelihood ratios of both, added up.

Every pair of a box and a track gets a log-likelihood ratio (llr): how much likelier the box is if
it is that object than if it is another one. Motion and appearance are independent, so their ratios
add; an optimal assignment (scipy's) maximises the total, confident boxes first. A new track that is
confirmed may be one that was lost for longer: it is re-identified by its appearance, if no other
track resembles it as much.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar

import numpy as np
from scipy.optimize import linear_sum_assignment

from masa_cli.boxes import are_occluded, are_untruncated, centres, iou, share_inside
from masa_cli.structures import (
    BoolArray,
    CameraMotion,
    Detections,
    EndedTracklets,
    FloatArray,
    FrameTracks,
    IntArray,
    Observation,
    State,
    TrackletRecord,
)
from masa_cli.tracking.appearance import (
    OpenTracklets,
    SimilarityScale,
    TrackAppearance,
    Whitening,
    normalised,
)
from masa_cli.tracking.kalman import BoxFilters, centre_size, corners, of_owner


@dataclass(frozen=True, slots=True)
class HybridSettings:
    """How much motion and appearance count, and when a track begins and ends."""

    birth_score: float = 0.6  # a box above this score that continues nothing may be a new object
    confirm_hits: int = 4  # it is one when it is found in so many frames without a gap
    duplicate_iou: float = 0.7  # not if it overlaps a tracked box by more
    confident_score: float = 0.5  # boxes above this score are assigned first
    continue_score: float = 0.1  # boxes below this score are ignored
    min_llr: float = -4.0  # of a match, for confident boxes
    min_llr_weak: float = -2.0  # the same for other boxes
    update_margin: float = 4.0  # matches of a smaller margin do not update the appearance
    defer_margin: float = 0.5  # those of a smaller one are ambiguous: the box gets no identity yet
    # Motion.
    gate: float = 6.0  # farthest a box may be from where it is expected, standard deviations
    memory_seconds: float = 4.0  # a track unseen for longer is expected nowhere any more
    position_noise: float = 0.08  # of a detector's box, box heights
    start_speed: float = 1.0  # of the unknown speed of a new track, heights per second
    acceleration: float = 0.5  # of the change of speed within one second, heights per second
    size_weight: float = 0.5  # of the llr of width and height; that of the position has 1
    edge_share: float = 0.3  # a track of which less is expected inside the frame may only go on
    # with a box that is similar enough for re-identification
    camera_motion: bool = True  # compensate for the camera's motion, and for cuts
    # Appearance; similarity is 1 for equal embeddings, 0 for the mean impostor (appearance.py).
    neutral_similarity: float = 0.4  # a smaller similarity speaks against a match
    appearance_weight: float = 10.0  # llr per unit of similarity; 0 turns appearance off
    momentum: float = 0.2  # weight of a new embedding in a track's running mean, 0 to 1
    occlusion_iou: float = 0.3  # a box that overlaps another by more does not update the appearance
    edge_gap: float = 0.02  # nor does one that is nearer to the frame's edge, box heights
    whitening_pairs: float = 200.0  # weight of the prior, equal variation in all directions, in the
    # within-class whitening of embeddings, in pairs; 0 turns whitening off
    # Re-identification after loss, by appearance alone, when a new track is confirmed.
    reid_seconds: float = 20.0  # how long lost tracks are remembered; 0 turns it off
    reid_similarity: float = 0.65  # smallest similarity of the mean embeddings
    reid_margin: float = 0.08  # by so much every other pair must be less similar
    reid_speed: float = 2.0  # farthest it may have gone meanwhile, heights per second
    # For offline refinement.
    tracklet_seconds: float = 0.5  # unseen for longer, another tracklet begins

    former_names: ClassVar[Mapping[str, str]] = MappingProxyType(
        {
            "least_nats": "min_llr",
            "weak_nats": "min_llr_weak",
            "learn_nats": "update_margin",
            "wait_nats": "defer_margin",
            "follow_camera": "camera_motion",
            "neutral_likeness": "neutral_similarity",
            "look_nats": "appearance_weight",
            "clear_iou": "occlusion_iou",
            "fisher_pairs": "whitening_pairs",
            "return_seconds": "reid_seconds",
            "return_likeness": "reid_similarity",
            "return_margin": "reid_margin",
            "return_speed": "reid_speed",
        }
    )

    def __post_init__(self) -> None:
        positive = (self.memory_seconds, self.position_noise, self.start_speed, self.acceleration)
        if min(positive) <= 0:
            raise ValueError("memory_seconds, noise, speed and acceleration must be positive")
        if not 0 <= self.momentum <= 1:
            raise ValueError("momentum is within 0..1")
        if self.confirm_hits < 1 or self.whitening_pairs < 0:
            raise ValueError("confirm_hits is at least 1, whitening_pairs at least 0")


def assign(
    llr: FloatArray, passes: Sequence[tuple[BoolArray, float]]
) -> tuple[IntArray, FloatArray]:
    """Match boxes with tracks, one kind of box after the other, for the greatest total llr.

    Args:
        llr: (N, M) log-likelihood ratio of each pair of box and track.
        passes: for each pass, (N,) which boxes take part, and the llr that a match must exceed.

    Returns:
        (N,) the track of each box, -1 for none; and (N,) the margin of each match, the llr that any
        other identity would cost; infinite for boxes without a match.
    """
    matches = np.full(len(llr), -1, np.int64)
    margins = np.full(len(llr), np.inf, np.float32)
    for eligible, min_llr in passes:
        rows = np.flatnonzero(eligible)
        if not len(rows):
            continue
        free = np.ones(llr.shape[1], np.bool_)
        free[matches[matches >= 0]] = False
        columns = np.flatnonzero(free)
        # No pair at all has a gain of 0.
        gain = np.maximum(llr[np.ix_(rows, columns)] - min_llr, 0)
        first, second = linear_sum_assignment(gain, maximize=True)
        matched = gain[first, second] > 0
        first, second = first[matched], second[matched]
        matches[rows[first]] = columns[second]
        margins[rows[first]] = _margins(gain, first, second)
    return matches, margins


def _margins(gain: FloatArray, rows: IntArray, columns: IntArray) -> FloatArray:
    """(P,) what the total loses if a box gets no track, a free one, or swaps its own.

    Other boxes for its track do not count: they may be the same object, found twice.
    """
    own = gain[rows, columns]
    pairs = gain[np.ix_(rows, columns)]
    swapped = own[:, None] + own - pairs - pairs.T
    np.fill_diagonal(swapped, np.inf)
    others = gain[rows]
    others[:, columns] = 0
    alone = own - others.max(axis=1, initial=0)
    margins: FloatArray = np.minimum(alone, swapped.min(axis=1, initial=np.inf))
    return margins


_NEVER = -1e6  # llr of a pair that must not be matched
_REPLACED = -1  # the id of a track whose object goes on as another one


class HybridTracker:
    """Gives boxes identities by where they were expected and by their appearance.

    Args:
        settings: thresholds, noise and weights.
    """

    def __init__(self, settings: HybridSettings) -> None:
        self.settings = settings
        self._next_id = 1
        self._time = 0.0
        self._frame_size: tuple[int, int] | None = None  # width, height, pixels
        self._similarity = SimilarityScale()
        self._whitening = Whitening(settings.whitening_pairs)
        self._moved = CameraMotion.identity()
        self._next_number = 1  # of tracklets
        self._remember_nothing(0)

    @property
    def uses_camera_motion(self) -> bool:
        """Whether observations should tell how the camera moved."""
        return self.settings.camera_motion

    def update(self, observation: Observation) -> FrameTracks:
        """Join the boxes of the next frame to the tracks so far.

        Returns:
            The boxes that belong to confirmed tracks, in the order given, and the record of all
            others that may turn out to.
        """
        detections, time = observation.detections, observation.time
        self._follow_camera(observation)
        settings, boxes, scores = self.settings, detections.boxes, detections.scores
        embeddings = normalised(observation.embeddings)
        if not len(self._tracks):
            self._remember_nothing(embeddings.shape[1])
        self._tracks.predict(time - self._time, settings)
        self._time = time
        confident = scores > settings.confident_score
        weak = ~confident & (scores > settings.continue_score)
        projected = self._whitening.project(embeddings)
        overlap = iou(boxes, boxes)
        apart = overlap[np.ix_(confident, confident)] < settings.occlusion_iou
        self._similarity.learn(projected[confident], apart)

        llr = self._llr(boxes, projected)
        passes = [(confident, settings.min_llr), (weak, settings.min_llr_weak)]
        matches, margins = assign(llr, passes)
        deferred = margins < settings.defer_margin
        matches[deferred] = -1
        occluded = are_occluded(overlap, settings.occlusion_iou)
        unoccluded = ~occluded & are_untruncated(boxes, self._frame_size, settings.edge_gap)
        ended = self._continue(matches, boxes, occluded)
        self._learn(matches, embeddings, unoccluded & (margins >= settings.update_margin))
        self._confirm()
        starting = (matches < 0) & ~deferred & (scores > settings.birth_score)
        starting &= ~(overlap[:, matches >= 0] > settings.duplicate_iou).any(axis=1)
        ids, numbers = np.zeros((2, len(boxes)), np.int64)
        ids[matches >= 0] = self._tracks.ids[matches[matches >= 0]]
        numbers[matches >= 0] = self._open.numbers[matches[matches >= 0]]
        ended += self._forget()
        numbers[starting] = self._start(
            boxes[starting], embeddings[starting], occluded[starting], unoccluded[starting]
        )
        record = self._record(detections, ids, numbers, ended)
        return FrameTracks(observation.index, time, detections[ids > 0].named(ids[ids > 0]), record)

    def finish(self) -> EndedTracklets:
        """Those that have not ended; with them, all tracklets of the records are told of."""
        return self._open.ended(np.arange(len(self._tracks)))

    def state(self) -> State:
        """Everything a new tracker with the same settings needs to go on as this one would."""
        state: State = {
            "next": np.array([self._next_id, self._next_number]),
            "time": np.array(self._time),
            "frame_size": np.array(self._frame_size or (0, 0)),
        }
        for owner, part in (*self._parts.items(), *self._rows.items()):
            state |= {f"{owner}.{name}": value for name, value in part.state().items()}
        return state

    def restore(self, state: State) -> None:
        """Continue from the `state()` of another tracker."""
        self._next_id, self._next_number = map(int, state["next"])
        self._time = float(state["time"])
        width, height = map(int, state["frame_size"])
        self._frame_size = (width, height) if width else None
        for owner, part in self._parts.items():
            part.restore(of_owner(state, owner))
        self._tracks = BoxFilters.from_state(of_owner(state, "tracks"))
        self._open = OpenTracklets.from_state(of_owner(state, "tracklets"))
        self._appearance = TrackAppearance.from_state(of_owner(state, "embeddings"))

    @property
    def _parts(self) -> dict[str, SimilarityScale | Whitening]:
        """What learns from the video as a whole."""
        return {"similarity": self._similarity, "whitening": self._whitening}

    @property
    def _rows(self) -> dict[str, BoxFilters | OpenTracklets | TrackAppearance]:
        """What is remembered of the tracks, a row each."""
        return {"tracks": self._tracks, "tracklets": self._open, "embeddings": self._appearance}

    def _follow_camera(self, observation: Observation) -> None:
        """Move what is remembered as the camera moved; forget where it was after a cut."""
        if observation.frame_size is not None:
            self._frame_size = observation.frame_size
        if not self.settings.camera_motion:
            return
        self._moved = observation.motion
        if self._moved.is_cut:
            self._tracks.lose()
            self._open.lose()
        elif self._moved.moves():
            self._tracks.move(self._moved.matrix)
            self._open.move(self._moved)

    def _remember_nothing(self, dim: int) -> None:
        """No tracks; `dim` numbers are in an embedding."""
        none = np.empty(0, np.int64)
        no_appearance = np.empty((0, dim), np.float32)
        # Tentative tracks have the id 0.
        self._tracks = BoxFilters.start(none, np.empty((0, 4), np.float32), 0.0, self.settings)
        self._open = OpenTracklets(none, none.astype(np.bool_), np.empty((0, 2)), no_appearance)
        self._appearance = TrackAppearance.start(no_appearance, self._whitening)

    def _llr(self, boxes: FloatArray, projected: FloatArray) -> FloatArray:
        """(N, M) log-likelihood ratio of each pair of box and track."""
        settings, tracks = self.settings, self._tracks
        measured = centre_size(boxes)[:, :, None]  # (N, 4, 1)
        height = np.maximum(measured[:, 3], 1)  # (N, 1)
        noise = (settings.position_noise * height) ** 2
        # One coordinate at a time: numpy is slow with sums over so short an axis.
        variances = [column + noise for column in tracks.position_variance.T]  # (N, M) each
        squares = [
            (measured[:, column] - tracks.position[:, column]) ** 2 / variance
            for column, variance in enumerate(variances)
        ]
        position, size = squares[0] + squares[1], squares[2] + squares[3]
        # Of the position, also how sharp the expectation is: a vague one explains any box, poorly.
        spread = np.log(variances[0] * variances[1] * (2 * math.pi / height**2) ** 2)
        llr: FloatArray = -0.5 * (position + spread + settings.size_weight * size)
        similarity = self._similarity.of(projected @ self._appearance.projected.T)
        if projected.shape[1]:  # without embeddings, motion alone decides
            llr += settings.appearance_weight * (similarity - settings.neutral_similarity)
        llr[position + size > settings.gate**2] = _NEVER
        llr[:, self._time - tracks.seen > settings.memory_seconds] = _NEVER
        has_left = share_inside(corners(tracks.position), self._frame_size) < settings.edge_share
        llr[has_left & (similarity < settings.reid_similarity)] = _NEVER  # also if not known
        return llr

    def _continue(
        self, matches: IntArray, boxes: FloatArray, occluded: BoolArray
    ) -> EndedTracklets:
        """Correct the filters of matched tracks; lost or occluded ones begin a tracklet."""
        matched = matches >= 0
        rows, boxes, occluded = matches[matched], boxes[matched], occluded[matched]
        unseen = self._time - self._tracks.seen[rows]
        again = self._open.occluded[rows] & ~occluded | (unseen > self.settings.tracklet_seconds)
        ended = self._open.ended(rows[again])
        self._open.begin(rows[again], self._new_numbers(int(again.sum())))
        self._open.update(rows, centres(boxes), occluded)
        self._tracks.correct(rows, boxes, self._time, self.settings)
        return ended

    def _learn(self, matches: IntArray, embeddings: FloatArray, good: BoolArray) -> None:
        """Update the appearance of matched tracks, from good views of sure matches alone."""
        settings, good = self.settings, good & (matches >= 0)
        rows, embeddings = matches[good], embeddings[good]
        old = self._tracks.hits[rows] > settings.confirm_hits
        is_new = self._whitening.learn(embeddings[old] - self._appearance.mean[rows[old]])
        self._appearance.learn(rows, embeddings, self._whitening, settings.momentum)
        self._open.sums[rows] += embeddings
        if is_new:
            self._appearance.project_again(self._whitening)

    def _confirm(self) -> None:
        """Give tracks that were found often enough an identity, a lost one's if re-identified."""
        settings, tracks = self.settings, self._tracks
        rows = np.flatnonzero((tracks.ids == 0) & (tracks.hits >= settings.confirm_hits))
        for row, lost in self._reidentified(rows):
            tracks.ids[row], tracks.ids[lost] = tracks.ids[lost], _REPLACED
        rows = rows[tracks.ids[rows] == 0]
        tracks.ids[rows] = np.arange(self._next_id, self._next_id + len(rows))
        self._next_id += len(rows)

    def _reidentified(self, rows: IntArray) -> list[tuple[int, int]]:
        """Which of these rows are which lost ones, the most similar first."""
        settings, tracks = self.settings, self._tracks
        unseen = self._time - tracks.seen
        is_lost = (tracks.ids > 0) & (unseen > 0) & (unseen <= settings.reid_seconds)
        lost = np.flatnonzero(is_lost)
        projected, there = self._appearance.projected, self._open.centres
        similarity = self._similarity.of(projected[rows] @ projected[lost].T)
        distance = np.linalg.norm(there[rows, None] - there[lost], axis=2)
        reach = tracks.position[rows, None, 3] * (1 + settings.reid_speed * unseen[lost])
        similarity[distance > reach] = -np.inf  # never where a centre is unknown: NaN
        found = []
        while similarity.size and similarity.max() > settings.reid_similarity:
            row, column = np.unravel_index(similarity.argmax(), similarity.shape)
            rivals = np.append(
                np.delete(similarity[row], column), np.delete(similarity[:, column], row)
            )
            if similarity[row, column] - rivals.max(initial=-np.inf) > settings.reid_margin:
                found.append((int(rows[row]), int(lost[column])))
            similarity[row] = similarity[:, column] = -np.inf
        return found

    def _forget(self) -> EndedTracklets:
        """Drop tracks unseen for too long, tentative ones unseen at all, and those replaced."""
        settings, tracks = self.settings, self._tracks
        unseen = self._time - tracks.seen
        memory = max(settings.memory_seconds, settings.reid_seconds)
        kept = (unseen <= memory) & (tracks.ids >= 0) & ((tracks.ids > 0) | (unseen == 0))
        ended = self._open.ended(~kept)
        self._tracks, self._open = tracks[kept], self._open[kept]
        self._appearance = self._appearance[kept]
        return ended

    def _start(
        self, boxes: FloatArray, embeddings: FloatArray, occluded: BoolArray, good: BoolArray
    ) -> IntArray:
        """Begin tentative tracks on boxes; returns the numbers of their tracklets."""
        none = np.zeros(len(boxes), np.int64)
        numbers = self._new_numbers(len(boxes))
        self._tracks += BoxFilters.start(none, boxes, self._time, self.settings)
        self._open += OpenTracklets(
            numbers, occluded, centres(boxes).astype(np.float64), embeddings * good[:, None]
        )
        self._appearance += TrackAppearance.start(embeddings, self._whitening)
        return numbers

    def _record(
        self, detections: Detections, ids: IntArray, numbers: IntArray, ended: EndedTracklets
    ) -> TrackletRecord:
        tentative = (ids == 0) & (numbers > 0)
        return TrackletRecord(
            tracklets=numbers[ids > 0],
            tentative=detections[tentative].named(numbers[tentative]),
            ended=ended,
            motion=self._moved,
        )

    def _new_numbers(self, count: int) -> IntArray:
        first, self._next_number = self._next_number, self._next_number + count
        return np.arange(first, self._next_number)
