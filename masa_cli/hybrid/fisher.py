"""A training-free projection in which one object's looks differ little (Fisher's discriminant).

Objects that are followed show by how much their own looks vary, and in which directions: those
directions tell objects apart badly. Looks are divided by that variation before they are compared
(the idea of history-aware transformation, arXiv 2503.12562; within-class whitening).
"""

from __future__ import annotations

import numpy as np

from masa_cli.hybrid.likeness import of_length_one
from masa_cli.structures import FloatArray, State

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
