"""What impostors reach: how often a score is one that two different objects have in common.

Of each video and class, templates that were seen together tell it: how similar they are to each
other, and which scores that makes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtr, stdtrit

from masa_cli.structures import BoolArray, FloatArray, IntArray
from masa_cli.tracking.appearance import normalised
from masa_cli.tracking.recognition import BLOCK, Company, Rows, Template, scores, similarities

PRIOR_COHORT = 3.0  # values, as which a prior counts in statistics of impostors
MIN_SPREAD = 0.02  # of similarities or scores
_PRIOR_FREEDOM = 20.0  # templates whose scores would be as those of most videos are
_CENTRING_ROWS = 5.0  # the mean of a video is believed like so many templates less
_USUAL_IMPOSTOR, _USUAL_SPREAD = 0.3, 0.15  # where no impostors were seen at all
_MAX_COMPANIES, _MAX_BETWEEN = 20, 200  # pairs of companies, and templates of each, for that
_MAX_COHORT = 2048  # templates, of which the similarities to one tell what impostors reach
_MAX_BLOCKS = 8  # of templates of one video, whose scores tell it
_MAX_KEPT = 2**24  # similarities
_PRIOR_BETWEEN = 30.0  # pairs of two videos, as which those of one video count


@dataclass(frozen=True, slots=True)
class Calibration:
    """What scores impostors reach.

    Attributes:
        mean: of their scores.
        spread: standard deviation.
        num_templates: that they were measured on.
    """

    mean: float = 0.0
    spread: float = 1.0
    num_templates: int = 0

    def false_matches(self, score: float, num_candidates: int) -> float:
        """How often the best of so many impostors would have such a score, 0 to 1."""
        single = float(stdtr(self._freedom, (self.mean - score) / self.spread))
        return float(-np.expm1(max(num_candidates, 1) * np.log1p(-min(single, 1 - 1e-12))))

    def threshold(self, rate: float, num_candidates: int) -> float:
        """The score that the best of so many impostors reaches that often."""
        single = -math.expm1(math.log1p(-rate) / max(num_candidates, 1))
        return self.mean - float(stdtrit(self._freedom, single)) * self.spread

    def raised(self, seen: Moments) -> Calibration:
        """With scores of different objects of several videos, if these reach more."""
        if not seen.count:
            return self
        mean, spread = seen.fitted(self.mean, self.spread)
        share = seen.count / (seen.count + _PRIOR_BETWEEN)
        return Calibration(
            self.mean + share * max(mean - self.mean, 0.0),
            self.spread + share * max(spread - self.spread, 0.0),
            self.num_templates,
        )

    @property
    def _freedom(self) -> float:
        """Degrees of freedom of Student's t: with few templates, high scores are less rare."""
        return self.num_templates + _PRIOR_FREEDOM


@dataclass(frozen=True, slots=True)
class Moments:
    """Of some values: how many, their sum and that of their squares."""

    count: int = 0
    total: float = 0.0
    squares: float = 0.0

    @staticmethod
    def of(values: FloatArray) -> Moments:
        """Of (N,) values."""
        exact = values.astype(np.float64)
        return Moments(len(exact), float(exact.sum()), float(exact @ exact))

    def __add__(self, other: Moments) -> Moments:
        return Moments(
            self.count + other.count, self.total + other.total, self.squares + other.squares
        )

    def fitted(self, mean: float, spread: float) -> tuple[float, float]:
        """Mean and standard deviation, with a prior like a few values."""
        number = self.count + PRIOR_COHORT
        centre = (self.total + PRIOR_COHORT * mean) / number
        squares = self.squares - 2 * centre * self.total + centre**2 * self.count
        return centre, max(math.sqrt((squares + PRIOR_COHORT * spread**2) / number), MIN_SPREAD)


@dataclass(frozen=True, slots=True)
class Impostors:
    """What templates of different objects had in common, so far.

    Attributes:
        similar: their similarities.
        reached: their scores.
        num_templates: of these.
    """

    similar: Moments = Moments()
    reached: Moments = Moments()
    num_templates: int = 0

    def calibration(self) -> Calibration:
        """What scores they reach."""
        if not self.reached.count:
            return Calibration()
        mean, deviation = self.reached.fitted(0.0, 1.0)
        return Calibration(mean, deviation, self.num_templates)


NONE_SEEN = Impostors()


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
    spare = _MAX_KEPT
    cohorts: list[list[_Cohort]] = []
    for own, rows in zip(classes, bare, strict=True):
        cohorts.append([])
        for company, each in zip(own, rows, strict=True):
            is_kept = len(each) ** 2 <= spare
            spare -= len(each) ** 2 * is_kept
            cohorts[-1].append(_Cohort(company, each, is_kept=is_kept))
    of_classes = [sum((cohort.seen for cohort in own), Moments()) for own in cohorts]
    similar = sum(of_classes, earlier.similar)
    usual = similar.fitted(_USUAL_IMPOSTOR, _USUAL_SPREAD)
    found: list[list[Rows]] = []
    reached, num_templates = earlier.reached, earlier.num_templates
    for own_cohorts, seen in zip(cohorts, of_classes, strict=True):
        of_class = seen.fitted(*usual)
        found.append([])
        for cohort in own_cohorts:
            found[-1].append(cohort.fitted(*of_class))
            reached += cohort.reached()
            num_templates += cohort.num_measured
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


class _Cohort:
    """Similarities of the templates of a company to impostors of it, block by block.

    Of a large company, each block of templates is compared with _MAX_COHORT others at most, evenly
    taken of those that may be impostors: what is in memory does not grow with the square of it.

    Args:
        company: the templates.
        rows: as they are compared.
        is_kept: whether similarities are remembered, or computed twice.
    """

    def __init__(self, company: Company, rows: Rows, *, is_kept: bool) -> None:
        self._company, self._rows = company, rows
        self._starts = range(0, len(rows), BLOCK)
        self._chosen = [
            _even(company.near(*self._ends(start)), _MAX_COHORT) for start in self._starts
        ]
        self._kept: dict[int, tuple[FloatArray, BoolArray]] = {}
        self._counts, self._sums, self._squares = np.zeros((3, len(rows)), np.float32)
        self.seen = Moments()
        for start in self._starts:
            found, mask = block = self._block(start)
            if is_kept:
                self._kept[start] = block
            values, here = np.where(mask, found, np.float32(0)), slice(*self._ends(start))
            self._counts[here] = mask.sum(axis=1)
            self._sums[here] = values.sum(axis=1)
            self._squares[here] = (values**2).sum(axis=1)
            self.seen += Moments.of(found[mask])
        self.num_measured = int((self._counts > 0).sum())

    def fitted(self, centre: float, spread: float) -> Rows:
        """The rows with statistics of their impostors, of which a few are like this prior."""
        self._counts += np.float32(PRIOR_COHORT)
        self._sums += np.float32(PRIOR_COHORT * centre)
        self._squares += np.float32(PRIOR_COHORT * (centre**2 + spread**2))
        centres, spreads = _statistics(self._counts, self._sums, self._squares)
        return Rows(self._rows.means, self._rows.views, self._rows.starts, centres, spreads)

    def reached(self) -> Moments:
        """Scores of impostors, each measured against the others only."""
        seen = Moments()
        is_chosen = np.zeros((len(self._starts), len(self._rows)), np.bool_)
        for row, columns in enumerate(self._chosen):
            is_chosen[row, columns] = True
        for start in _even(np.array(self._starts, np.int64), _MAX_BLOCKS).tolist():
            found, mask = self._block(start)
            columns = self._chosen[start // BLOCK]
            rows = np.arange(*self._ends(start))
            # Whether the template of a row was among the cohort of that of a column.
            back = is_chosen[columns // BLOCK][:, rows].T
            own = self._normalised(found, mask, rows, axis=0)
            other = self._normalised(found, mask & back, columns, axis=1)
            once = mask & (~back | (columns > rows[:, None]))
            seen += Moments.of((own[once] + other[once]) / 2)
        return seen

    def _normalised(
        self, found: FloatArray, mask: BoolArray, rows: IntArray, axis: int
    ) -> FloatArray:
        """Scores by the statistics of templates along an axis, without what is masked itself."""
        without = np.where(mask, found, np.float32(0))
        counts, sums, squares = (
            np.expand_dims(each[rows], 1 - axis)
            for each in (self._counts, self._sums, self._squares)
        )
        centres, spreads = _statistics(counts - mask, sums - without, squares - without**2)
        scores_of: FloatArray = (found - centres) / spreads
        return scores_of

    def _ends(self, start: int) -> tuple[int, int]:
        return start, min(start + BLOCK, len(self._rows))

    def _block(self, start: int) -> tuple[FloatArray, BoolArray]:
        """(N, C) similarities of a block to its cohort, and which of these are of impostors."""
        if start in self._kept:
            return self._kept[start]
        columns, ends = self._chosen[start // BLOCK], self._ends(start)
        found = similarities(self._rows.block(*ends), self._rows.chosen(columns))
        return found, self._company.impostors(*ends, columns)


def _even(values: IntArray, most: int) -> IntArray:
    """So many of them at most, evenly taken."""
    if len(values) <= most:
        return values
    return values[np.linspace(0, len(values) - 1, most).astype(np.int64)]


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
