"""Tracking by motion and appearance together: evidence from both, added up.

Every pair of a box and a track gets a number of nats: how much likelier the box is if it is that
object than if it is another. Motion and looks are separate witnesses, so their evidence is a sum;
an optimal assignment (scipy's) maximises the total, confident boxes first. An object that was away
for longer is known by its look alone, and only if no other object looks like it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from masa_cli.boxes import iou
from masa_cli.camera import CameraWatch
from masa_cli.kalman import BoxFilters, centre_size
from masa_cli.likeness import Likeness, of_length_one
from masa_cli.structures import (
    BoolArray,
    Detections,
    FloatArray,
    Image,
    IntArray,
    State,
    Tracks,
)

_NEVER = -1e6  # nats of a pair that must not be joined


@dataclass(frozen=True, slots=True)
class HybridSettings:
    """How much each witness counts, and when a track begins and ends."""

    birth_score: float = 0.7  # a box above this score that continues nothing is a new object
    tentative_score: float = 0.6  # above this score it may become one
    confirm_hits: int = 3  # if it is found in so many frames without a gap
    duplicate_iou: float = 0.7  # not if it overlaps a tracked box by more
    confident_score: float = 0.5  # boxes above this score are assigned first
    continue_score: float = 0.1  # boxes below this score are ignored
    least_nats: float = -4.0  # evidence below which a confident box continues nothing
    weak_nats: float = -2.0  # the same for other boxes
    # Motion.
    gate: float = 6.0  # farthest a box may be from where it is expected, standard deviations
    memory_seconds: float = 4.0  # a track unseen for longer is expected nowhere any more
    position_noise: float = 0.08  # of a detector's box, box heights
    start_speed: float = 1.0  # of the unknown speed of a new track, heights per second
    acceleration: float = 0.5  # of the change of speed within one second, heights per second
    size_weight: float = 0.5  # of the evidence of width and height; place has 1
    follow_camera: bool = True  # find from the picture how the camera moved, and cuts
    # Appearance; likeness is 1 for equal looks and 0 for those of strangers (likeness.py).
    neutral_likeness: float = 0.4  # looks that are less alike speak against a pair
    look_nats: float = 10.0  # nats per unit of likeness; 0 turns appearance off
    momentum: float = 0.2  # weight of a new look in a track's mean look, 0 to 1
    clear_iou: float = 0.3  # a box that overlaps another by more teaches no look
    # Return after a long absence, by looks alone.
    return_seconds: float = 20.0  # how long looks are remembered; 0 turns returning off
    return_likeness: float = 0.55  # least likeness with the track's mean look
    return_margin: float = 0.08  # by so much every other pair must be less alike

    def __post_init__(self) -> None:
        positive = (self.memory_seconds, self.position_noise, self.start_speed, self.acceleration)
        if min(positive) <= 0:
            raise ValueError("memory_seconds, noise, speed and acceleration must be positive")
        if not 0 <= self.momentum <= 1 or self.confirm_hits < 1:
            raise ValueError("momentum is within 0..1, confirm_hits at least 1")


class HybridTracker:
    """Gives boxes identities by where they were expected and how they look.

    Args:
        settings: thresholds, noise and weights.
    """

    def __init__(self, settings: HybridSettings) -> None:
        self.settings = settings
        self._next_id = 1
        self._time = 0.0
        self._likeness = Likeness()
        self._camera = CameraWatch()
        none = np.empty((0, 4), np.float32)
        # Tentative tracks have the id 0.
        self._tracks = BoxFilters.start(np.empty(0, np.int64), none, 0.0, settings)
        self._looks: FloatArray | None = None  # (M, D) rows of length 1; None until D is known

    def see(self, image: Image, boxes: FloatArray) -> None:
        """Look at the next frame itself, before its `update`: did the camera move?

        Args:
            image: (H, W, 3) uint8 RGB; nothing happens where it is empty.
            boxes: (N, 4) xyxy of what may move by itself.
        """
        if not self.settings.follow_camera or not image.size:
            return
        motion = self._camera.update(image, boxes)
        if motion.is_cut:
            self._tracks.lose()
        elif motion.moves():
            self._tracks.move(motion.matrix)

    def update(
        self, index: int, time: float, detections: Detections, embeddings: FloatArray
    ) -> Tracks:
        """Join the boxes of the next frame to the tracks so far.

        Args:
            index: frame index; not used, time is what motion needs.
            time: seconds, growing from call to call.
            detections: N boxes.
            embeddings: (N, D) float32, one row per box.

        Returns:
            The boxes that belong to confirmed tracks, in the order given.
        """
        del index
        settings, scores = self.settings, detections.scores
        looks = of_length_one(embeddings)
        if self._looks is None:
            self._looks = np.empty((0, looks.shape[1]), np.float32)
        self._tracks.predict(time - self._time, settings)
        self._time = time
        confident = scores > settings.confident_score
        weak = ~confident & (scores > settings.continue_score)
        self._likeness.learn(detections.boxes[confident], looks[confident], settings.clear_iou)

        matches = np.full(len(detections), -1, np.int64)
        evidence = self._evidence(detections.boxes, looks)
        self._assign(matches, evidence - settings.least_nats, confident)
        self._assign(matches, evidence - settings.weak_nats, weak)
        self._bring_back(matches, detections, looks)
        self._continue(matches, detections.boxes, looks)
        ids = self._name(matches, detections, looks)
        kept = detections[ids > 0]
        return Tracks(kept.boxes, kept.scores, kept.labels, ids[ids > 0])

    def state(self) -> State:
        """Everything a new tracker with the same settings needs to go on as this one would."""
        state: State = {"next_id": np.array(self._next_id), "time": np.array(self._time)}
        for owner, part in self._parts.items():
            state |= {f"{owner}.{name}": value for name, value in part.state().items()}
        state |= {name: getattr(self._tracks, name) for name in self._tracks.__slots__}
        if self._looks is not None:
            state["looks"] = self._looks
        return state

    def restore(self, state: State) -> None:
        """Continue from the `state()` of another tracker."""
        self._next_id, self._time = int(state["next_id"]), float(state["time"])
        for owner, part in self._parts.items():
            own = f"{owner}."
            part.restore({name.removeprefix(own): state[name] for name in state if own in name})
        self._tracks = BoxFilters(*(state[name] for name in BoxFilters.__slots__))
        self._looks = state.get("looks")

    def _evidence(self, boxes: FloatArray, looks: FloatArray) -> FloatArray:
        """(N, M) nats for each pair of box and track."""
        settings, tracks = self.settings, self._tracks
        measured = centre_size(boxes)[:, None]  # (N, 1, 4)
        height = np.maximum(measured[..., 3:4], 1)
        variance = tracks.position_variance + (settings.position_noise * height) ** 2
        squares = (measured - tracks.position) ** 2 / variance  # (N, M, 4)
        # Of the place, also how sharp the expectation is: a vague one explains any box, poorly.
        spread = np.log(2 * math.pi * variance[..., :2] / height**2)
        evidence: FloatArray = -0.5 * (squares[..., :2] + spread).sum(axis=2)
        evidence -= 0.5 * settings.size_weight * squares[..., 2:].sum(axis=2)
        likeness = self._likeness.of(looks @ self._memory.T)
        evidence += settings.look_nats * (likeness - settings.neutral_likeness)
        evidence[squares.sum(axis=2) > settings.gate**2] = _NEVER
        evidence[:, self._time - tracks.seen > settings.memory_seconds] = _NEVER
        return evidence

    @property
    def _parts(self) -> dict[str, Likeness | CameraWatch]:
        """What has a state of its own."""
        return {"likeness": self._likeness, "camera": self._camera}

    @property
    def _memory(self) -> FloatArray:
        """(M, D) mean looks of the tracks."""
        if self._looks is None:
            raise RuntimeError("no frame has been seen yet")
        return self._looks

    def _assign(self, matches: IntArray, gain: FloatArray, eligible: BoolArray) -> None:
        """Join eligible boxes to free tracks for the greatest total gain; only gains are joined."""
        rows = np.flatnonzero(eligible)
        columns = np.setdiff1d(np.arange(len(self._tracks)), matches)
        gain = np.maximum(gain[np.ix_(rows, columns)], 0)
        first, second = linear_sum_assignment(gain, maximize=True)
        joined = gain[first, second] > 0
        matches[rows[first[joined]]] = columns[second[joined]]

    def _bring_back(self, matches: IntArray, detections: Detections, looks: FloatArray) -> None:
        """Join boxes that would be new objects to lost tracks, the most alike first."""
        settings, tracks = self.settings, self._tracks
        rows = np.flatnonzero((matches < 0) & (detections.scores > settings.tentative_score))
        unseen = self._time - tracks.seen
        lost = (tracks.ids > 0) & (unseen > 0) & (unseen <= settings.return_seconds)
        columns = np.setdiff1d(np.flatnonzero(lost), matches)
        likeness = self._likeness.of(looks[rows] @ self._memory[columns].T)
        while likeness.size and likeness.max() > settings.return_likeness:
            row, column = np.unravel_index(likeness.argmax(), likeness.shape)
            rivals = np.append(
                np.delete(likeness[row], column), np.delete(likeness[:, column], row)
            )
            if likeness[row, column] - rivals.max(initial=-np.inf) > settings.return_margin:
                matches[rows[row]] = columns[column]
                tracks.start_again(columns[column], detections.boxes[rows[row]], settings)
            likeness[row] = likeness[:, column] = -np.inf

    def _continue(self, matches: IntArray, boxes: FloatArray, looks: FloatArray) -> None:
        """Correct the filters, and blend looks where nothing hides the box."""
        momentum = np.float32(self.settings.momentum)
        matched = matches >= 0
        self._tracks.correct(matches[matched], boxes[matched], self._time, self.settings)
        overlap = iou(boxes, boxes)
        np.fill_diagonal(overlap, 0)
        clear = matched & (overlap.max(axis=1, initial=0) < self.settings.clear_iou)
        rows = matches[clear]
        memory = self._memory
        memory[rows] = of_length_one((1 - momentum) * memory[rows] + momentum * looks[clear])

    def _name(self, matches: IntArray, detections: Detections, looks: FloatArray) -> IntArray:
        """(N,) the identity of each box, 0 for none; starts, confirms and forgets tracks."""
        settings, tracks, boxes = self.settings, self._tracks, detections.boxes
        matched = matches >= 0
        unnamed = np.flatnonzero((tracks.ids == 0) & (tracks.hits >= settings.confirm_hits))
        tracks.ids[unnamed] = self._new_ids(len(unnamed))
        ids = np.zeros(len(matches), np.int64)
        ids[matched] = tracks.ids[matches[matched]]

        repeated = (iou(boxes, boxes[matched]) > settings.duplicate_iou).any(axis=1)
        new = ~matched & ~repeated & (detections.scores > settings.tentative_score)
        sure = new & (detections.scores > settings.birth_score)
        ids[sure] = self._new_ids(int(sure.sum()))

        unseen = self._time - tracks.seen
        longest = max(settings.memory_seconds, settings.return_seconds)
        kept = (unseen <= longest) & ((tracks.ids > 0) | (unseen == 0))
        started = BoxFilters.start(ids[new], boxes[new], self._time, settings)
        self._tracks = tracks[kept] + started
        self._looks = np.concatenate([self._memory[kept], looks[new]])
        return ids

    def _new_ids(self, count: int) -> IntArray:
        first, self._next_id = self._next_id, self._next_id + count
        return np.arange(first, self._next_id)
