"""Open-set re-identification: which tracks of one or several videos are the same object.

What is compared are templates, a few embeddings for each track. How similar two of them are means
something else in each video, so all is measured against impostors: templates that were seen at the
same time in one place are surely different objects. Embeddings are whitened by what changes
while an object stays the same, centred in each video, and similarities are normalised by those of
impostors on both sides (symmetric score normalisation). What impostors still reach gives each match
a false-match rate: how often an object that is not in the gallery would be taken for one that is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from masa_cli.structures import BoolArray, FloatArray, IntArray
from masa_cli.tracking import DEFAULT_FALSE_MATCHES
from masa_cli.tracking.appearance import normalised

MAX_VIEWS = 4  # of a template: the mean, and the views that differ most
_MIN_SHARE = 0.15  # of the boxes, that make up a view
_MOST_ALIKE = np.float32(0.99)  # cosine; more have only copies of a video
_PRIOR_PAIRS = 200.0  # of equal variation in all directions, before the whitening
BLOCK = 1024  # templates that are compared at a time

Floats = NDArray[np.float64]
Pairs: TypeAlias = tuple[IntArray, IntArray, FloatArray]


@dataclass(frozen=True, slots=True)
class RecognitionSettings:
    """When a track is taken for an identity that is known."""

    # Of objects that are not known, the share that is taken for one that is; and the share that is
    # listed for review.
    max_false_matches: float = DEFAULT_FALSE_MATCHES
    max_unsure: float = 0.2
    min_margin: float = 0.15  # of the best identity to the next, standard deviations of impostors
    min_boxes: int = 5  # of a track that is learned


@dataclass(frozen=True, slots=True, eq=False)
class Template:
    """How one object looked in one video, and when it was there.

    Attributes:
        label: name of its class.
        views: (V, D) embeddings, rows of length 1; the first is the mean of all.
        spans: (K, 2) seconds from and to which it was seen, in order.
        num_boxes: that it was learned from.
    """

    label: str
    views: FloatArray
    spans: Floats
    num_boxes: int = 1

    def __post_init__(self) -> None:
        if self.views.ndim != 2 or not len(self.views):
            raise ValueError(f"views must be (V, D), at least one, got {self.views.shape}")
        if self.spans.ndim != 2 or self.spans.shape[1] != 2:
            raise ValueError(f"spans must be (K, 2), got {self.spans.shape}")

    @staticmethod
    def joined(parts: Sequence[Template]) -> Template:
        """The template of one object, of which there are several, of one video."""
        if len(parts) == 1:
            return parts[0]
        counts = np.array([part.num_boxes for part in parts], np.float32)
        views = np.concatenate(
            [part.views[1:] if len(part.views) > 1 else part.views for part in parts]
        )
        shares = np.concatenate(
            [
                np.full(max(len(part.views) - 1, 1), count / max(len(part.views) - 1, 1))
                for part, count in zip(parts, counts, strict=True)
            ]
        ).astype(np.float32)
        means = np.stack([part.views[0] for part in parts])
        mean = normalised((counts[:, None] * means).sum(axis=0, keepdims=True))
        label = max(parts, key=lambda part: part.num_boxes).label
        spans = merged_spans(np.concatenate([part.spans for part in parts]), 0.0)
        return Template(
            label, np.concatenate([mean, typical_views(views, shares)]), spans, int(counts.sum())
        )


def typical_views(embeddings: FloatArray, weights: FloatArray) -> FloatArray:
    """(V, D) the appearance of an object from its most different sides, MAX_VIEWS - 1 at most.

    Args:
        embeddings: (N, D) rows of length 1.
        weights: (N,) how good each is.
    """
    most = MAX_VIEWS - 1
    if len(embeddings) <= most:
        return embeddings
    from scipy.cluster.hierarchy import fcluster, linkage  # 9 MB, which most runs do not need

    tree = linkage(embeddings.astype(np.float64), "average", metric="cosine")
    clusters = fcluster(tree, most, "maxclust")
    chosen = [clusters == number for number in np.unique(clusters)]
    large = [rows for rows in chosen if rows.mean() >= _MIN_SHARE] or [np.ones_like(clusters, bool)]
    means = [((weights[rows, None] + 1e-6) * embeddings[rows]).sum(axis=0) for rows in large]
    return normalised(np.stack(means))


def merged_spans(spans: Floats, gap: float) -> Floats:
    """(K, 2) the same times in order; those that overlap, or nearly, are one."""
    merged: list[list[float]] = []
    for start, stop in sorted(spans.tolist()):
        if merged and start <= merged[-1][1] + gap:
            merged[-1][1] = max(merged[-1][1], stop)
        else:
            merged.append([start, stop])
    return np.array(merged, np.float64).reshape(-1, 2)


def overlap(first: Floats, second: Floats) -> bool:
    """Whether two rows of spans, each in order, have a moment in common."""
    return bool(meeting(first, second).any())


def meeting(spans: Floats, others: Floats) -> BoolArray:
    """(K,) which spans have a moment in common with any of others, which are in order."""
    position = np.searchsorted(others[:, 1], spans[:, 0])  # the first that is not over
    begins = np.append(others[:, 0], np.inf)
    found: BoolArray = begins[position] <= spans[:, 1]
    return found


@dataclass(frozen=True, slots=True, eq=False)
class Company:
    """The templates of one video and class.

    Attributes:
        templates: of it.
        clock: videos of one clock were filmed at the same time, and an object is in one at most.
        offset: seconds of that clock, at which the video begins.
        are_distinct: whether all are surely different objects; else, those seen together.
    """

    templates: Sequence[Template]
    clock: int = 0
    offset: float = 0.0
    are_distinct: bool = False

    def near(self, start: int, stop: int) -> IntArray:
        """Templates that may be impostors of some of these rows: none of the others is."""
        if self.are_distinct:
            return np.arange(len(self.templates))
        first, last = self._extents
        begin, end = first[start:stop].min(), last[start:stop].max()
        return np.flatnonzero((first <= end) & (last >= begin))

    def impostors(self, start: int, stop: int, columns: IntArray) -> BoolArray:
        """(N, C) which of these rows and templates are surely different objects."""
        rows = np.arange(start, stop)
        different: BoolArray = rows[:, None] != columns
        if self.are_distinct:
            return different
        first, last = self._extents
        both = np.concatenate([rows, columns])
        if all(len(self.templates[row].spans) == 1 for row in both.tolist()):
            together = (first[rows, None] <= last[columns]) & (first[columns] <= last[rows, None])
            return different & together
        others = [self.templates[column].spans for column in columns.tolist()]
        counts = np.array([len(each) for each in others])
        spans, starts = np.concatenate(others), np.cumsum(counts) - counts
        for row in rows.tolist():
            meets = meeting(spans, self.templates[row].spans)
            different[row - start] &= np.logical_or.reduceat(meets, starts)
        return different

    @property
    def _extents(self) -> tuple[Floats, Floats]:
        """(N,) when each is seen first, and last."""
        first = np.array([each.spans[0, 0] for each in self.templates])
        return first, np.array([each.spans[-1, 1] for each in self.templates])


class Whitening:
    """What changes while objects stay the same counts for less."""

    def __init__(self) -> None:
        self._scatter: Floats = np.zeros((0, 0))
        self._num_pairs = 0

    def learn(self, differences: FloatArray) -> None:
        """Take in (N, D) embeddings less the mean of their object."""
        exact = differences.astype(np.float64)
        self.learn_scatter(exact.T @ exact, len(exact))

    def learn_scatter(self, scatter: Floats, num_pairs: int) -> None:
        """Take in so many differences, of which (D, D) is the sum of outer products."""
        if len(scatter):  # a video without embeddings has none
            self._scatter = self._scatter + scatter if len(self._scatter) else scatter
            self._num_pairs += num_pairs

    def projection(self) -> FloatArray:
        """(D, D) symmetric; the identity where nothing was learned."""
        dim, total = len(self._scatter), float(np.trace(self._scatter))
        if not total > 0:
            return np.eye(dim, dtype=np.float32)
        even = total / dim / self._num_pairs * np.eye(dim)
        mean = (self._scatter + _PRIOR_PAIRS * even) / (self._num_pairs + _PRIOR_PAIRS)
        variances, directions = np.linalg.eigh(mean)
        projection = (directions / np.sqrt(variances)) @ directions.T
        scaled: FloatArray = (projection / np.sqrt((projection**2).sum() / dim)).astype(np.float32)
        return scaled


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Templates as they are compared.

    Attributes:
        means: (N, D) projected and centred, rows of length 1.
        views: (M, D) the same of all views, those of a template behind one another.
        starts: (N,) of the views of each template.
        centres: (N,) mean similarity to impostors, see `similarities`.
        spreads: (N,) its standard deviation.
    """

    means: FloatArray
    views: FloatArray
    starts: IntArray
    centres: FloatArray
    spreads: FloatArray

    def __len__(self) -> int:
        return len(self.means)

    def block(self, start: int, stop: int) -> Rows:
        """Some of them."""
        ends = np.append(self.starts, len(self.views))
        views = slice(int(ends[start]), int(ends[min(stop, len(self))]))
        return Rows(
            self.means[start:stop],
            self.views[views],
            self.starts[start:stop] - ends[start],
            self.centres[start:stop],
            self.spreads[start:stop],
        )

    def chosen(self, rows: IntArray) -> Rows:
        """These of them, in order."""
        ends = np.append(self.starts, len(self.views))
        counts = ends[rows + 1] - ends[rows]
        starts = np.cumsum(counts) - counts
        views = np.repeat(ends[rows] - starts, counts) + np.arange(counts.sum())
        return Rows(
            self.means[rows], self.views[views], starts, self.centres[rows], self.spreads[rows]
        )

    @staticmethod
    def joined(parts: Sequence[Rows]) -> Rows:
        """All of several, at least one."""
        shifts = np.cumsum([0, *(len(part.views) for part in parts)])
        starts = [part.starts + shift for part, shift in zip(parts, shifts[:-1], strict=True)]
        return Rows(
            np.concatenate([part.means for part in parts]),
            np.concatenate([part.views for part in parts]),
            np.concatenate(starts),
            np.concatenate([part.centres for part in parts]),
            np.concatenate([part.spreads for part in parts]),
        )


def similarities(first: Rows, second: Rows) -> FloatArray:
    """(N, M) of templates: of the mean of either to the most similar view of the other.

    They are Fisher's z of cosines, which has the same spread wherever it lies: cosines end at 1,
    where nothing would be rare among impostors that are alike.
    """
    to_views = np.maximum.reduceat(first.means @ second.views.T, second.starts, axis=1)
    of_views = np.maximum.reduceat(first.views @ second.means.T, first.starts, axis=0)
    return fisher_z(np.maximum(to_views, of_views))


def fisher_z(cosines: FloatArray) -> FloatArray:
    """The inverse hyperbolic tangent of cosines, finite for copies."""
    found: FloatArray = np.arctanh(cosines.clip(-_MOST_ALIKE, _MOST_ALIKE))
    return found


def scores(first: Rows, second: Rows) -> FloatArray:
    """(N, M) similarities in standard deviations above those of impostors, of both sides."""
    found = similarities(first, second)
    own = (found - first.centres[:, None]) / first.spreads[:, None]
    other = (found - second.centres) / second.spreads
    return ((own + other) / 2).astype(np.float32, copy=False)


def block_pairs(count: int) -> list[tuple[int, int]]:
    """Where blocks of so many templates begin, each with each, none twice."""
    starts = range(0, count, BLOCK)
    return [(first, second) for first in starts for second in starts if first <= second]


def pairs_of(rows: Rows, first: int, second: int, min_score: float) -> Pairs:
    """Pairs of two blocks that reach a score: (P,) rows, (P,) later rows, (P,) scores."""
    found = scores(rows.block(first, first + BLOCK), rows.block(second, second + BLOCK))
    own, other = np.nonzero(found >= min_score)
    earlier = own + first < other + second
    own, other = own[earlier], other[earlier]
    return own + first, other + second, found[own, other]


def pairs_above(rows: Rows, min_score: float) -> Iterator[Pairs]:
    """All pairs that reach a score, block by block."""
    for first, second in block_pairs(len(rows)):
        yield pairs_of(rows, first, second, min_score)
