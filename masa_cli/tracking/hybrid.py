"""Tracking by motion and appearance together: evidence from both, added up.

Every pair of a box and a track gets a number of nats: how much likelier the box is if it is that
object than if it is another. Motion and looks are separate witnesses, so their evidence is a sum;
an optimal assignment (scipy's) maximises the total, confident boxes first. A new track that is
confirmed may be one that was lost for longer: it is known by its look, if no other looks like it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from masa_cli.boxes import are_hidden, are_whole, centres, iou, share_inside
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
from masa_cli.tracking.appearance import Fisher, Likeness, Looks, of_length_one
from masa_cli.tracking.kalman import BoxFilters, Rows, centre_size, corners, of_owner


@dataclass(frozen=True, slots=True)
class HybridSettings:
    """How much each witness counts, and when a track begins and ends."""

    birth_score: float = 0.6  # a box above this score that continues nothing may be a new object
    confirm_hits: int = 4  # it is one when it is found in so many frames without a gap
    duplicate_iou: float = 0.7  # not if it overlaps a tracked box by more
    confident_score: float = 0.5  # boxes above this score are assigned first
    continue_score: float = 0.1  # boxes below this score are ignored
    least_nats: float = -4.0  # evidence below which a confident box continues nothing
    weak_nats: float = -2.0  # the same for other boxes
    learn_nats: float = 4.0  # a match that beats every other by less teaches no look
    wait_nats: float = 0.5  # one that beats every other by less waits: its box gets no identity
    # Motion.
    gate: float = 6.0  # farthest a box may be from where it is expected, standard deviations
    memory_seconds: float = 4.0  # a track unseen for longer is expected nowhere any more
    position_noise: float = 0.08  # of a detector's box, box heights
    start_speed: float = 1.0  # of the unknown speed of a new track, heights per second
    acceleration: float = 0.5  # of the change of speed within one second, heights per second
    size_weight: float = 0.5  # of the evidence of width and height; place has 1
    edge_share: float = 0.3  # a track of which less is expected inside the frame may only go on
    # with a box that is as much alike as one that returns
    follow_camera: bool = True  # find from the picture how the camera moved, and cuts
    # Appearance; likeness is 1 for equal looks and 0 for those of strangers (likeness.py).
    neutral_likeness: float = 0.4  # looks that are less alike speak against a pair
    look_nats: float = 10.0  # nats per unit of likeness; 0 turns appearance off
    momentum: float = 0.2  # weight of a new look in a track's mean look, 0 to 1
    clear_iou: float = 0.3  # a box that overlaps another by more teaches no look
    edge_gap: float = 0.02  # nor does one that is nearer to the frame's edge, box heights
    fisher_pairs: float = 200.0  # looks are divided by how much one object's vary, which is
    # believed to be equal in all directions like so many pairs at first; 0 turns it off
    # Return after a long absence, by looks alone, decided when a new track is confirmed.
    return_seconds: float = 20.0  # how long looks are remembered; 0 turns returning off
    return_likeness: float = 0.65  # least likeness of the mean looks
    return_margin: float = 0.08  # by so much every other pair must be less alike
    return_speed: float = 2.0  # farthest it may have gone meanwhile, heights per second
    # For the second look (trace.py).
    tracklet_seconds: float = 0.5  # unseen for longer, another tracklet begins

    def __post_init__(self) -> None:
        positive = (self.memory_seconds, self.position_noise, self.start_speed, self.acceleration)
        if min(positive) <= 0:
            raise ValueError("memory_seconds, noise, speed and acceleration must be positive")
        if not 0 <= self.momentum <= 1:
            raise ValueError("momentum is within 0..1")
        if self.confirm_hits < 1 or self.fisher_pairs < 0:
            raise ValueError("confirm_hits is at least 1, fisher_pairs at least 0")


def assign(
    evidence: FloatArray, passes: Sequence[tuple[BoolArray, float]]
) -> tuple[IntArray, FloatArray]:
    """Join boxes to tracks, one kind of box after the other, for the greatest total evidence.

    Args:
        evidence: (N, M) nats for each pair of box and track.
        passes: for each pass, (N,) which boxes take part, and the nats that a pair must exceed.

    Returns:
        (N,) the track of each box, -1 for none; and (N,) how many nats any other identity would
        cost, infinite for boxes that are not joined.
    """
    matches = np.full(len(evidence), -1, np.int64)
    sureness = np.full(len(evidence), np.inf, np.float32)
    for eligible, least in passes:
        rows = np.flatnonzero(eligible)
        if not len(rows):
            continue
        free = np.ones(evidence.shape[1], np.bool_)
        free[matches[matches >= 0]] = False
        columns = np.flatnonzero(free)
        # No pair at all has a gain of 0.
        gain = np.maximum(evidence[np.ix_(rows, columns)] - least, 0)
        first, second = linear_sum_assignment(gain, maximize=True)
        joined = gain[first, second] > 0
        first, second = first[joined], second[joined]
        matches[rows[first]] = columns[second]
        sureness[rows[first]] = _sureness(gain, first, second)
    return matches, sureness


def _sureness(gain: FloatArray, rows: IntArray, columns: IntArray) -> FloatArray:
    """(P,) what the total loses if a box is joined to no track, to a free one, or to a swapped one.

    Other boxes for its track do not count: they may be the same object, found twice.
    """
    own = gain[rows, columns]
    pairs = gain[np.ix_(rows, columns)]
    swapped = own[:, None] + own - pairs - pairs.T
    np.fill_diagonal(swapped, np.inf)
    others = gain[rows]
    others[:, columns] = 0
    alone = own - others.max(axis=1, initial=0)
    sureness: FloatArray = np.minimum(alone, swapped.min(axis=1, initial=np.inf))
    return sureness


@dataclass(frozen=True, slots=True, eq=False)
class Pieces(Rows):
    """One row per track: the tracklet it is in."""

    numbers: IntArray  # (M,) from 1
    hidden: BoolArray  # (M,) whether another box hid it when it was last seen
    place: NDArray[np.float64]  # (M, 2) where its centre was then, pixels; NaN after a cut
    sums: FloatArray  # (M, D) of clear looks

    def lose(self) -> None:
        """Forget all places, in place: the picture shows another scene now."""
        self.place[:] = np.nan

    def move(self, camera: CameraMotion) -> None:
        """Follow the camera, in place."""
        self.place[:] = self.place @ camera.linear.T + camera.shift

    def see(self, rows: IntArray, places: FloatArray, hidden: BoolArray) -> None:
        """Take in where tracks are now, in place.

        Args:
            rows: (N,) of the tracks.
            places: (N, 2) centres of their boxes.
            hidden: (N,) whether another box hides them.
        """
        self.hidden[rows] = hidden
        self.place[rows] = places

    def ended(self, rows: IntArray | BoolArray) -> EndedTracklets:
        """The tracklets of these rows."""
        return EndedTracklets(self.numbers[rows], of_length_one(self.sums[rows]))

    def begin(self, rows: IntArray, numbers: IntArray) -> None:
        """Begin new tracklets, in place."""
        self.numbers[rows] = numbers
        self.sums[rows] = 0


_NEVER = -1e6  # nats of a pair that must not be joined
_REPLACED = -1  # the id of a track whose object goes on as another one


class HybridTracker:
    """Gives boxes identities by where they were expected and how they look.

    Args:
        settings: thresholds, noise and weights.
    """

    def __init__(self, settings: HybridSettings) -> None:
        self.settings = settings
        self._next_id = 1
        self._time = 0.0
        self._frame_size: tuple[int, int] | None = None  # width, height; of the last picture seen
        self._likeness = Likeness()
        self._fisher = Fisher(settings.fisher_pairs)
        self._moved = CameraMotion.identity()
        self._next_number = 1  # of tracklets
        self._remember_nothing(0)

    @property
    def uses_camera_motion(self) -> bool:
        """Whether observations should tell how the camera moved."""
        return self.settings.follow_camera

    def update(self, observation: Observation) -> FrameTracks:
        """Join the boxes of the next frame to the tracks so far.

        Returns:
            The boxes that belong to confirmed tracks, in the order given, and the record of all
            others that may turn out to.
        """
        detections, time = observation.detections, observation.time
        self._follow_camera(observation)
        settings, boxes, scores = self.settings, detections.boxes, detections.scores
        looks = of_length_one(observation.embeddings)
        if not len(self._tracks):
            self._remember_nothing(looks.shape[1])
        self._tracks.predict(time - self._time, settings)
        self._time = time
        confident = scores > settings.confident_score
        weak = ~confident & (scores > settings.continue_score)
        projected = self._fisher.project(looks)
        overlap = iou(boxes, boxes)
        apart = overlap[np.ix_(confident, confident)] < settings.clear_iou
        self._likeness.learn(projected[confident], apart)

        evidence = self._evidence(boxes, projected)
        passes = [(confident, settings.least_nats), (weak, settings.weak_nats)]
        matches, sureness = assign(evidence, passes)
        waits = sureness < settings.wait_nats
        matches[waits] = -1
        hidden = are_hidden(overlap, settings.clear_iou)
        clear = ~hidden & are_whole(boxes, self._frame_size, settings.edge_gap)
        ended = self._continue(matches, boxes, hidden)
        self._learn(matches, looks, clear & (sureness >= settings.learn_nats))
        self._confirm()
        born = (matches < 0) & ~waits & (scores > settings.birth_score)
        born &= ~(overlap[:, matches >= 0] > settings.duplicate_iou).any(axis=1)
        ids, numbers = np.zeros((2, len(boxes)), np.int64)
        ids[matches >= 0] = self._tracks.ids[matches[matches >= 0]]
        numbers[matches >= 0] = self._pieces.numbers[matches[matches >= 0]]
        ended += self._forget()
        numbers[born] = self._start(boxes[born], looks[born], hidden[born], clear[born])
        record = self._record(detections, ids, numbers, ended)
        return FrameTracks(observation.index, time, detections[ids > 0].named(ids[ids > 0]), record)

    def finish(self) -> EndedTracklets:
        """Those that have not ended; with them, all tracklets of the records are told of."""
        return self._pieces.ended(np.arange(len(self._tracks)))

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
        self._pieces = Pieces.from_state(of_owner(state, "pieces"))
        self._looks = Looks.from_state(of_owner(state, "looks"))

    @property
    def _parts(self) -> dict[str, Likeness | Fisher]:
        """What learns from the video as a whole."""
        return {"likeness": self._likeness, "fisher": self._fisher}

    @property
    def _rows(self) -> dict[str, BoxFilters | Pieces | Looks]:
        """What is remembered of the tracks, a row each."""
        return {"tracks": self._tracks, "pieces": self._pieces, "looks": self._looks}

    def _follow_camera(self, observation: Observation) -> None:
        """Move what is remembered as the camera moved; forget where it was after a cut."""
        if observation.frame_size is not None:
            self._frame_size = observation.frame_size
        if not self.settings.follow_camera:
            return
        self._moved = observation.motion
        if self._moved.is_cut:
            self._tracks.lose()
            self._pieces.lose()
        elif self._moved.moves():
            self._tracks.move(self._moved.matrix)
            self._pieces.move(self._moved)

    def _remember_nothing(self, dim: int) -> None:
        """No tracks; `dim` numbers are in an embedding."""
        none = np.empty(0, np.int64)
        no_looks = np.empty((0, dim), np.float32)
        # Tentative tracks have the id 0.
        self._tracks = BoxFilters.start(none, np.empty((0, 4), np.float32), 0.0, self.settings)
        self._pieces = Pieces(none, none.astype(np.bool_), np.empty((0, 2)), no_looks)
        self._looks = Looks.start(no_looks, self._fisher)

    def _evidence(self, boxes: FloatArray, projected: FloatArray) -> FloatArray:
        """(N, M) nats for each pair of box and track."""
        settings, tracks = self.settings, self._tracks
        measured = centre_size(boxes)[:, :, None]  # (N, 4, 1)
        height = np.maximum(measured[:, 3], 1)  # (N, 1)
        noise = (settings.position_noise * height) ** 2
        # One coordinate at a time: numpy is slow with sums over so short an axis.
        variances = [column + noise for column in tracks.position_variance.T]  # (N, M) each
        squares = [
            (measured[:, place] - tracks.position[:, place]) ** 2 / variance
            for place, variance in enumerate(variances)
        ]
        place, size = squares[0] + squares[1], squares[2] + squares[3]
        # Of the place, also how sharp the expectation is: a vague one explains any box, poorly.
        spread = np.log(variances[0] * variances[1] * (2 * math.pi / height**2) ** 2)
        evidence: FloatArray = -0.5 * (place + spread + settings.size_weight * size)
        likeness = self._likeness.of(projected @ self._looks.projected.T)
        evidence += settings.look_nats * (likeness - settings.neutral_likeness)
        evidence[place + size > settings.gate**2] = _NEVER
        evidence[:, self._time - tracks.seen > settings.memory_seconds] = _NEVER
        has_left = share_inside(corners(tracks.position), self._frame_size) < settings.edge_share
        evidence[has_left & (likeness < settings.return_likeness)] = _NEVER  # also if not known
        return evidence

    def _continue(self, matches: IntArray, boxes: FloatArray, hidden: BoolArray) -> EndedTracklets:
        """Correct the filters of matched tracks; those that were out of sight begin tracklets."""
        matched = matches >= 0
        rows, boxes, hidden = matches[matched], boxes[matched], hidden[matched]
        unseen = self._time - self._tracks.seen[rows]
        again = self._pieces.hidden[rows] & ~hidden | (unseen > self.settings.tracklet_seconds)
        ended = self._pieces.ended(rows[again])
        self._pieces.begin(rows[again], self._new_numbers(int(again.sum())))
        self._pieces.see(rows, centres(boxes), hidden)
        self._tracks.correct(rows, boxes, self._time, self.settings)
        return ended

    def _learn(self, matches: IntArray, looks: FloatArray, clear: BoolArray) -> None:
        """Take in the looks of matched boxes that are seen clearly and are surely theirs."""
        settings, clear = self.settings, clear & (matches >= 0)
        rows, looks = matches[clear], looks[clear]
        old = self._tracks.hits[rows] > settings.confirm_hits
        is_new = self._fisher.learn(looks[old] - self._looks.mean[rows[old]])
        self._looks.learn(rows, looks, self._fisher, settings.momentum)
        self._pieces.sums[rows] += looks
        if is_new:
            self._looks.project_again(self._fisher)

    def _confirm(self) -> None:
        """Name the tracks that have been found often enough, as ones that return if alike."""
        settings, tracks = self.settings, self._tracks
        rows = np.flatnonzero((tracks.ids == 0) & (tracks.hits >= settings.confirm_hits))
        for row, lost in self._returns(rows):
            tracks.ids[row], tracks.ids[lost] = tracks.ids[lost], _REPLACED
        rows = rows[tracks.ids[rows] == 0]
        tracks.ids[rows] = np.arange(self._next_id, self._next_id + len(rows))
        self._next_id += len(rows)

    def _returns(self, rows: IntArray) -> list[tuple[int, int]]:
        """Which of these rows are which lost ones, the most alike first."""
        settings, tracks = self.settings, self._tracks
        unseen = self._time - tracks.seen
        is_lost = (tracks.ids > 0) & (unseen > 0) & (unseen <= settings.return_seconds)
        lost = np.flatnonzero(is_lost)
        likeness = self._likeness.of(self._looks.projected[rows] @ self._looks.projected[lost].T)
        way = np.linalg.norm(self._pieces.place[rows, None] - self._pieces.place[lost], axis=2)
        reach = tracks.position[rows, None, 3] * (1 + settings.return_speed * unseen[lost])
        likeness[way > reach] = -np.inf  # never where a place is unknown: NaN
        found = []
        while likeness.size and likeness.max() > settings.return_likeness:
            row, column = np.unravel_index(likeness.argmax(), likeness.shape)
            rivals = np.append(
                np.delete(likeness[row], column), np.delete(likeness[:, column], row)
            )
            if likeness[row, column] - rivals.max(initial=-np.inf) > settings.return_margin:
                found.append((int(rows[row]), int(lost[column])))
            likeness[row] = likeness[:, column] = -np.inf
        return found

    def _forget(self) -> EndedTracklets:
        """Drop tracks unseen for too long, tentative ones unseen at all, and those replaced."""
        settings, tracks = self.settings, self._tracks
        unseen = self._time - tracks.seen
        longest = max(settings.memory_seconds, settings.return_seconds)
        kept = (unseen <= longest) & (tracks.ids >= 0) & ((tracks.ids > 0) | (unseen == 0))
        ended = self._pieces.ended(~kept)
        self._tracks, self._pieces = tracks[kept], self._pieces[kept]
        self._looks = self._looks[kept]
        return ended

    def _start(
        self, boxes: FloatArray, looks: FloatArray, hidden: BoolArray, clear: BoolArray
    ) -> IntArray:
        """Begin tentative tracks on boxes; returns the numbers of their tracklets."""
        none = np.zeros(len(boxes), np.int64)
        numbers = self._new_numbers(len(boxes))
        self._tracks += BoxFilters.start(none, boxes, self._time, self.settings)
        self._pieces += Pieces(
            numbers, hidden, centres(boxes).astype(np.float64), looks * clear[:, None]
        )
        self._looks += Looks.start(looks, self._fisher)
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
