"""Tracking by motion alone, for when there are no images.

A Kalman filter predicts every box, IoU with the prediction is the similarity, and an optimal
assignment (scipy's) joins them: confident boxes first, weak boxes to what is left.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from masa_cli.boxes import iou
from masa_cli.structures import EndedTracklets, FrameTracks, Observation, State
from masa_cli.tracking.kalman import BoxFilters, corners


@dataclass(frozen=True, slots=True)
class MotionSettings:
    """When a box continues a predicted one, and how surprising motion may be."""

    birth_score: float = 0.6  # a box above this score that continues nothing starts a track
    confident_score: float = 0.5  # boxes above this score are assigned first
    continue_score: float = 0.1  # boxes below this score are ignored
    confident_iou: float = 0.2  # smallest IoU with the prediction, for confident boxes
    weak_iou: float = 0.5  # smallest IoU with the prediction, for weak boxes
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


class MotionTracker:
    """Gives boxes identities by where they were expected; appearance does not count.

    Args:
        settings: thresholds and noise.
    """

    def __init__(self, settings: MotionSettings) -> None:
        self.settings = settings
        self._next_id = 1
        self._time = 0.0
        none = np.empty((0, 4), np.float32)
        self._tracks = BoxFilters.start(np.empty(0, np.int64), none, 0.0, settings)

    uses_camera_motion = False  # boxes are expected where the image, not the world, has them

    def update(self, observation: Observation) -> FrameTracks:
        """Join the boxes of the next frame to the tracks so far.

        Returns:
            The boxes that continue or start a track, in the order given.
        """
        detections, time = observation.detections, observation.time
        settings, tracks = self.settings, self._tracks
        tracks.predict(time - self._time, settings)
        self._time = time
        scores = detections.scores
        matches = np.full(len(detections), -1, np.int64)
        confident = np.flatnonzero(scores > settings.confident_score)
        weak = np.flatnonzero(
            (scores <= settings.confident_score) & (scores > settings.continue_score)
        )
        expected = corners(tracks.position)
        free = np.arange(len(tracks))
        for rows, min_iou in ((confident, settings.confident_iou), (weak, settings.weak_iou)):
            similarity = iou(detections.boxes[rows], expected[free])
            boxes, columns = linear_sum_assignment(similarity, maximize=True)
            good = similarity[boxes, columns] >= min_iou
            matches[rows[boxes[good]]] = free[columns[good]]
            free = np.delete(free, columns[good])

        matched = matches >= 0
        tracks.correct(matches[matched], detections.boxes[matched], time, settings)
        starting = ~matched & (scores > settings.birth_score)
        ids = np.zeros(len(detections), np.int64)
        ids[matched] = tracks.ids[matches[matched]]
        ids[starting] = np.arange(self._next_id, self._next_id + int(starting.sum()))
        self._next_id += int(starting.sum())
        self._forget(time)
        self._tracks += BoxFilters.start(ids[starting], detections.boxes[starting], time, settings)
        return FrameTracks(observation.index, time, detections[ids > 0].named(ids[ids > 0]))

    def finish(self) -> EndedTracklets:
        """Nothing: identities are final as they are."""
        return EndedTracklets.none()

    def state(self) -> State:
        """Everything a new tracker with the same settings needs to go on as this one would."""
        return {
            "next_id": np.array(self._next_id),
            "time": np.array(self._time),
            **self._tracks.state(),
        }

    def restore(self, state: State) -> None:
        """Continue from the `state()` of another tracker."""
        self._next_id, self._time = int(state["next_id"]), float(state["time"])
        self._tracks = BoxFilters.from_state(state)

    def _forget(self, time: float) -> None:
        """Drop tracks unseen for too long, and those seen once that did not come back."""
        tracks = self._tracks
        unseen = time - tracks.seen
        once = (tracks.hits == 1) & (unseen > 0)
        self._tracks = tracks[(unseen <= self.settings.memory_seconds) & ~once]
