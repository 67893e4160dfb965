"""MASA's association with the history-aware transformation (HAT, arXiv 2503.12562).

What tells the objects of this video apart is learned, without training, from the embeddings that
its tracks remember: a linear discriminant projection, whose classes are the tracks. Boxes and
tracks are compared after it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, cholesky, qr, solve_triangular
from scipy.optimize import linear_sum_assignment

from masa_cli.structures import BoolArray, Detections, FloatArray, IntArray, State
from masa_cli.tracking.kalman import Rows, of_owner
from masa_cli.tracking.masa import PRESETS as MASA_PRESETS
from masa_cli.tracking.masa import MasaMemory, MasaSettings, MasaTracker

Array = NDArray[np.float64]

# Variances below this part of the squared mean are rounding: float32 varies by more.
_ROUNDING = 1e-20


@dataclass(frozen=True, slots=True)
class HatSettings(MasaSettings):
    """Those of MASA's trackers, and when and how embeddings are projected."""

    history_frames: int = 60  # embeddings that each track remembers, the newest
    # No projection before the tracks remember more embeddings than so many each, on average.
    min_history: float = 4.0
    projected_weight: float = 0.5  # of the similarity after projection, 0 to 1; the rest: before
    history_decay: float = 0.9  # weight in a track's mean, per newer embedding of it, 0 to 1
    standardise: bool = True  # project about the mean of what is remembered, not about 0
    optimal: bool = True  # optimal assignment; else greedy, in the order of scores

    def __post_init__(self) -> None:
        MasaSettings.__post_init__(self)  # slots make this another class than super() knows
        if self.history_frames < 1 or self.min_history < 0:
            raise ValueError("history_frames must be at least 1 and min_history at least 0")
        if not (0 <= self.projected_weight <= 1 and 0 < self.history_decay <= 1):
            raise ValueError("projected_weight is within 0..1, history_decay above 0 and at most 1")


_COSINE = HatSettings(bisoftmax_weight=0.0, cosine_weight=1.0)
_BDD = MASA_PRESETS["masa-bdd"]

PRESETS: Mapping[str, HatSettings] = MappingProxyType(
    {
        "masa-hat": replace(
            _COSINE,
            birth_score=0.0001,
            continue_score=0.0001,
            match_similarity=0.4,
            history_frames=40,
        ),
        "masa-hat-dance": replace(
            _COSINE, birth_score=0.8, continue_score=0.2, memory_frames=100, momentum=0.3
        ),
        "masa-hat-sports": replace(
            _COSINE,
            birth_score=0.5,
            continue_score=0.2,
            memory_frames=100,
            momentum=0.3,
            projected_weight=1.0,
            standardise=False,
        ),
        "masa-hat-bdd": HatSettings(
            birth_score=_BDD.birth_score,
            continue_score=_BDD.continue_score,
            match_similarity=_BDD.match_similarity,
            bisoftmax_weight=_BDD.bisoftmax_weight,
            cosine_weight=_BDD.cosine_weight,
            duplicate_score=_BDD.duplicate_score,
            confident_duplicate_iou=_BDD.confident_duplicate_iou,
            ambiguous_similarity=_BDD.ambiguous_similarity,
            distractor_frames=_BDD.distractor_frames,
            history_frames=40,
            min_history=5.0,
            projected_weight=1.0,
            standardise=False,
            optimal=False,
        ),
    }
)


@dataclass(frozen=True, slots=True, eq=False)
class History(Rows):
    """The newest embeddings of M tracks, each in a ring of Q places.

    Attributes:
        embeddings: (M, Q, D); places never written are 0.
        counts: (M,) how many were ever written, from 1; number k is at place k % Q.
    """

    embeddings: FloatArray
    counts: IntArray

    @staticmethod
    def start(embeddings: FloatArray, num_places: int) -> History:
        """Of new tracks, from their first (M, D) embeddings."""
        ring = np.zeros((len(embeddings), num_places, embeddings.shape[1]), np.float32)
        ring[:, 0] = embeddings
        return History(ring, np.ones(len(embeddings), np.int64))

    def append(self, rows: IntArray, embeddings: FloatArray) -> None:
        """One more for each of these (N,) rows, in place; each row at most once."""
        self.embeddings[rows, self.counts[rows] % self.embeddings.shape[1]] = embeddings
        self.counts[rows] += 1

    @property
    def lengths(self) -> IntArray:
        """(M,) how many of each track are there."""
        return np.minimum(self.counts, self.embeddings.shape[1])

    def ages(self) -> IntArray:
        """(M, Q) how many newer ones of its track each has; negative where there is none."""
        num_places = self.embeddings.shape[1]
        ages = (self.counts[:, None] - 1 - np.arange(num_places)) % num_places
        return np.where(np.arange(num_places) < self.lengths[:, None], ages, -1)


@dataclass(frozen=True, slots=True, eq=False)
class Projection:
    """To the subspace that tells tracks apart best, in the unit of what tracks vary by.

    Inner products after it are those after the eigenvectors of the published problem (between-class
    by within-class scatter) with the largest (tracks - 1) eigenvalues, which are all that differ
    from 0: their span is that of the differences of class means, whitened by the within-class
    scatter. So a Cholesky and a QR decomposition do, in place of an eigenproblem. Standardising all
    dimensions first, as published, changes the centre alone: shrinkage does not depend on scales,
    but where a dimension does not vary within a track.

    Attributes:
        centre: (D,) subtracted first.
        root: (D, D) lower triangular, root @ root.T is the within-class scatter.
        basis: (D, K) orthonormal columns that span the whitened differences of class means.
    """

    centre: Array
    root: Array
    basis: Array

    @staticmethod
    def fit(history: History, settings: HatSettings) -> Projection | None:
        """From what tracks remember; None if they do not vary in all directions."""
        ages = history.ages()
        present = ages >= 0  # (M, Q)
        counts = present.sum(axis=1)
        embeddings = history.embeddings.astype(np.float64)
        weights = np.where(present, settings.history_decay ** (ages + 1.0), 0)
        weights /= weights.sum(axis=1, keepdims=True)
        means = (weights[:, None] @ embeddings)[:, 0]  # (M, D)
        plain_means = embeddings.sum(axis=1) / counts[:, None]
        embeddings -= plain_means[:, None]
        embeddings[~present] = 0
        variances = np.einsum("mqd,mqd->md", embeddings, embeddings) / counts[:, None]
        variances[variances <= _ROUNDING * plain_means**2] = 0
        if settings.standardise:
            centre = np.average(plain_means, axis=0, weights=counts)
            around = variances + (plain_means - centre) ** 2
            unit = np.average(around, axis=0, weights=counts)
            unit[unit <= _ROUNDING * centre**2] = 1
        else:
            centre, unit = np.zeros(means.shape[1]), np.ones(means.shape[1])
        # A dimension that does not vary within a track keeps its scale.
        within = _within(embeddings, np.where(variances > 0, variances, unit), counts)
        try:
            root = cholesky(within, lower=True, check_finite=False)
        except LinAlgError:
            return None
        differences = (means[1:] - means[:1]).T
        whitened = solve_triangular(root, differences, lower=True, check_finite=False)
        return Projection(centre, root, _span(whitened))

    def of(self, embeddings: FloatArray) -> FloatArray:
        """(N, K) of (N, D)."""
        centred = (embeddings - self.centre).T
        whitened = solve_triangular(self.root, centred, lower=True, check_finite=False)
        projected: FloatArray = (whitened.T @ self.basis).astype(np.float32)
        return projected


class HatTracker(MasaTracker):
    """MASA's tracker, comparing projected embeddings once its tracks remember enough.

    As published, a track that is alone is projected to nothing, and similar to nothing.

    Args:
        settings: a preset or your own.
        temperature: as that of `MasaTracker`.
    """

    settings: HatSettings

    def __init__(self, settings: HatSettings, *, temperature: float = 1.0) -> None:
        super().__init__(settings, temperature=temperature)
        self._history: History | None = None  # in step with the tracks in memory

    def state(self) -> State:
        """Everything a new tracker with the same settings needs to go on as this one would."""
        own = self._history.state() if self._history is not None else {}
        return super().state() | {f"history.{name}": array for name, array in own.items()}

    def restore(self, state: State) -> None:
        """Continue from the `state()` of another tracker."""
        own = of_owner(state, "history")
        self._history = History.from_state(own) if own else None
        super().restore({name: state[name] for name in state if not name.startswith("history.")})

    def _match(
        self, index: int, detections: Detections, embeddings: FloatArray, memory: MasaMemory
    ) -> tuple[IntArray, BoolArray]:
        if not self.settings.optimal or not len(memory):
            return super()._match(index, detections, embeddings, memory)
        matches = np.full(len(detections), -1, np.int64)
        similarity = self._similarity(index, detections, embeddings, memory)
        rows, columns = linear_sum_assignment(similarity, maximize=True)
        joined = similarity[rows, columns] > self.settings.match_similarity
        joined &= detections.scores[rows] > self.settings.continue_score
        matches[rows[joined]] = columns[joined]
        return matches, np.zeros(len(detections), bool)

    def _similarity(
        self, index: int, detections: Detections, embeddings: FloatArray, memory: MasaMemory
    ) -> FloatArray:
        weight = np.float32(self.settings.projected_weight)
        projection = self._fitted() if weight else None
        if projection is None:
            return super()._similarity(index, detections, embeddings, memory)
        projected = replace(memory, embeddings=projection.of(memory.embeddings))
        after = super()._similarity(index, detections, projection.of(embeddings), projected)
        if weight == 1:
            return after
        before = super()._similarity(index, detections, embeddings, memory)
        blended: FloatArray = weight * after + (1 - weight) * before
        return blended

    def _fitted(self) -> Projection | None:
        """Of what the tracks remember now; None where that is too little."""
        history = self._history
        if history is None or not len(history):
            return None
        if history.lengths.sum() <= self.settings.min_history * len(history):
            return None
        return Projection.fit(history, self.settings)

    def _remember(
        self,
        index: int,
        seen: MasaMemory,
        matches: IntArray,
        starting: BoolArray,
        memory: MasaMemory,
    ) -> BoolArray:
        fresh = super()._remember(index, seen, matches, starting, memory)
        begun = History.start(seen.embeddings[starting], self.settings.history_frames)
        if self._history is None:
            self._history = begun
            return fresh
        matched = matches >= 0
        self._history.append(matches[matched], seen.embeddings[matched])
        if starting.any() or not fresh.all():
            self._history = self._history[fresh] + begun
        return fresh


def _within(centred: Array, squared_scales: Array, counts: IntArray) -> Array:
    """(D, D) within-class scatter: the classes' covariances, each shrunk, by their shares of rows.

    Args:
        centred: (M, Q, D), one class per row, less its mean; 0 where there is no embedding; is
            changed.
        squared_scales: (M, D) of each class, in which it is shrunk.
        counts: (M,) embeddings of each class.
    """
    dim = centred.shape[2]
    shrinkage, mean = _ledoit_wolf(centred / np.sqrt(squared_scales)[:, None], counts)
    centred *= np.sqrt(1 - shrinkage)[:, None, None]
    rows = centred.reshape(-1, dim)
    within: Array = rows.T @ rows
    within[np.diag_indices(dim)] += (shrinkage * counts * mean) @ squared_scales
    within /= counts.sum()
    return within


def _ledoit_wolf(scaled: Array, counts: IntArray) -> tuple[Array, Array]:
    """How far the covariance of each class is shrunk, and towards what multiple of the identity.

    Args:
        scaled: (M, Q, D) centred rows; rows of zeros where there are none.
        counts: (M,) how many there are.

    Returns:
        (M,) shrinkage, 0 to 1, and (M,) the mean variance of a dimension.
    """
    dim = scaled.shape[2]
    lengths = np.einsum("mqd,mqd->mq", scaled, scaled)
    mean = lengths.sum(axis=1) / (counts * dim)
    # Rows are fewer than dimensions: the products of rows have the norm of the scatter.
    norm = np.square(scaled @ scaled.transpose(0, 2, 1)).sum(axis=(1, 2)) / counts**2
    noise = (np.square(lengths).sum(axis=1) / counts - norm) / (counts * dim)
    distance = norm / dim - mean**2
    shrinkage = np.zeros(len(scaled))
    is_shrunk = (noise > 0) & (distance > 0)
    np.divide(np.minimum(noise, distance), distance, out=shrinkage, where=is_shrunk)
    return shrinkage, mean


def _span(columns: Array) -> Array:
    """(D, K) orthonormal columns that span the same; columns that add nothing are left out."""
    if not columns.any():  # one class: there is nothing to tell apart
        return columns[:, :0]
    basis, upper, _ = qr(columns, mode="economic", pivoting=True, check_finite=False)
    sizes = np.abs(np.diagonal(upper))
    rank = int((sizes > 1e-10 * sizes[0]).sum())
    spanned: Array = basis[:, :rank]
    return spanned
