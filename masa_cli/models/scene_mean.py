"""The running mean that embeddings are centred by.

What all cells of a picture have in common says nothing about who is who, but makes every two
embeddings alike. The mean is taken over whole pictures, not over boxes: over the boxes of a video
with one object it becomes that object, and centring then leaves nothing of it but noise; in crowds
it did no better (tests/benchmarks/embedding_choice.py). For the same reason no made-up first value
is needed: a box, even alone, is not the picture.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from masa_cli.structures import State

# Frames count alike until there are so many; then the oldest fade. A frame moves the mean by 1/n at
# most, so embeddings a tracker remembers from a second ago are still centred alike; yet a change of
# light is followed within a minute.
MAX_FRAMES = 1000


class SceneMean:
    """Mean over frames of a vector, one frame after the other.

    In float64: steps of a thousandth of a small difference would be lost in float32.
    """

    def __init__(self, dim: int) -> None:
        self._mean: NDArray[np.float64] = np.zeros(dim)
        self._num_frames = 0

    def after(self, frame: NDArray[np.float32]) -> NDArray[np.float64]:
        """Take in one frame's (dim,) vector; the mean including it."""
        self._num_frames = min(self._num_frames + 1, MAX_FRAMES)
        self._mean = self._mean + (frame - self._mean) / self._num_frames
        return self._mean

    def state(self) -> State:
        """What `restore` needs."""
        return {"mean": self._mean, "num_frames": np.array(self._num_frames)}

    def restore(self, state: State) -> None:
        """Go on from a `state()`."""
        self._mean = np.array(state["mean"], np.float64)
        self._num_frames = int(state["num_frames"])
