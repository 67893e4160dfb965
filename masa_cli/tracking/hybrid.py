"""Tracking by motion and appearance together: log-likelihood ratios of both, added up.

Every pair of a box and a track gets a log-likelihood ratio (llr): how much likelier the box is if
it is that object than if it is another one. How exactly an object goes where it is expected, how
often it jumps, how much its appearance varies and how much impostors resemble it is learned from
the video (kalman.py, appearance.py, scene.py), so one setting serves all kinds of objects. An
optimal assignment (scipy's) maximises the total, confident boxes first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import ClassVar, Protocol

import numpy as np

from masa_cli.boxes import (
    are_duplicates,
    are_occluded,
    are_untruncated,
    iou,
    share_inside,
)
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
    Tracks,
)
from masa_cli.tracking.appearance import (
    MEAN_OUTLIERS,
    OpenTracklets,
    SimilarityDensities,
    TrackAppearance,
    Whitening,
    normalised,
)
from masa_cli.tracking.assignment import assign
from masa_cli.tracking.kalman import (
    BoxFilters,
    MotionNoise,
    centre_size,
    corners,
    of_owner,
    sizes,
)
from masa_cli.tracking.scene import GAP_SECONDS, Clock, Jumps, Scene, ScoreScale


@dataclass(frozen=True, slots=True)
class HybridSettings:
    """When a track begins and ends, and how sure a match must be.

    Scores are as of a detector that gives sure boxes 0.72 or more: those of one that gives less, in
    all or to some class, are scaled up (scene.ScoreScale). Seconds are frames where frames are
    rarer (scene.Clock).
    """

    birth_score: float = 0.7  # a box above this score that continues nothing may be a new object
    confirm_hits: int = 3  # it is one when it is found in so many frames without a gap
    confident_score: float = 0.5  # boxes above this score are assigned first
    continue_score: float = 0.35  # boxes below this score are ignored
    min_llr: float = -1.0  # of a match, beyond that of a new or false box
    defer_margin: float = 0.5  # matches of a smaller margin are ambiguous: they wait for a moment
    memory_seconds: float = 4.0  # a track unseen for longer is expected nowhere any more
    jump_share: float = 0.05  # of boxes far from where they were expected, before it is learned
    camera_motion: bool = True  # compensate for the camera's motion, and for cuts
    momentum: float = 0.15  # weight of a new embedding in a track's running mean, 0 to 1
    occlusion_iou: float = 0.3  # a box that overlaps another by more does not update the appearance
    whitening_pairs: float = 200.0  # weight of the prior, equal variation in all directions, in the
    # within-class whitening of embeddings, in pairs; 0 turns whitening off
    reid_seconds: float = 20.0  # how long lost tracks may be re-identified; 0 turns it off
    reid_llr: float = 0.5  # that makes a new track a lost one
    coast_seconds: float = 0.125  # a box missing for no longer is shown where it is expected

    former_names: ClassVar[Mapping[str, str]] = MappingProxyType(
        {
            "least_nats": "min_llr",
            "wait_nats": "defer_margin",
            "follow_camera": "camera_motion",
            "clear_iou": "occlusion_iou",
            "fisher_pairs": "whitening_pairs",
            "return_seconds": "reid_seconds",
        }
    )

    def __post_init__(self) -> None:
        if self.memory_seconds <= 0:
            raise ValueError("memory_seconds must be positive")
        if not 0 <= self.momentum <= 1:
            raise ValueError("momentum is within 0..1")
        if not 0 < self.jump_share < 1:
            raise ValueError("jump_share is between 0 and 1")
        if self.confirm_hits < 1 or self.whitening_pairs < 0:
            raise ValueError("confirm_hits is at least 1, whitening_pairs at least 0")


class _Learned(Protocol):
    """What learns from the video as a whole, and can be kept."""

    def state(self) -> State:
        """What `restore` needs."""
        ...

    def restore(self, state: State) -> None:
        """Go on from a `state()`."""
        ...


_NEVER = -1e6  # llr of a pair that must not be matched
_REPLACED = -1  # the id of a track whose object goes on as another one

_WEAK_LLR = 2.0  # boxes that are not confident need so much more
_SURE_MARGIN = 4.0  # matches of a smaller margin teach nothing
# Tracks expected less exactly, in box sizes (one standard deviation), take an ambiguous box: what
# moves fast could not be found again, and nobody waits for ever.
_DEFER_SPREAD = 0.25
_EDGE_GAP = 0.02  # nearer to the frame's edge, in box heights, it may cut off something
_REID_MARGIN = 1.0  # by so much every other pair must be less likely
_TRACKLET_SECONDS = 0.5  # unseen for longer, another tracklet begins
# Of a track of which less is expected inside the frame, the llr of appearance that a box needs.
_LEFT_INSIDE, _RETURN_LLR = 0.3, 1.0
_COAST_HITS, _COAST_INSIDE = 5, 0.8  # of tracks that are shown unseen; share inside the frame


class HybridTracker:
    """Gives boxes identities by where they were expected and by their appearance.

    Args:
        settings: thresholds.
        by_motion_alone: embeddings and the camera's motion do not count.
    """

    def __init__(self, settings: HybridSettings, *, by_motion_alone: bool = False) -> None:
        self.settings = settings
        self.uses_camera_motion = settings.camera_motion and not by_motion_alone
        self._by_motion_alone = by_motion_alone
        self._next_id, self._next_number = 1, 1  # of tracks, of tracklets
        self._time = 0.0
        self._clock, self._scene, self._score_scale = Clock(), Scene(), ScoreScale()
        self._noise, self._jumps = MotionNoise(), Jumps(settings.jump_share)
        self._similarity = SimilarityDensities()
        self._whitening = Whitening(settings.whitening_pairs)
        self._moved = CameraMotion.identity()
        self._remember_nothing(0)

    def update(self, observation: Observation) -> FrameTracks:
        """Join the boxes of the next frame to the tracks so far.

        Returns:
            The boxes that belong to confirmed tracks, in the order given, then those expected of
            tracks that were missed only just now, marked as interpolated; and the record of all
            others that may turn out to.
        """
        if self._by_motion_alone:
            nothing = np.empty((len(observation.detections), 0), np.float32)
            observation = replace(observation, embeddings=nothing, motion=CameraMotion.identity())
        settings, detections = self.settings, observation.detections
        boxes, scores = (
            detections.boxes,
            self._score_scale.scaled(detections.scores, detections.labels),
        )
        embeddings = normalised(observation.embeddings)
        if not len(self._tracks):
            self._remember_nothing(embeddings.shape[1])
        self._begin_frame(observation)
        confident = scores > settings.confident_score
        weak = ~confident & (scores > settings.continue_score)
        llr = self._llr(boxes, embeddings)
        min_llr = settings.min_llr + self._scene.clutter_llr(sizes(self._position()))
        matches, margins = assign(llr, [(confident, min_llr), (weak, min_llr + _WEAK_LLR)])
        deferred = self._are_deferred(matches, margins)
        matches[deferred] = -1
        self._scene.learn(int(((matches < 0) & confident).sum()))

        overlap = iou(boxes, boxes)
        occluded = are_occluded(overlap, settings.occlusion_iou)
        whole = ~occluded & are_untruncated(boxes, self._scene.frame_size, _EDGE_GAP)
        sure = margins >= _SURE_MARGIN
        ended = self._continue(matches, boxes, occluded, sure)
        self._learn(matches, embeddings, whole & sure)
        self._learn_of_scene(matches, sure, overlap, detections)
        starting = (matches < 0) & ~deferred & (scores > settings.birth_score)
        starting &= ~are_duplicates(boxes, matches >= 0)
        matches[starting] = self._start(
            detections[starting], embeddings[starting], occluded[starting], whole[starting]
        )
        self._confirm()
        belongs = matches >= 0
        ids, numbers = np.zeros((2, len(boxes)), np.int64)
        ids[belongs] = self._tracks.ids[matches[belongs]]
        numbers[belongs] = self._open.numbers[matches[belongs]]
        ended += self._forget()
        unsure = np.where(margins < _SURE_MARGIN, margins, np.inf).astype(np.float32)
        shown, waiting = ids > 0, (ids == 0) & (numbers > 0)
        tentative = detections[waiting].named(numbers[waiting], unsure[waiting])
        record = TrackletRecord(numbers[shown], tentative, ended, self._moved)
        found = detections[shown].named(ids[shown], unsure[shown])
        found, record = self._with_coasting(found, record)
        return FrameTracks(observation.index, observation.time, found, record)

    def finish(self) -> EndedTracklets:
        """Those that have not ended; with them, all tracklets of the records are told of."""
        return self._open.ended(np.arange(len(self._tracks)))

    def state(self) -> State:
        """Everything a new tracker with the same settings needs to go on as this one would."""
        state: State = {
            "next": np.array([self._next_id, self._next_number]),
            "time": np.array(self._time),
        }
        for owner, part in (*self._parts.items(), *self._rows.items()):
            state |= {f"{owner}.{name}": value for name, value in part.state().items()}
        return state

    def restore(self, state: State) -> None:
        """Continue from the `state()` of another tracker."""
        self._next_id, self._next_number = map(int, state["next"])
        self._time = float(state["time"])
        for owner, part in self._parts.items():
            part.restore(of_owner(state, owner))
        self._tracks = BoxFilters.from_state(of_owner(state, "tracks"))
        self._open = OpenTracklets.from_state(of_owner(state, "tracklets"))
        self._appearance = TrackAppearance.from_state(of_owner(state, "embeddings"))

    @property
    def _parts(self) -> dict[str, _Learned]:
        """What learns from the video as a whole."""
        return {
            "clock": self._clock,
            "scene": self._scene,
            "scores": self._score_scale,
            "noise": self._noise,
            "jumps": self._jumps,
            "similarity": self._similarity,
            "whitening": self._whitening,
        }

    @property
    def _rows(self) -> dict[str, BoxFilters | OpenTracklets | TrackAppearance]:
        """What is remembered of the tracks, a row each."""
        return {"tracks": self._tracks, "tracklets": self._open, "embeddings": self._appearance}

    def _begin_frame(self, observation: Observation) -> None:
        """Move what is remembered to the time of a frame; forget where it was after a cut."""
        self._scene.see(observation.detections.boxes, observation.frame_size)
        if self.uses_camera_motion:
            self._moved = observation.motion
            if self._moved.is_cut:
                self._tracks.lose()
            elif self._moved.moves():
                self._tracks.move(self._moved.matrix)
        seconds = self._clock.advance(observation.time)
        self._tracks.predict(seconds)
        self._time += seconds

    def _remember_nothing(self, dim: int) -> None:
        """No tracks; `dim` numbers are in an embedding."""
        none = np.empty(0, np.int64)
        no_appearance = np.empty((0, dim), np.float32)
        # Tentative tracks have the id 0.
        self._tracks = BoxFilters.start(none, np.empty((0, 4), np.float32), 0.0)
        self._open = OpenTracklets(none, none.astype(np.bool_), none, no_appearance)
        self._appearance = TrackAppearance.start(no_appearance, self._whitening, 0.0)

    def _llr(self, boxes: FloatArray, embeddings: FloatArray) -> FloatArray:
        """(N, M) log-likelihood ratio of each pair of box and track.

        Remembers what is learned from the pairs that turn out to be sure.
        """
        smooth, jumped = self._tracks.llr(centre_size(boxes), self._noise, self._jumps.share)
        projected = self._whitening.project(embeddings)
        self._similarities = projected @ self._appearance.projected.T
        told = np.zeros_like(smooth)  # without embeddings, motion alone decides
        if projected.shape[1]:
            told = self._similarity.llr(self._similarities)
            smooth = smooth + told
            # Who jumps turns, too: it resembles itself no more than after a while.
            jumped = jumped + self._similarity.llr(self._similarities, later=True)
        llr: FloatArray = np.logaddexp(smooth, jumped)
        self._jump_probabilities = np.exp(jumped - llr)
        if projected.shape[1]:
            # Who is expected outside the frame has left; another that enters there is not it.
            inside = share_inside(corners(self._position()), self._scene.frame_size)
            llr[(inside < _LEFT_INSIDE) & (told < _RETURN_LLR)] = _NEVER
        llr[:, self._unseen() > self.settings.memory_seconds] = _NEVER
        return llr

    def _are_deferred(self, matches: IntArray, margins: FloatArray) -> BoolArray:
        """(N,) which matches are ambiguous, of tracks whose place will be known for a while."""
        deferred = margins < self.settings.defer_margin
        rows = matches[deferred]
        variance = self._tracks.variance(self._noise)[rows, :2].max(axis=1, initial=0)
        limit = _DEFER_SPREAD * sizes(self._position()[rows])[:, 0]
        deferred[deferred] = np.sqrt(variance) <= limit
        return deferred

    def _continue(
        self, matches: IntArray, boxes: FloatArray, occluded: BoolArray, sure: BoolArray
    ) -> EndedTracklets:
        """Correct the filters of matched tracks; lost or occluded ones begin a tracklet."""
        matched = matches >= 0
        rows, occluded = matches[matched], occluded[matched]
        longest = max(_TRACKLET_SECONDS, 1.5 * self._clock.step)
        again = self._open.occluded[rows] & ~occluded | (self._unseen()[rows] > longest)
        ended = self._open.ended(rows[again])
        self._open.begin(rows[again], self._new_numbers(int(again.sum())))
        self._open.occluded[rows] = occluded
        self._tracks.correct(rows, boxes[matched], self._time, self._noise, sure[matched])
        return ended

    def _learn(self, matches: IntArray, embeddings: FloatArray, good: BoolArray) -> None:
        """Update the appearance of matched tracks, from good views of sure matches alone."""
        settings, good = self.settings, good & (matches >= 0)
        rows, embeddings = matches[good], embeddings[good]
        self._similarity.learn_own(self._similarities[good, rows])
        before = self._appearance.compared(rows, embeddings, self._whitening, self._time)
        self._similarity.learn_own(before, later=True)
        old = self._tracks.hits[rows] > settings.confirm_hits
        is_new = self._whitening.learn(embeddings[old] - self._appearance.mean[rows[old]])
        self._appearance.learn(rows, embeddings, self._whitening, settings.momentum)
        self._open.sums[rows] += embeddings
        if is_new:
            self._appearance.project_again(self._whitening)
            self._similarity.forget()

    def _learn_of_scene(
        self, matches: IntArray, sure: BoolArray, overlap: FloatArray, found: Detections
    ) -> None:
        """Update what is known of the video, from sure matches of tracks that are known well."""
        known = np.flatnonzero((matches >= 0) & sure)
        known = known[self._tracks.hits[matches[known]] > self.settings.confirm_hits]
        rows = matches[known]
        apart = overlap[np.ix_(known, known)] < self.settings.occlusion_iou
        np.fill_diagonal(apart, False)
        self._similarity.learn_impostors(self._similarities[np.ix_(known, rows)][apart])
        self._jumps.learn(self._jump_probabilities[known, rows])
        tracked = np.isin(np.arange(len(found)), known)
        self._score_scale.learn(found.scores, found.labels, tracked)

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
        """Which of these rows are which lost ones, the likeliest first."""
        unseen = self._unseen()
        is_lost = (self._tracks.ids > 0) & (unseen > 0) & (unseen <= self.settings.reid_seconds)
        lost = np.flatnonzero(is_lost)
        llr = self._reid_llr(rows, lost) if len(rows) and len(lost) else np.empty((0, 0))
        found = []
        while llr.size and llr.max() > self.settings.reid_llr:
            row, column = np.unravel_index(llr.argmax(), llr.shape)
            rivals = np.append(np.delete(llr[row], column), np.delete(llr[:, column], row))
            if llr[row, column] - rivals.max(initial=-np.inf) > _REID_MARGIN:
                found.append((int(rows[row]), int(lost[column])))
            llr[row] = llr[:, column] = -np.inf
        return found

    def _reid_llr(self, rows: IntArray, lost: IntArray) -> FloatArray:
        """(R, L) llr of each new track for being each lost one, beyond one from anywhere."""
        position = self._position()
        motion = np.logaddexp(*self._tracks.llr(position[rows], self._noise, self._jumps.share))[
            :, lost
        ]
        anywhere = -np.log(self._scene.area(sizes(position)[lost, 0]))
        # The longer it was away, the less likely it comes back at all.
        gone = 2 * np.log1p(self._unseen()[lost] / GAP_SECONDS)
        llr: FloatArray = np.maximum(motion, anywhere) - anywhere - gone
        projected = self._appearance.projected
        if projected.shape[1]:
            similarities = projected[rows] @ projected[lost].T
            llr += self._similarity.llr(similarities, outliers=MEAN_OUTLIERS)
        return llr

    def _forget(self) -> EndedTracklets:
        """Drop tracks unseen for too long, tentative ones unseen at all, and those replaced."""
        tracks, unseen = self._tracks, self._unseen()
        memory = max(self.settings.memory_seconds, self.settings.reid_seconds)
        kept = (unseen <= memory) & (tracks.ids >= 0) & ((tracks.ids > 0) | (unseen == 0))
        ended = self._open.ended(~kept)
        self._tracks, self._open = tracks[kept], self._open[kept]
        self._appearance = self._appearance[kept]
        return ended

    def _start(
        self, found: Detections, embeddings: FloatArray, occluded: BoolArray, whole: BoolArray
    ) -> IntArray:
        """Begin tentative tracks on boxes; returns their rows."""
        none = np.zeros(len(found), np.int64)
        rows = np.arange(len(found)) + len(self._tracks)
        numbers = self._new_numbers(len(found))
        self._tracks += BoxFilters.start(none, found.boxes, self._time)
        self._open += OpenTracklets(numbers, occluded, found.labels, embeddings * whole[:, None])
        self._appearance += TrackAppearance.start(embeddings, self._whitening, self._time)
        return rows

    def _with_coasting(
        self, found: Tracks, record: TrackletRecord
    ) -> tuple[Tracks, TrackletRecord]:
        """Together with the boxes expected of tracks that were missed only just now."""
        tracks, unseen = self._tracks, self._unseen()
        missed = (tracks.ids > 0) & (tracks.hits >= _COAST_HITS) & (unseen > 0)
        missed &= unseen <= self.settings.coast_seconds
        rows = np.flatnonzero(missed)
        boxes = corners(self._position()[rows])
        visible = share_inside(boxes, self._scene.frame_size) >= _COAST_INSIDE
        visible &= ~(iou(boxes, found.boxes) > self.settings.occlusion_iou).any(axis=1)
        rows, boxes = rows[visible], boxes[visible]
        if not len(rows):
            return found, record
        coasting = Tracks(
            boxes,
            np.zeros(len(rows), np.float32),
            self._open.labels[rows],
            tracks.ids[rows],
            np.ones(len(rows), np.bool_),
        )
        numbers = np.concatenate([record.tracklets, self._open.numbers[rows]])
        return Tracks.joined([found, coasting]), replace(record, tracklets=numbers)

    def _position(self) -> FloatArray:
        return self._tracks.position(self._noise)

    def _unseen(self) -> FloatArray:
        """(M,) seconds since each track was seen."""
        return self._time - self._tracks.seen

    def _new_numbers(self, count: int) -> IntArray:
        first, self._next_number = self._next_number, self._next_number + count
        return np.arange(first, self._next_number)
