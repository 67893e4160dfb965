"""Boxes of a detector, and beside them what was pointed at, where a correlation filter finds it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from masa_cli.boxes import area
from masa_cli.detectors import Detector
from masa_cli.errors import SettingsError
from masa_cli.structures import Detections, FloatArray, Frame, Image, State
from masa_cli.tracking.correlation import Correlation
from masa_cli.tracking.follow import FollowTracker
from masa_cli.tracking.kalman import of_owner
from masa_cli.tracking.targets import Pointing


class PointedDetector:
    """Adds to each frame a box for each target, of the label that its tracker knows it by.

    In the frame in which a target is shown it is the box that was shown, or the detection that
    holds the point; later where a correlation filter finds it, with the sharpness of its peak as
    its score. The filters learn where the tracker saw the target, so frames come one by one.

    Args:
        detector: finds candidates; it is not asked before anything is followed.
        tracker: of the targets; it takes each frame's boxes before the next frame comes.
    """

    def __init__(self, detector: Detector, tracker: FollowTracker) -> None:
        self._detector, self._tracker = detector, tracker
        self._filters: dict[int, Correlation] = {}
        self._image: Image | None = None  # of the frame that is still to be learned from

    @property
    def classes(self) -> tuple[str, ...]:
        """Those of the detector, then the names of the targets."""
        return (*self._detector.classes, *(target.name for target in self._tracker.targets))

    def detect(self, frames: Sequence[Frame]) -> list[Detections]:
        """The boxes of one frame; ValueError for several."""
        if len(frames) != 1:
            raise ValueError(f"frames are looked at one by one, got {len(frames)}")
        (frame,), time = frames, float(frames[0].time)
        self._learn()
        if self._tracker.is_waiting(time):
            return [Detections.empty()]
        (found,) = self._detector.detect(frames)
        places = {
            position: (match.box, match.sharpness)
            for position, near in self._tracker.expected(time).items()
            if (match := self._filters[position].find(frame.image, near))
        }
        for position, pointing in self._tracker.reached(time).items():
            box = _shown(pointing, found, frame)
            places[position] = box, np.inf
            self._filters[position] = Correlation(frame.image, box)
        self._image = frame.image
        return [_with(found, places, len(self._detector.classes))]

    def state(self) -> State:
        """What `restore` needs, after the tracker was given the boxes of the last frame."""
        self._learn()
        return {
            f"{position}.{name}": value
            for position, each in self._filters.items()
            for name, value in each.state().items()
        }

    def restore(self, state: State) -> None:
        """Go on from a `state()`."""
        positions = {int(name.partition(".")[0]) for name in state}
        self._filters = {
            position: Correlation.restored(of_owner(state, str(position)))
            for position in sorted(positions)
        }

    def _learn(self) -> None:
        """Take in what the targets look like where the tracker saw them in the last frame."""
        if self._image is not None:
            for position, box in self._tracker.placed.items():
                self._filters[position].learn(self._image, box)
        self._image = None


def _with(
    found: Detections, places: dict[int, tuple[FloatArray, float]], num_classes: int
) -> Detections:
    """These boxes and those of the targets, by position with box and score."""
    boxes = np.array([box for box, _ in places.values()], np.float32).reshape(-1, 4)
    return Detections(
        np.concatenate([found.boxes, boxes]),
        np.append(found.scores, [score for _, score in places.values()]).astype(np.float32),
        np.append(found.labels, [num_classes + position for position in places]).astype(np.int64),
        np.append(found.masks, np.full(len(places), None)),
    )


def _shown(pointing: Pointing, found: Detections, frame: Frame) -> FloatArray:
    """(4,) the box that is pointed at.

    Raises:
        SettingsError: no detection holds the point.
    """
    if pointing.box is not None:
        return np.array(pointing.box, np.float32)
    x, y = pointing.point or (0.0, 0.0)
    boxes = found.boxes
    holds = (boxes[:, 0] <= x) & (x < boxes[:, 2]) & (boxes[:, 1] <= y) & (y < boxes[:, 3])
    if not holds.any():
        raise SettingsError(
            f"nothing was detected at {x:g},{y:g} in frame {frame.index} "
            f"({float(frame.time):g} s), where --follow points",
            fix="give a box, X1,Y1,X2,Y2@TIME, or a lower --min-score",
        )
    # Of several the one in whose middle the point is, surely detected and not too large.
    middles = (boxes[:, :2] + boxes[:, 2:]) / 2
    off = np.abs(np.array([x, y]) - middles) / np.maximum(boxes[:, 2:] - boxes[:, :2], 1)
    value = np.log(np.maximum(found.scores, 1e-3)) - 2 * off.max(axis=1)
    value -= 0.25 * np.log(np.maximum(area(boxes), 1))
    box: FloatArray = boxes[np.where(holds, value, -np.inf).argmax()]
    return box
