"""IDF1, HOTA and MOTA of any weighting of chunks of time, so that their uncertainty can be told.

What each score is made of is counted chunk by chunk; scores of resampled chunks, as a bootstrap
needs them, are then quick. Of all chunks once they are TrackEval's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.optimize import linear_sum_assignment

from masa_cli.evaluation.metrics import EPSILON, Array, Data, FrameMatcher
from masa_cli.structures import IntArray

CHUNK_FRAMES = 100
_IOU = 0.5  # of boxes that may be the same object, for IDF1 and MOTA
_ALPHAS = np.arange(1, 20) / 20  # of HOTA
_RESAMPLES, _PERCENT = 1000, 95.0

Weights: TypeAlias = NDArray[np.float64]


class ChunkedScore(Protocol):
    """One metric of one sequence."""

    def of(self, weights: Weights) -> float:
        """The score, each chunk counted so many times; 0 where there is nothing to divide by.

        Args:
            weights: (C,) at least 0, of the chunks in order.
        """
        ...


class Idf1:
    """The identity score.

    Args:
        data: of the sequence, as TrackEval's metrics want it.
        chunks: (F,) the chunk that each frame of `data` is in.
        num_chunks: how many chunks there are.
    """

    def __init__(self, data: Data, chunks: IntArray, num_chunks: int) -> None:
        self._num_boxes = _per_chunk(data, chunks, num_chunks).sum(axis=1)
        found = [np.nonzero(each >= _IOU) for each in data["similarity_scores"]]
        pairs, columns, where = _pairs(data, found, chunks)
        self._rows, self._columns = np.unique(pairs[0]), np.unique(pairs[1])
        self._places = (
            np.searchsorted(self._rows, pairs[0]),
            np.searchsorted(self._columns, pairs[1]),
        )
        self._together = _counted(where, columns, (num_chunks, len(pairs[0])))

    def of(self, weights: Weights) -> float:
        """The score, each chunk counted so many times."""
        together = np.zeros((len(self._rows), len(self._columns)))
        together[self._places] = weights @ self._together
        identified = together[linear_sum_assignment(together, maximize=True)].sum()
        return _share(2 * identified, weights @ self._num_boxes)


class Mota:
    """1 less misses, false boxes and switches per true box.

    Args:
        data: of the sequence, as TrackEval's metrics want it.
        chunks: (F,) the chunk that each frame of `data` is in.
        num_chunks: how many chunks there are.
    """

    def __init__(self, data: Data, chunks: IntArray, num_chunks: int) -> None:
        counts = _per_chunk(data, chunks, num_chunks)
        self._num_true, errors = counts[:, 0], counts.sum(axis=1)
        frames = FrameMatcher()
        before = 0
        rows = zip(data["gt_ids"], data["tracker_ids"], data["similarity_scores"], strict=True)
        for chunk, (true_ids, ids, similarity) in zip(chunks, rows, strict=True):
            frames.match(true_ids, ids, np.where(similarity >= _IOU - EPSILON, similarity, 0))
            now = frames.num_switches - 2 * frames.num_found
            errors[chunk] += now - before
            before = now
        self._errors = errors

    def of(self, weights: Weights) -> float:
        """The score, each chunk counted so many times."""
        num_true = float(weights @ self._num_true)
        return _share(num_true - float(weights @ self._errors), num_true)


class Hota:
    """Higher-order tracking accuracy (Luiten et al., 2021), the mean over alphas.

    Boxes are matched as for the whole sequence, whatever the weights.

    Args:
        data: of the sequence, as TrackEval's metrics want it.
        chunks: (F,) the chunk that each frame of `data` is in.
        num_chunks: how many chunks there are.
    """

    def __init__(self, data: Data, chunks: IntArray, num_chunks: int) -> None:
        self._counts = _per_chunk(data, chunks, num_chunks)
        self._of_ids = [
            _counted(np.repeat(chunks, [len(ids) for ids in frames]), _joined(frames), shape)
            for frames, shape in (
                (data["gt_ids"], (num_chunks, data["num_gt_ids"])),
                (data["tracker_ids"], (num_chunks, data["num_tracker_ids"])),
            )
        ]
        alignment = _alignment(data)
        matched, similarities = [], [np.empty(0)]
        rows = zip(data["gt_ids"], data["tracker_ids"], data["similarity_scores"], strict=True)
        for true_ids, ids, similarity in rows:
            value = alignment[np.ix_(true_ids, ids)] * similarity
            pair = linear_sum_assignment(value, maximize=True)
            matched.append(pair)
            similarities.append(similarity[pair])
        self._pairs, columns, where = _pairs(data, matched, chunks)
        similar = np.concatenate(similarities)
        # (C, pairs) for each alpha.
        shape = (num_chunks, len(self._pairs[0]))
        self._matches = [
            _counted(where[good], columns[good], shape)
            for good in (similar >= alpha - EPSILON for alpha in _ALPHAS)
        ]

    def of(self, weights: Weights) -> float:
        """The score, each chunk counted so many times."""
        of_true, of_given = (weights @ counts for counts in self._of_ids)
        alone = of_true[self._pairs[0]] + of_given[self._pairs[1]]
        num_boxes = (weights @ self._counts).sum()
        scores = []
        for counts in self._matches:
            together = weights @ counts
            num_found = together.sum()
            union = np.maximum(alone - together, 1)
            association = _share((together**2 / union).sum(), num_found)
            scores.append(np.sqrt(association * _share(num_found, num_boxes - num_found)))
        return float(np.mean(scores))


METRICS: Mapping[str, Callable[[Data, IntArray, int], ChunkedScore]] = MappingProxyType(
    {"idf1": Idf1, "hota": Hota, "mota": Mota}
)


@dataclass(frozen=True, slots=True)
class Part:
    """Some chunks of a sequence, under two settings.

    Attributes:
        before: the scores under the first.
        after: the scores under the second.
        chunks: (N,) which of the sequence's chunks.
        num_chunks: of the sequence.
    """

    before: ChunkedScore
    after: ChunkedScore
    chunks: IntArray
    num_chunks: int


@dataclass(frozen=True, slots=True)
class Gain:
    """By how much the second settings are better, in the mean of all parts.

    Attributes:
        mean: of the differences.
        low: lower end of the 95 % interval of resampled chunks.
        high: its upper end.
        num_chunks: that were resampled.
    """

    mean: float
    low: float
    high: float
    num_chunks: int


def gain_of(parts: Sequence[Part], seed: int = 0) -> Gain:
    """The gain, with a bootstrap over the chunks of all parts.

    As many chunks as there are get drawn with replacement, the same ones under both settings; parts
    of which none is drawn do not count in that draw.

    Args:
        parts: at least one.
        seed: of the draws.
    """
    generator = np.random.default_rng(seed)
    ends = np.cumsum([len(part.chunks) for part in parts])
    num_chunks = int(ends[-1])

    def difference(drawn: Weights) -> float:
        gains = []
        for part, own in zip(parts, np.split(drawn, ends[:-1]), strict=True):
            if own.any():
                weights = np.zeros(part.num_chunks)
                weights[part.chunks] = own
                gains.append(part.after.of(weights) - part.before.of(weights))
        return float(np.mean(gains))

    shares = np.full(num_chunks, 1 / num_chunks)
    draws = generator.multinomial(num_chunks, shares, _RESAMPLES).astype(np.float64)
    tails = (50 - _PERCENT / 2, 50 + _PERCENT / 2)
    low, high = np.percentile([difference(drawn) for drawn in draws], tails)
    return Gain(difference(np.ones(num_chunks)), float(low), float(high), num_chunks)


def _per_chunk(data: Data, chunks: IntArray, num_chunks: int) -> Array:
    """(C, 2) boxes of the truth and of the results."""
    counts = np.zeros((num_chunks, 2))
    for side, frames in enumerate((data["gt_ids"], data["tracker_ids"])):
        np.add.at(counts[:, side], chunks, [len(ids) for ids in frames])
    return counts


def _pairs(
    data: Data, found: Sequence[Sequence[NDArray[Any]]], chunks: IntArray
) -> tuple[tuple[IntArray, IntArray], IntArray, IntArray]:
    """Which ids are together.

    Args:
        data: of the sequence.
        found: for each frame the rows and columns that are together.
        chunks: (F,) of the frames.

    Returns:
        The (P,) true and (P,) given ids of all pairs; for each time that one is found, (K,) which
        pair it is and (K,) in which chunk.
    """
    width = max(data["num_tracker_ids"], 1)
    keys = [
        true_ids[rows] * width + ids[columns]
        for true_ids, ids, (rows, columns) in zip(
            data["gt_ids"], data["tracker_ids"], found, strict=True
        )
    ]
    unique, which = np.unique(_joined(keys), return_inverse=True)
    return (unique // width, unique % width), which, np.repeat(chunks, [len(key) for key in keys])


def _joined(frames: Sequence[IntArray]) -> IntArray:
    return np.concatenate([np.empty(0, np.int64), *frames]).astype(np.int64)


def _counted(rows: IntArray, columns: IntArray, shape: tuple[int, int]) -> sparse.csr_array:
    """How often each place is named."""
    return sparse.csr_array((np.ones(len(rows)), (rows, columns)), shape=shape)


def _alignment(data: Data) -> Array:
    """(G, N) how well a true id and a given one fit together over the whole sequence, 0 to 1."""
    shape = data["num_gt_ids"], data["num_tracker_ids"]
    together, alone = np.zeros(shape), np.zeros(shape)
    rows = zip(data["gt_ids"], data["tracker_ids"], data["similarity_scores"], strict=True)
    for true_ids, ids, similarity in rows:
        union = similarity.sum(axis=0) + similarity.sum(axis=1, keepdims=True) - similarity
        share = np.divide(similarity, union, out=np.zeros_like(union), where=union > EPSILON)
        together[np.ix_(true_ids, ids)] += share
        alone[true_ids] += 1
        alone[:, ids] += 1
    return together / np.maximum(alone - together, EPSILON)


def _share(part: float, whole: float) -> float:
    return float(part / whole) if whole else 0.0
