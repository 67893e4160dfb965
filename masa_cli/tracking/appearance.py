"""How alike two looks are, on a scale that the video itself gives.

The cosine of two embeddings means little by itself: in one video strangers reach 0.5, in another
0.7. But boxes of one frame are surely different objects, so their cosines tell what strangers look
like here, and everything is measured against that.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from masa_cli.structures import BoolArray, FloatArray, IntArray, State
from masa_cli.tracking.kalman import Rows

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


_FIRST, _GROWTH = 50.0, 1.5  # pairs before the first projection; more of them before each further


class Fisher:
    """Learns from looks of tracks and projects looks; the identity until enough is known.

    Args:
        prior_pairs: how many pairs of equal variation in all directions are assumed at first;
            0 turns the projection off.
    """

    def __init__(self, prior_pairs: float) -> None:
        self._prior_pairs = prior_pairs
        self._num_pairs, self._due = 0.0, _FIRST
        self._scatter: FloatArray | None = None  # (D, D), summed over pairs
        self._projection: FloatArray | None = None  # (D, D)

    def learn(self, differences: FloatArray) -> bool:
        """Take in (N, D) new looks less the mean looks of their tracks.

        Returns:
            Whether the projection is another one now.
        """
        if not self._prior_pairs or not len(differences):
            return False
        scatter = differences.T @ differences
        self._scatter = scatter if self._scatter is None else self._scatter + scatter
        self._num_pairs += len(differences)
        if self._num_pairs < self._due or not np.trace(self._scatter) > 0:
            return False
        self._due = _GROWTH * self._num_pairs
        dim = len(self._scatter)
        even = np.trace(self._scatter) / dim / self._num_pairs * np.eye(dim)
        mean = (self._scatter.astype(np.float64) + self._prior_pairs * even) / (
            self._num_pairs + self._prior_pairs
        )
        variances, directions = np.linalg.eigh(mean)
        whitening = (directions / np.sqrt(variances)) @ directions.T
        self._projection = (whitening / np.sqrt((whitening**2).sum() / dim)).astype(np.float32)
        return True

    def project(self, looks: FloatArray) -> FloatArray:
        """(N, D) rows of length 1, projected, again of length 1; rows of zeros stay zeros."""
        return looks if self._projection is None else of_length_one(looks @ self._projection)

    def state(self) -> State:
        """What `restore` needs."""
        state: State = {"num_pairs": np.array(self._num_pairs), "due": np.array(self._due)}
        if self._scatter is not None:
            state["scatter"] = self._scatter
        if self._projection is not None:
            state["projection"] = self._projection
        return state

    def restore(self, state: State) -> None:
        """Go on from a `state()`."""
        self._num_pairs, self._due = float(state["num_pairs"]), float(state["due"])
        self._scatter, self._projection = state.get("scatter"), state.get("projection")


@dataclass(frozen=True, slots=True, eq=False)
class Looks(Rows):
    """One row per track."""

    mean: FloatArray  # (M, D) running mean, rows of length 1
    projected: FloatArray  # (M, D) the same, projected

    @staticmethod
    def start(looks: FloatArray, fisher: Fisher) -> Looks:
        """Of new tracks, from their first looks."""
        # Arrays of its own: they will be changed in place.
        return Looks(looks.copy(), fisher.project(looks).copy())

    def learn(self, rows: IntArray, looks: FloatArray, fisher: Fisher, momentum: float) -> None:
        """Blend the looks of these rows in, in place.

        Args:
            rows: (N,) each at most once.
            looks: (N, D) rows of length 1.
            fisher: the projection.
            momentum: weight of the new look, 0 to 1.
        """
        share = np.float32(momentum)
        self.mean[rows] = of_length_one((1 - share) * self.mean[rows] + share * looks)
        self.projected[rows] = fisher.project(self.mean[rows])

    def project_again(self, fisher: Fisher) -> None:
        """Follow a new projection, in place."""
        self.projected[:] = fisher.project(self.mean)
