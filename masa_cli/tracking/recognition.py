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
from masa_cli.tracking.calibration import MIN_SPREAD, NONE_SEEN, PRIOR_COHORT, Impostors, Moments

MAX_VIEWS = 4  # of a template: the mean, and the views that differ most
_MIN_SHARE = 0.15  # of the boxes, that make up a view
_CENTRING_ROWS = 5.0  # the mean of a video is believed like so many templates less
_PRIOR_PAIRS = 200.0  # of equal variation in all directions, before the whitening
_USUAL_IMPOSTOR, _USUAL_SPREAD = 0.3, 0.15  # where no impostors were seen at all
_MAX_COMPANIES, _MAX_BETWEEN = 20, 200  # pairs of companies, and templates of each, for that
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
    position = np.searchsorted(second[:, 1], first[:, 0])  # the first that is not over
    there = position < len(second)
    return bool(np.any(second[position[there], 0] <= first[there, 1]))


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

    def impostors(self) -> BoolArray:
        """(N, N) which two are surely different objects."""
        count = len(self.templates)
        if self.are_distinct:
            return ~np.eye(count, dtype=np.bool_)
        first = np.array([each.spans[0, 0] for each in self.templates])
        last = np.array([each.spans[-1, 1] for each in self.templates])
        together: BoolArray = (first[:, None] <= last) & (first <= last[:, None])
        np.fill_diagonal(together, False)
        has_gaps = np.array([len(each.spans) > 1 for each in self.templates], np.bool_)
        unsure = np.triu(together & (has_gaps[:, None] | has_gaps))
        for row, column in np.argwhere(unsure).tolist():
            own, other = self.templates[row].spans, self.templates[column].spans
            together[row, column] = together[column, row] = overlap(own, other)
        return together


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
        centres: (N,) mean similarity to impostors.
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
    """(N, M) of templates: of the mean of either to the most similar view of the other."""
    to_views = np.maximum.reduceat(first.means @ second.views.T, second.starts, axis=1)
    of_views = np.maximum.reduceat(first.views @ second.means.T, first.starts, axis=0)
    both: FloatArray = np.maximum(to_views, of_views)
    return both


def scores(first: Rows, second: Rows) -> FloatArray:
    """(N, M) similarities in standard deviations above those of impostors, of both sides."""
    found = similarities(first, second)
    own = (found - first.centres[:, None]) / first.spreads[:, None]
    other = (found - second.centres) / second.spreads
    return ((own + other) / 2).astype(np.float32, copy=False)


def compared(
    classes: Sequence[Sequence[Company]], projection: FloatArray, earlier: Impostors = NONE_SEEN
) -> tuple[list[list[Rows]], Impostors]:
    """The templates of each company as they are compared, and what impostors had in common.

    Scores of all classes are measured alike, so impostors of all tell what they reach: of few
    objects of a class nothing could be told.

    Args:
        classes: companies of each class, none of them empty.
        projection: (D, D), of the whitening.
        earlier: impostors of other templates, which count as well.
    """
    bare = [[_centred(each.templates, projection) for each in own] for own in classes]
    masks = [[each.impostors() for each in own] for own in classes]
    inside = [[similarities(rows, rows) for rows in own] for own in bare]
    seen = [_impostors(*each) for each in zip(inside, masks, strict=True)]
    similar = sum(seen, earlier.similar)
    usual = similar.fitted(_USUAL_IMPOSTOR, _USUAL_SPREAD)
    found: list[list[Rows]] = []
    reached, num_templates = earlier.reached, earlier.num_templates
    for own, known, values_of, values in zip(bare, masks, inside, seen, strict=True):
        of_class = values.fitted(*usual)
        found.append([])
        for rows, mask, each in zip(own, known, values_of, strict=True):
            cohort = _Cohort.of(each, mask, *of_class)
            centres, spreads = cohort.statistics()
            found[-1].append(Rows(rows.means, rows.views, rows.starts, centres, spreads))
            reached += Moments.of(cohort.scores()[np.triu(mask, 1)])
            num_templates += int(mask.any(axis=1).sum())
    return found, Impostors(similar, reached, num_templates)


def impostors_between(parts: Sequence[Rows]) -> Moments:
    """Scores of different objects of several companies, as far as that can be told.

    Objects that are seen at one time are never at one place; those of other videos may be, and have
    its background and light in common. Of each two companies all pairs count but those that are
    each other's best, which may be one object.

    Args:
        parts: the templates of each company, of one class.
    """
    pairs = [(one, other) for one in range(len(parts)) for other in range(one)]
    pairs.sort(key=lambda pair: (-len(parts[pair[0]]) * len(parts[pair[1]]), pair))
    seen = Moments()
    for one, other in pairs[:_MAX_COMPANIES]:
        found = scores(parts[one].block(0, _MAX_BETWEEN), parts[other].block(0, _MAX_BETWEEN))
        best = found.argmax(axis=1)
        counts = np.ones(found.shape, np.bool_)
        rows = np.flatnonzero(found.argmax(axis=0)[best] == np.arange(len(found)))
        counts[rows, best[rows]] = False
        seen += Moments.of(found[counts])
    return seen


def _impostors(similar: Sequence[FloatArray], masks: Sequence[BoolArray]) -> Moments:
    parts = zip(similar, masks, strict=True)
    return sum((Moments.of(each[mask]) for each, mask in parts), Moments())


@dataclass(frozen=True, slots=True, eq=False)
class _Cohort:
    """Of each template, its similarities to impostors of its own video, and a prior."""

    found: FloatArray  # (N, N)
    mask: BoolArray  # (N, N)
    counts: FloatArray  # (N,)
    sums: FloatArray  # (N,)
    squares: FloatArray  # (N,)

    @staticmethod
    def of(found: FloatArray, mask: BoolArray, centre: float, spread: float) -> _Cohort:
        values = np.where(mask, found, np.float32(0))
        return _Cohort(
            found,
            mask,
            mask.sum(axis=1).astype(np.float32) + np.float32(PRIOR_COHORT),
            (values.sum(axis=1) + PRIOR_COHORT * centre).astype(np.float32),
            ((values**2).sum(axis=1) + PRIOR_COHORT * (centre**2 + spread**2)).astype(np.float32),
        )

    def statistics(self) -> tuple[FloatArray, FloatArray]:
        """(N,) means and standard deviations."""
        return _statistics(self.counts, self.sums, self.squares)

    def scores(self) -> FloatArray:
        """(N, N) of impostors, each measured against the others only."""
        without = np.where(self.mask, self.found, np.float32(0))
        centres, spreads = _statistics(
            (self.counts[:, None] - self.mask).astype(np.float32),
            (self.sums[:, None] - without).astype(np.float32),
            (self.squares[:, None] - without**2).astype(np.float32),
        )
        own = (self.found - centres) / spreads
        result: FloatArray = (own + own.T) / 2
        return result


def _statistics(
    counts: FloatArray, sums: FloatArray, squares: FloatArray
) -> tuple[FloatArray, FloatArray]:
    means = sums / counts
    spreads = np.sqrt(np.maximum(squares / counts - means**2, MIN_SPREAD**2))
    return means.astype(np.float32, copy=False), spreads.astype(np.float32, copy=False)


def _centred(templates: Sequence[Template], projection: FloatArray) -> Rows:
    """As they are compared, less the mean of all: what they have in common is the camera."""
    views = normalised(np.concatenate([each.views for each in templates]) @ projection)
    counts = np.array([len(each.views) for each in templates])
    starts = np.cumsum(counts) - counts
    centre = views[starts].mean(axis=0) * np.float32(
        len(templates) / (len(templates) + _CENTRING_ROWS)
    )
    centred = normalised(views - centre)
    nothing = np.zeros(len(templates), np.float32)
    return Rows(centred[starts], centred, starts.astype(np.int64), nothing, nothing + 1)


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
