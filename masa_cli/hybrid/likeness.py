"""How alike two looks are, on a scale that the video itself gives.

The cosine of two embeddings means little by itself: in one video strangers reach 0.5, in another
0.7. But boxes of one frame are surely different objects, so their cosines tell what strangers look
like here, and everything is measured against that.
"""

from __future__ import annotations

import numpy as np

from masa_cli.structures import BoolArray, FloatArray, State

# Before anything is seen: cosines of strangers average this, believed like so many pairs.
_PRIOR_COSINE, _PRIOR_PAIRS = 0.5, 50.0
# The scale follows a change of scene after about so many pairs.
_MEMORY_PAIRS = 20_000.0
# Strangers may be nearly identical; without a floor, noise would be magnified without end.
_LEAST_DISTANCE = 0.1


class Likeness:
    """1 for looks that are equal, 0 for those that differ as strangers do on average."""

    def __init__(self) -> None:
        self._num_pairs = _PRIOR_PAIRS
        self._sum = _PRIOR_PAIRS * _PRIOR_COSINE

    def learn(self, looks: FloatArray, apart: BoolArray) -> None:
        """Take in the pairs of one frame.

        Args:
            looks: (N, D), rows of length 1, of sure detections.
            apart: (N, N) symmetric, the pairs that are surely two objects.
        """
        apart = np.triu(apart, 1)
        num_pairs = int(apart.sum())
        if not num_pairs:
            return
        total = float((looks @ looks.T)[apart].sum(dtype=np.float64))
        kept = max(0.0, 1 - num_pairs / _MEMORY_PAIRS)
        self._num_pairs = kept * self._num_pairs + num_pairs
        self._sum = kept * self._sum + total

    def of(self, cosines: FloatArray) -> FloatArray:
        """Likeness for cosines of any shape."""
        strangers = max(1 - self._sum / self._num_pairs, _LEAST_DISTANCE)
        likeness: FloatArray = (1 - (1 - cosines) / np.float32(strangers)).astype(np.float32)
        return likeness

    def state(self) -> State:
        """What `restore` needs."""
        return {"num_pairs": np.array(self._num_pairs), "sum": np.array(self._sum)}

    def restore(self, state: State) -> None:
        """Go on from a `state()`."""
        self._num_pairs, self._sum = float(state["num_pairs"]), float(state["sum"])


def of_length_one(vectors: FloatArray) -> FloatArray:
    """(N, D) rows scaled to length 1; rows of zeros stay zeros."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    scaled: FloatArray = (vectors / np.maximum(lengths, 1e-12)).astype(np.float32)
    return scaled
