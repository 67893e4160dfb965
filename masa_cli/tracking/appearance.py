"""What is known of the appearance of each track, and how similar two embeddings are in this video.

The cosine of two embeddings means little by itself: in one video impostors reach 0.5, in another
0.7. But boxes of one frame are surely different objects, so they are impostor pairs, and similarity
is measured against their mean. Tracks show by how much the embeddings of one object vary, and in
which directions: those tell objects apart badly, so embeddings are whitened by the within-class
scatter before they are compared (the idea of history-aware transformation, arXiv 2503.12562).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from masa_cli.structures import BoolArray, EndedTracklets, FloatArray, IntArray, State
from masa_cli.tracking.kalman import Rows

# Before anything is seen, similarities of impostors have this mean, believed like so many pairs;
# those of one object lie half-way between it and 1, as widely spread as the gap allows.
_PRIOR_IMPOSTOR, _PRIOR_PAIRS = 0.5, 20.0
_PRIOR_SPREAD = 0.25  # of both, in gaps between the mean of impostors and 1
_MEMORY_PAIRS = 2_000.0  # the densities follow a change of scene after about so many pairs
# Shares of pairs that look like the other kind: of one object (hidden, turned), of impostors
# (twins). Where embeddings of several frames are compared, twins are rarer.
OUTLIERS, MEAN_OUTLIERS = (0.0003, 0.03), (0.0003, 0.003)
_SMALLEST_SPREAD = 0.01
_LATER_SECONDS = 1.0  # after which a track is compared with what it looked like then


class _Normal:
    """Mean and variance of what was seen lately."""

    def __init__(self, memory: float) -> None:
        self._memory = memory
        self.sums = np.zeros(3)  # number, sum, sum of squares

    def learn(self, values: FloatArray) -> None:
        if len(values):
            exact = values.astype(np.float64)
            self.sums *= max(0.0, 1 - len(values) / self._memory)
            self.sums += (len(exact), exact.sum(), (exact**2).sum())

    def shrink(self, number: float) -> None:
        """Believe what was seen no more than so many values."""
        self.sums *= min(1.0, number / max(self.sums[0], 1e-9))

    def fitted(self, mean: float, spread: float) -> tuple[float, float]:
        """Mean and standard deviation, with a prior like _PRIOR_PAIRS values."""
        prior = _PRIOR_PAIRS * np.array((1.0, mean, mean**2 + spread**2))
        number, total, squares = self.sums + prior
        centre = total / number
        return float(centre), float(np.sqrt(max(squares / number - centre**2, _SMALLEST_SPREAD**2)))


class SimilarityDensities:
    """How similar embeddings of one object, and those of impostors, are in this video.

    All are normal laws with some outliers; the ratio is what a similarity says. Of one object there
    are two: from one frame to the next, and after a while, when it may have turned.
    """

    def __init__(self) -> None:
        self._impostors = _Normal(10 * _MEMORY_PAIRS)  # there are more of them
        self._own, self._later = _Normal(_MEMORY_PAIRS), _Normal(_MEMORY_PAIRS)

    def learn_impostors(self, similarities: FloatArray) -> None:
        """Take in (P,) similarities of boxes with tracks that are surely other objects."""
        self._impostors.learn(similarities)

    def learn_own(self, similarities: FloatArray, *, later: bool = False) -> None:
        """Take in (P,) similarities of boxes with the tracks they surely belong to.

        Args:
            similarities: with what the tracks look like, or looked like a while ago.
            later: it was a while ago.
        """
        (self._later if later else self._own).learn(similarities)

    def forget(self) -> None:
        """Embeddings are projected otherwise from now on."""
        for known in (self._impostors, self._own, self._later):
            known.shrink(_PRIOR_PAIRS)

    def llr(
        self,
        similarities: FloatArray,
        *,
        later: bool = False,
        outliers: tuple[float, float] = OUTLIERS,
    ) -> FloatArray:
        """Log-likelihood ratio, one object to impostors, for similarities of any shape.

        Args:
            similarities: cosines.
            later: the object may have turned since.
            outliers: shares of pairs that look like the other kind: own, impostors.
        """
        impostor, impostor_spread = self._impostors.fitted(
            _PRIOR_IMPOSTOR, _PRIOR_SPREAD * (1 - _PRIOR_IMPOSTOR)
        )
        gap = max(1 - impostor, _SMALLEST_SPREAD)
        density = self._later if later else self._own
        own, own_spread = density.fitted(1 - gap / 2, _PRIOR_SPREAD * gap)
        # More similar than usual is no evidence against, less similar than impostors none for.
        value = np.clip(similarities, impostor, max(own, impostor)).astype(np.float32)
        of_own = np.exp(-0.5 * ((value - own) / own_spread) ** 2) / own_spread
        of_impostors = np.exp(-0.5 * ((value - impostor) / impostor_spread) ** 2) / impostor_spread
        turned, twins = outliers
        ratio = ((1 - turned) * of_own + turned * of_impostors) / (
            (1 - twins) * of_impostors + twins * of_own
        )
        llr: FloatArray = np.log(ratio).astype(np.float32)
        return llr

    def state(self) -> State:
        """What `restore` needs."""
        return {
            "impostors": self._impostors.sums,
            "own": self._own.sums,
            "later": self._later.sums,
        }

    def restore(self, state: State) -> None:
        """Go on from a `state()`."""
        self._impostors.sums = state["impostors"].copy()
        self._own.sums, self._later.sums = state["own"].copy(), state["later"].copy()


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
    earlier: FloatArray  # (M, D) an embedding of some time ago, of length 1
    earlier_time: FloatArray  # (M,) seconds, of that

    @staticmethod
    def start(embeddings: FloatArray, whitening: Whitening, time: float) -> TrackAppearance:
        """Of new tracks, from their first embeddings."""
        # Arrays of its own: they will be changed in place.
        return TrackAppearance(
            embeddings.copy(),
            whitening.project(embeddings).copy(),
            embeddings.copy(),
            np.full(len(embeddings), time, np.float32),
        )

    def compared(
        self, rows: IntArray, embeddings: FloatArray, whitening: Whitening, time: float
    ) -> FloatArray:
        """(P,) similarities of these boxes with what the same tracks looked like a while ago.

        Of those alone that were not compared for so long; in place.
        """
        due = time - self.earlier_time[rows] >= _LATER_SECONDS
        rows, embeddings = rows[due], embeddings[due]
        then, now = whitening.project(self.earlier[rows]), whitening.project(embeddings)
        self.earlier[rows], self.earlier_time[rows] = embeddings, time
        similarities: FloatArray = (then * now).sum(axis=1)
        return similarities

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
    labels: IntArray  # (M,) class of its first box
    sums: FloatArray  # (M, D) of the embeddings of its unoccluded boxes

    def ended(self, rows: IntArray | BoolArray) -> EndedTracklets:
        """The tracklets of these rows."""
        return EndedTracklets(self.numbers[rows], normalised(self.sums[rows]))

    def begin(self, rows: IntArray, numbers: IntArray) -> None:
        """Begin new tracklets, in place."""
        self.numbers[rows] = numbers
        self.sums[rows] = 0
