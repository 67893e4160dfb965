"""What is known of how each track looks, and how similar two embeddings are in this video.

The cosine of two embeddings means little by itself: in one video impostors reach 0.5, in another
0.7. But boxes of one frame are surely different objects, so they are impostor pairs, and similarity
is measured against their mean. Tracks show by how much the embeddings of one object vary, and in
which directions: those tell objects apart badly, so embeddings are whitened by the within-class
scatter before they are compared (the idea of history-aware transformation, arXiv 2503.12562).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from masa_cli.structures import BoolArray, CameraMotion, EndedTracklets, FloatArray, IntArray, State
from masa_cli.tracking.kalman import Rows

# Before anything is seen: cosines of impostors average this, believed like so many pairs.
_PRIOR_COSINE, _PRIOR_PAIRS = 0.5, 50.0
# The scale follows a change of scene after about so many pairs.
_MEMORY_PAIRS = 20_000.0
# Impostors may be nearly identical; without a floor, noise would be magnified without end.
_MIN_DISTANCE = 0.1


class SimilarityScale:
    """Similarity: 1 for equal embeddings, 0 for those that differ as impostors do on average."""

    def __init__(self) -> None:
        self._num_pairs = _PRIOR_PAIRS
        self._sum = _PRIOR_PAIRS * _PRIOR_COSINE

    def learn(self, embeddings: FloatArray, apart: BoolArray) -> None:
        """Take in the pairs of one frame.

        Args:
            embeddings: (N, D), rows of length 1, of sure detections.
            apart: (N, N) symmetric, the pairs that are surely two objects.
        """
        apart = np.triu(apart, 1)
        num_pairs = int(apart.sum())
        if not num_pairs:
            return
        total = float((embeddings @ embeddings.T)[apart].sum(dtype=np.float64))
        kept = max(0.0, 1 - num_pairs / _MEMORY_PAIRS)
        self._num_pairs = kept * self._num_pairs + num_pairs
        self._sum = kept * self._sum + total

    def of(self, cosines: FloatArray) -> FloatArray:
        """Similarity for cosines of any shape."""
        distance = max(1 - self._sum / self._num_pairs, _MIN_DISTANCE)
        similarity: FloatArray = (1 - (1 - cosines) / np.float32(distance)).astype(np.float32)
        return similarity

    def state(self) -> State:
        """What `restore` needs."""
        return {"num_pairs": np.array(self._num_pairs), "sum": np.array(self._sum)}

    def restore(self, state: State) -> None:
        """Go on from a `state()`."""
        self._num_pairs, self._sum = float(state["num_pairs"]), float(state["sum"])


def normalised(vectors: FloatArray) -> FloatArray:
    """(N, D) rows scaled to length 1; rows of zeros stay zeros."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    scaled: FloatArray = (vectors / np.maximum(lengths, 1e-12)).astype(np.float32)
    return scaled


_FIRST, _GROWTH = 50.0, 1.5  # pairs before the first projection; more of them before each further


class Whitening:
    """Within-class whitening, learned from tracks; the identity until enough is known.

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
        """Take in (N, D) new embeddings less the mean embeddings of their tracks.

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

    def project(self, embeddings: FloatArray) -> FloatArray:
        """(N, D) rows of length 1, projected, again of length 1; rows of zeros stay zeros."""
        return embeddings if self._projection is None else normalised(embeddings @ self._projection)

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
class TrackAppearance(Rows):
    """One row per track: its running-mean embedding."""

    mean: FloatArray  # (M, D) running mean, rows of length 1
    projected: FloatArray  # (M, D) the same, projected

    @staticmethod
    def start(embeddings: FloatArray, whitening: Whitening) -> TrackAppearance:
        """Of new tracks, from their first embeddings."""
        # Arrays of its own: they will be changed in place.
        return TrackAppearance(embeddings.copy(), whitening.project(embeddings).copy())

    def learn(
        self, rows: IntArray, embeddings: FloatArray, whitening: Whitening, momentum: float
    ) -> None:
        """Blend the embeddings of these rows in, in place.

        Args:
            rows: (N,) each at most once.
            embeddings: (N, D) rows of length 1.
            whitening: the projection.
            momentum: weight of the new embedding, 0 to 1.
        """
        share = np.float32(momentum)
        self.mean[rows] = normalised((1 - share) * self.mean[rows] + share * embeddings)
        self.projected[rows] = whitening.project(self.mean[rows])

    def project_again(self, whitening: Whitening) -> None:
        """Follow a new projection, in place."""
        self.projected[:] = whitening.project(self.mean)


@dataclass(frozen=True, slots=True, eq=False)
class OpenTracklets(Rows):
    """One row per track: the tracklet it is in.

    A tracklet ends where its track was lost or occluded: within it the identity is sure; between
    the tracklets of one track, offline refinement may decide otherwise than the tracker did.
    """

    numbers: IntArray  # (M,) from 1
    occluded: BoolArray  # (M,) whether another box occluded it when it was last seen
    centres: NDArray[np.float64]  # (M, 2) where it was then, pixels; NaN after a cut
    sums: FloatArray  # (M, D) of the embeddings of its unoccluded boxes

    def lose(self) -> None:
        """Forget where all were, in place: the image shows another scene now."""
        self.centres[:] = np.nan

    def move(self, camera: CameraMotion) -> None:
        """Compensate for the camera's motion, in place."""
        self.centres[:] = self.centres @ camera.linear.T + camera.shift

    def update(self, rows: IntArray, centres: FloatArray, occluded: BoolArray) -> None:
        """Take in where tracks are now, in place.

        Args:
            rows: (N,) of the tracks.
            centres: (N, 2) of their boxes.
            occluded: (N,) whether another box occludes them.
        """
        self.occluded[rows] = occluded
        self.centres[rows] = centres

    def ended(self, rows: IntArray | BoolArray) -> EndedTracklets:
        """The tracklets of these rows."""
        return EndedTracklets(self.numbers[rows], normalised(self.sums[rows]))

    def begin(self, rows: IntArray, numbers: IntArray) -> None:
        """Begin new tracklets, in place."""
        self.numbers[rows] = numbers
        self.sums[rows] = 0
