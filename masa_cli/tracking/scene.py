"""What is learned of a video as a whole: its pace, its size, its clutter, its scores, its jumps.

The same settings serve a clip at 60 frames per second and a time lapse, a street and a dish, a
detector that says 0.9 and one that says 0.3, because these say what they mean here.
"""

from __future__ import annotations

import math

import numpy as np

from masa_cli.structures import BoolArray, FloatArray, IntArray, State

LONGEST_STEP = 0.5  # seconds that a frame counts at most; rarer frames count this much each
GAP_SECONDS = 1.5  # most objects that are lost are found again within this time

_PRIOR_FRAMES = 20.0  # what is believed beforehand counts like so many frames
_MEMORY_FRAMES = 200.0  # after which the rate of clutter follows the video
_PRIOR_CLUTTER, _FEWEST, _MOST = 0.5, 0.02, 5.0  # boxes per frame that belong to no track
_SMALLEST_AREA = 10.0  # of a frame, in sizes squared: less, and positions would tell nothing

USUAL_SCORE = 0.72  # at least, of boxes that are surely objects, on the scale of settings
_LEAST_USUAL = 0.25  # of a detector; less, and every box would be one
_LEAST_OF_SUREST = 0.35  # of the usual score of the surest class; less has no class
_STRONGEST = 0.9  # usual scores, of the strongest boxes where nothing is tracked
_SCORE_PACE = 0.05  # weight of a frame

_PRIOR_JUMPS = 100.0  # matches that the prior of their share counts like
_MEMORY_JUMPS = 2000.0
_LEAST_JUMPS, _MOST_JUMPS = 0.002, 0.2


class Clock:
    """Seconds that count frames where frames are rarer than seconds."""

    def __init__(self) -> None:
        self._last, self._usual_step, self.step = math.nan, math.nan, 0.0

    def advance(self, time: float) -> float:
        """How many of these seconds went by until `time`, in seconds of the video."""
        seconds = 0.0 if math.isnan(self._last) else time - self._last
        if seconds > 0:
            first = math.isnan(self._usual_step)
            self._usual_step = seconds if first else 0.9 * self._usual_step + 0.1 * seconds
            seconds *= min(1.0, LONGEST_STEP / self._usual_step)
        self._last, self.step = time, seconds
        return seconds

    def state(self) -> State:
        """What `restore` needs."""
        return {"values": np.array([self._last, self._usual_step, self.step])}

    def restore(self, state: State) -> None:
        """Go on from a `state()`."""
        self._last, self._usual_step, self.step = map(float, state["values"])


class Scene:
    """How large the frame is, and how many boxes are of nothing that is tracked: new, or false."""

    def __init__(self) -> None:
        self.frame_size: tuple[int, int] | None = None  # width, height, pixels; None: not known
        self._reached = np.ones(2)  # by boxes, where it is not known
        self._clutter, self._num_frames = _PRIOR_CLUTTER, _PRIOR_FRAMES

    def see(self, boxes: FloatArray, frame_size: tuple[int, int] | None) -> None:
        """Take in the boxes of a frame, (N, 4) xyxy, and its width and height where known."""
        self.frame_size = frame_size or self.frame_size
        self._reached = np.maximum(self._reached, boxes[:, 2:].max(axis=0, initial=1))

    def learn(self, num_clutter: int) -> None:
        """Take in how many confident boxes of a frame went to no track."""
        self._num_frames = min(self._num_frames + 1, _MEMORY_FRAMES)
        self._clutter += (min(num_clutter, _MOST) - self._clutter) / self._num_frames

    def area(self, size: FloatArray) -> FloatArray:
        """Of the frame, in squares of (M,) sizes."""
        width, height = self.frame_size or self._reached
        area: FloatArray = np.maximum(width * height / size**2, _SMALLEST_AREA)
        return area

    def clutter_llr(self, size: FloatArray) -> float:
        """Log density of clutter: how many in one frame and the square of a usual size."""
        usual = np.full(1, np.median(size) if len(size) else 1, np.float32)
        return math.log(max(self._clutter, _FEWEST) / float(self.area(usual)[0]))

    def state(self) -> State:
        """What `restore` needs."""
        return {
            "frame_size": np.array(self.frame_size or (0, 0)),
            "reached": self._reached,
            "clutter": np.array([self._clutter, self._num_frames]),
        }

    def restore(self, state: State) -> None:
        """Go on from a `state()`."""
        width, height = map(int, state["frame_size"])
        self.frame_size = (width, height) if width else None
        self._reached = state["reached"]
        self._clutter, self._num_frames = map(float, state["clutter"])


class ScoreScale:
    """What score this video's detector gives to boxes that are surely objects, class by class.

    Some classes it is hardly ever sure of: with one threshold for all, they would never begin a
    track beside others. How far they are scaled up, the surest class of the video limits.
    """

    def __init__(self) -> None:
        self._usual = np.empty(0)  # (K,) of each class; NaN where it was not seen

    def scaled(self, scores: FloatArray, labels: IntArray) -> FloatArray:
        """(N,) scores as of a detector that gives sure boxes USUAL_SCORE, or more."""
        if not len(scores):
            return scores
        room = np.full(max(int(labels.max()) + 1 - len(self._usual), 0), math.nan)
        self._usual = np.concatenate([self._usual, room])
        for label in np.unique(labels[np.isnan(self._usual[labels])]):
            self._usual[label] = _usual_of(float(scores[labels == label].max()))
        least = _LEAST_OF_SUREST * np.nanmax(self._usual)
        factors = np.maximum(1, USUAL_SCORE / np.maximum(self._usual[labels], least))
        scaled: FloatArray = scores * factors.astype(np.float32)
        return scaled

    def learn(self, scores: FloatArray, labels: IntArray, tracked: BoolArray) -> None:
        """Take in all (N,) boxes of a frame, and which are of known tracks.

        Of a class of which nothing is tracked, the strongest boxes are what there is.
        """
        for label in np.unique(labels):
            own = labels == label
            sure = scores[own & tracked]
            now = float(np.median(sure)) if len(sure) else _usual_of(float(scores[own].max()))
            usual = self._usual[label] + _SCORE_PACE * (now - self._usual[label])
            self._usual[label] = max(usual, _LEAST_USUAL)

    def state(self) -> State:
        """What `restore` needs."""
        return {"usual": self._usual}

    def restore(self, state: State) -> None:
        """Go on from a `state()`."""
        self._usual = state["usual"]


def score_factor(highest: float) -> float:
    """What scores are multiplied by where nothing is known yet but the highest one."""
    return max(1.0, USUAL_SCORE / _usual_of(highest))


def _usual_of(highest: float) -> float:
    return max(_STRONGEST * highest, _LEAST_USUAL)


class Jumps:
    """Which share of boxes is far from where it was expected: escapes, and boxes that slip.

    Args:
        share: believed before anything is seen.
    """

    def __init__(self, share: float) -> None:
        self._sums = np.array((_PRIOR_JUMPS, _PRIOR_JUMPS * share))

    @property
    def share(self) -> float:
        """Within 0 to 1, never quite at either."""
        return float(np.clip(self._sums[1] / self._sums[0], _LEAST_JUMPS, _MOST_JUMPS))

    def learn(self, probabilities: FloatArray) -> None:
        """Take in (P,) how probably each of some sure matches was a jump."""
        self._sums *= max(0.0, 1 - len(probabilities) / _MEMORY_JUMPS)
        self._sums += (len(probabilities), float(probabilities.sum()))

    def state(self) -> State:
        """What `restore` needs."""
        return {"sums": self._sums}

    def restore(self, state: State) -> None:
        """Go on from a `state()`."""
        self._sums = state["sums"].copy()
