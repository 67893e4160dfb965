"""Tracking by motion alone, for when there are no pictures to look at.

A constant-velocity Kalman filter predicts every box, IoU with the prediction is the similarity, and
an optimal assignment (scipy's) joins them: confident boxes first, weak boxes to what is left.
Time is in seconds and lengths in box heights, so frame rates and sizes need no retuning.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from masa_cli.boxes import iou
from masa_cli.structures import BoolArray, Detections, FloatArray, IntArray, State, Tracks


@dataclass(frozen=True, slots=True)
class MotionSettings:
    """When a box continues a predicted one, and how surprising motion may be."""

    birth_score: float = 0.6  # a box above this score that continues nothing starts a track
    confident_score: float = 0.5  # boxes above this score are assigned first
    continue_score: float = 0.1  # boxes below this score are ignored
    confident_iou: float = 0.2  # least IoU with the prediction, for confident boxes
    weak_iou: float = 0.5  # least IoU with the prediction, for weak boxes
    memory_seconds: float = 2.0  # a track unseen for longer is forgotten
    # Standard deviations, in box heights (and seconds). A pedestrian is 1.7 m tall, walks at
    # 1.4 m/s and changes speed by some 0.4 m/s within a second.
    position_noise: float = 0.08  # of a detector's box
    start_speed: float = 1.0  # of the unknown speed of a new track, heights per second
    acceleration: float = 0.25  # of the change of speed within one second

    def __post_init__(self) -> None:
        positive = (self.memory_seconds, self.position_noise, self.start_speed, self.acceleration)
        if min(positive) <= 0:
            raise ValueError("memory_seconds, noise, speed and acceleration must be positive")


@dataclass(frozen=True, slots=True, eq=False)
class _Filters:
    """One Kalman filter per track and coordinate (centre x, centre y, width, height).

    The coordinates are independent, so a covariance is three numbers and no matrix is inverted.
    """

    ids: IntArray  # (M,) from 1
    position: FloatArray  # (M, 4) cx, cy, w, h in pixels
    velocity: FloatArray  # (M, 4) pixels per second
    position_variance: FloatArray  # (M, 4)
    covariance: FloatArray  # (M, 4) of position and velocity
    velocity_variance: FloatArray  # (M, 4)
    seen: FloatArray  # (M,) seconds, when last seen
    hits: IntArray  # (M,) how often seen

    @staticmethod
    def start(ids: IntArray, boxes: FloatArray, time: float, settings: MotionSettings) -> _Filters:
        """New filters at rest on `boxes`."""
        position = _centre_size(boxes)
        height = position[:, 3:4]
        return _Filters(
            ids=ids,
            position=position,
            velocity=np.zeros_like(position),
            position_variance=np.tile((settings.position_noise * height) ** 2, (1, 4)),
            covariance=np.zeros_like(position),
            velocity_variance=np.tile((settings.start_speed * height) ** 2, (1, 4)),
            seen=np.full(len(ids), time, np.float32),
            hits=np.ones(len(ids), np.int64),
        )

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, rows: IntArray | BoolArray) -> _Filters:
        return _Filters(*(getattr(self, name)[rows] for name in self.__slots__))

    def __add__(self, other: _Filters) -> _Filters:
        pairs = ((getattr(self, name), getattr(other, name)) for name in self.__slots__)
        return _Filters(*(np.concatenate(pair) for pair in pairs))

    def predict(self, seconds: float, settings: MotionSettings) -> None:
        """Move all filters forward in time, in place (white-noise acceleration)."""
        height = np.maximum(self.position[:, 3:4], 1)
        noise = (settings.acceleration * height) ** 2
        self.position[:] += seconds * self.velocity
        self.position[:, 2:] = np.maximum(self.position[:, 2:], 1)  # a size stays positive
        self.position_variance[:] += (
            2 * seconds * self.covariance
            + seconds**2 * self.velocity_variance
            + noise * seconds**3 / 3
        )
        self.covariance[:] += seconds * self.velocity_variance + noise * seconds**2 / 2
        self.velocity_variance[:] += noise * seconds

    def correct(
        self, rows: IntArray, boxes: FloatArray, time: float, settings: MotionSettings
    ) -> None:
        """Take the boxes into the filters of these rows, in place."""
        measured = _centre_size(boxes)
        total = self.position_variance[rows] + (settings.position_noise * measured[:, 3:4]) ** 2
        position_gain = self.position_variance[rows] / total
        velocity_gain = self.covariance[rows] / total
        surprise = measured - self.position[rows]
        self.position[rows] += position_gain * surprise
        self.velocity[rows] += velocity_gain * surprise
        self.velocity_variance[rows] -= velocity_gain * self.covariance[rows]
        self.covariance[rows] *= 1 - position_gain
        self.position_variance[rows] *= 1 - position_gain
        self.seen[rows] = time
        self.hits[rows] += 1


class MotionTracker:
    """Gives boxes identities by where they were expected; it never looks at a picture.

    Args:
        settings: thresholds and noise.
    """

    def __init__(self, settings: MotionSettings) -> None:
        self.settings = settings
        self._next_id = 1
        self._time = 0.0
        none = np.empty((0, 4), np.float32)
        self._tracks = _Filters.start(np.empty(0, np.int64), none, 0.0, settings)

    def update(
        self, index: int, time: float, detections: Detections, embeddings: FloatArray | None = None
    ) -> Tracks:
        """Join the boxes of the next frame to the tracks so far.

        Args:
            index: frame index; not used, time is what motion needs.
            time: seconds, growing from call to call.
            detections: N boxes.
            embeddings: not used.

        Returns:
            The boxes that continue or start a track, in the order given.
        """
        del index, embeddings
        settings, tracks = self.settings, self._tracks
        tracks.predict(time - self._time, settings)
        self._time = time
        scores = detections.scores
        matches = np.full(len(detections), -1, np.int64)
        confident = np.flatnonzero(scores > settings.confident_score)
        weak = np.flatnonzero(
            (scores <= settings.confident_score) & (scores > settings.continue_score)
        )
        expected = _corners(tracks.position)
        free = np.arange(len(tracks))
        for rows, least in ((confident, settings.confident_iou), (weak, settings.weak_iou)):
            similarity = iou(detections.boxes[rows], expected[free])
            boxes, columns = linear_sum_assignment(similarity, maximize=True)
            good = similarity[boxes, columns] >= least
            matches[rows[boxes[good]]] = free[columns[good]]
            free = np.delete(free, columns[good])

        matched = matches >= 0
        tracks.correct(matches[matched], detections.boxes[matched], time, settings)
        born = ~matched & (scores > settings.birth_score)
        ids = np.zeros(len(detections), np.int64)
        ids[matched] = tracks.ids[matches[matched]]
        ids[born] = np.arange(self._next_id, self._next_id + int(born.sum()))
        self._next_id += int(born.sum())
        self._forget(time)
        self._tracks += _Filters.start(ids[born], detections.boxes[born], time, settings)
        kept = detections[ids > 0]
        return Tracks(kept.boxes, kept.scores, kept.labels, ids[ids > 0])

    def state(self) -> State:
        """Everything a new tracker with the same settings needs to go on as this one would."""
        return {
            "next_id": np.array(self._next_id),
            "time": np.array(self._time),
            **{name: getattr(self._tracks, name) for name in self._tracks.__slots__},
        }

    def restore(self, state: State) -> None:
        """Continue from the `state()` of another tracker."""
        self._next_id, self._time = int(state["next_id"]), float(state["time"])
        self._tracks = _Filters(*(state[name] for name in _Filters.__slots__))

    def _forget(self, time: float) -> None:
        """Drop tracks unseen for too long, and those seen once that did not come back."""
        tracks = self._tracks
        unseen = time - tracks.seen
        once = (tracks.hits == 1) & (unseen > 0)
        self._tracks = tracks[(unseen <= self.settings.memory_seconds) & ~once]


def _centre_size(boxes: FloatArray) -> FloatArray:
    """(N, 4) xyxy to (N, 4) centre x, centre y, width, height."""
    size = boxes[:, 2:] - boxes[:, :2]
    return np.concatenate([boxes[:, :2] + size / 2, size], axis=1, dtype=np.float32)


def _corners(position: FloatArray) -> FloatArray:
    """(N, 4) centre x, centre y, width, height to (N, 4) xyxy."""
    half = position[:, 2:] / 2
    return np.concatenate(
        [position[:, :2] - half, position[:, :2] + half], axis=1, dtype=np.float32
    )
