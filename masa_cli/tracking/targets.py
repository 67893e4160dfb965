"""What is known of something pointed at: where, its appearance, and what else is beside it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from masa_cli.structures import BoolArray, FloatArray, IntArray, Observation, State
from masa_cli.tracking.hybrid import HybridSettings, HybridTracker
from masa_cli.tracking.kalman import of_owner

_ASSOCIATION_LLR = 5.0  # at most, of what the association of all boxes tells
# Of all boxes, to know which are others; hybrid scales the scores of weak detectors itself.
_ALL_BOXES = HybridSettings(birth_score=0.3, confident_score=0.3, continue_score=0.1)


@dataclass(frozen=True, slots=True)
class Pointing:
    """Where something was in one frame, as the user showed it.

    Attributes:
        time: of the frame, seconds.
        box: xyxy in source pixels; None: only a point of it is known.
        point: x and y in source pixels.
    """

    time: float
    box: tuple[float, float, float, float] | None = None
    point: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class Target:
    """One thing that is followed.

    Attributes:
        name: what it is called.
        pointings: when and where it was shown, by time; at least one.
    """

    name: str
    pointings: tuple[Pointing, ...]


@dataclass(slots=True, eq=False)
class Memory:
    """The appearance of a target.

    Attributes:
        shown: (A, D) views that the user pointed at; they stay.
        seen: (K, D) views since, the oldest first.
        learned: seconds, when the last of them was taken in.
    """

    shown: FloatArray
    seen: FloatArray
    learned: float

    def similarities(self, embeddings: FloatArray) -> FloatArray:
        """(N,) of each of (N, D) with the view that is most like it; 0 without embeddings."""
        views = np.concatenate([self.shown, self.seen])
        best: FloatArray = (embeddings @ views.T).max(axis=1)
        return best

    def learn(self, embedding: FloatArray, time: float, *, step: float, views: int) -> None:
        """Take a view in.

        Args:
            embedding: (D,) of length 1.
            time: seconds; sooner than `step` after the last one it is left out.
            step: seconds.
            views: that are kept at most, beside those that were shown.
        """
        if time - self.learned >= step:
            self.seen = np.concatenate([self.seen, embedding[None]])[-views:]
            self.learned = time

    def state(self) -> State:
        """What `restored` needs."""
        return {"shown": self.shown, "seen": self.seen, "learned": np.array(self.learned)}

    @staticmethod
    def restored(state: State) -> Memory:
        """The one that had that `state()`."""
        return Memory(state["shown"], state["seen"], float(state["learned"]))


class Rivals:
    """Which tracks of all that is detected were the target, and which were seen beside it.

    All boxes are associated by `hybrid`; a track, or a tracklet of it, that was elsewhere when the
    target was seen is something else.
    """

    def __init__(self, targets: int) -> None:
        self._tracker = HybridTracker(_ALL_BOXES)
        # By target: for each number in how many frames it was the target, and something else.
        self._counts: list[dict[int, NDArray[np.float64]]] = [{} for _ in range(targets)]

    def update(self, observation: Observation) -> IntArray:
        """(N, 2) for each box the numbers it is known by: of its track, and of its tracklet; 0."""
        found = self._tracker.update(observation)
        boxes = observation.detections.boxes
        numbers = np.zeros((len(boxes), 2), np.int64)
        record = found.record
        if record is None:
            return numbers
        for tracks, ids, tracklets in (
            (found.tracks, found.tracks.ids, record.tracklets),
            (record.tentative, np.zeros(len(record.tentative), np.int64), record.tentative.ids),
        ):
            same = (boxes[:, None] == tracks.boxes[None]).all(axis=2) & ~tracks.interpolated
            rows, columns = np.nonzero(same)
            numbers[rows] = np.stack([ids[columns], tracklets[columns]], axis=1)
        return numbers

    def llr(self, target: int, numbers: IntArray) -> FloatArray:
        """(N,) log-likelihood ratio of boxes for being the target, by their numbers."""
        total, counts = np.ones((len(numbers), 2)), self._counts[target]
        for row, keys in enumerate(self._keys(numbers).tolist()):
            total[row] += sum(counts[key] for key in keys if key in counts)
        told = np.log(total[:, 0] / total[:, 1])
        return np.clip(told, -_ASSOCIATION_LLR, _ASSOCIATION_LLR).astype(np.float32)

    def learn(
        self, target: int, numbers: IntArray, is_it: BoolArray, is_other: BoolArray, weight: float
    ) -> None:
        """Take in which boxes were the target, and which were elsewhere; (N,) each."""
        counts = self._counts[target]
        for column, boxes in enumerate((is_it, is_other)):
            for key in self._keys(numbers)[boxes].ravel().tolist():
                if key:
                    counts.setdefault(key, np.zeros(2))[column] += weight

    @staticmethod
    def _keys(numbers: IntArray) -> IntArray:
        """Tracks and tracklets are numbered alike: the latter are negative here."""
        keys: IntArray = numbers * np.array([1, -1])
        return keys

    def state(self) -> State:
        """What `restore` needs."""
        state = {f"tracker.{name}": value for name, value in self._tracker.state().items()}
        for target, counts in enumerate(self._counts):
            state[f"keys{target}"] = np.array([*counts], np.int64)
            state[f"counts{target}"] = np.array([*counts.values()]).reshape(-1, 2)
        return state

    def restore(self, state: State) -> None:
        """Go on from a `state()`."""
        self._tracker.restore(of_owner(state, "tracker"))
        for target, counts in enumerate(self._counts):
            keys = state[f"keys{target}"].tolist()
            counts.update(zip(keys, state[f"counts{target}"].copy(), strict=True))
