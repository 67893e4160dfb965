"""What TETA counts for a class, and the scores that follow from the counts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.float64]

# Thresholds of localisation and association; classification counts from 0.5 on.
ALPHAS = tuple(round(0.05 * step, 2) for step in range(20))
FIRST_CLS = 10  # place of 0.5


@dataclass(frozen=True, slots=True, eq=False)
class ClassCounts:
    """What one class counts; counts of videos add up.

    Attributes:
        loc_tp, loc_fn, loc_fp: (20,) boxes per alpha.
        assoc_a, assoc_re, assoc_pr: (20,) sums over the `loc_tp` boxes per alpha.
        cls_tp, cls_fn, cls_fp: (10,) boxes per alpha from 0.5.
    """

    loc_tp: Array
    loc_fn: Array
    loc_fp: Array
    assoc_a: Array
    assoc_re: Array
    assoc_pr: Array
    cls_tp: Array
    cls_fn: Array
    cls_fp: Array

    @staticmethod
    def zero() -> ClassCounts:
        """Nothing counted yet."""
        per_alpha = (np.zeros(len(ALPHAS)) for _ in range(6))
        return ClassCounts(*per_alpha, *(np.zeros(len(ALPHAS) - FIRST_CLS) for _ in range(3)))

    def __add__(self, other: ClassCounts) -> ClassCounts:
        names = [field.name for field in fields(self)]
        return ClassCounts(*(getattr(self, name) + getattr(other, name) for name in names))

    @property
    def has_boxes(self) -> bool:
        """Whether anything was located or missed; classes without are left out of means."""
        return bool(np.any(self.loc_tp + self.loc_fn + self.loc_fp))


@dataclass(frozen=True, slots=True)
class TetaScores:
    """Scores in percent; the curves are over `ALPHAS`, that of classification from 0.5 on."""

    teta: float
    loc_a: float
    assoc_a: float
    cls_a: float
    loc_re: float
    loc_pr: float
    assoc_re: float
    assoc_pr: float
    cls_re: float
    cls_pr: float
    teta_curve: tuple[float, ...]
    loc_a_curve: tuple[float, ...]
    assoc_a_curve: tuple[float, ...]
    cls_a_curve: tuple[float, ...]


def total(videos: Iterable[dict[int, ClassCounts]]) -> dict[int, ClassCounts]:
    """The counts of all videos together, by class."""
    sums: dict[int, ClassCounts] = {}
    for counts in videos:
        for number, counted in counts.items():
            sums[number] = sums[number] + counted if number in sums else counted
    return sums


def scores(counts: ClassCounts) -> TetaScores:
    """The scores of one class; where there is nothing to divide by they are 0."""
    loc_a = _share(counts.loc_tp, counts.loc_tp + counts.loc_fn + counts.loc_fp)
    assoc_a = _share(counts.assoc_a, counts.loc_tp)
    cls_a = _share(counts.cls_tp, counts.cls_tp + counts.cls_fn + counts.cls_fp)
    teta = (loc_a + assoc_a + cls_a.mean()) / 3
    return TetaScores(
        teta=float(teta.mean()),
        loc_a=float(loc_a.mean()),
        assoc_a=float(assoc_a.mean()),
        cls_a=float(cls_a.mean()),
        loc_re=_mean_share(counts.loc_tp, counts.loc_tp + counts.loc_fn),
        loc_pr=_mean_share(counts.loc_tp, counts.loc_tp + counts.loc_fp),
        assoc_re=_mean_share(counts.assoc_re, counts.loc_tp),
        assoc_pr=_mean_share(counts.assoc_pr, counts.loc_tp),
        cls_re=_mean_share(counts.cls_tp, counts.cls_tp + counts.cls_fn),
        cls_pr=_mean_share(counts.cls_tp, counts.cls_tp + counts.cls_fp),
        teta_curve=tuple(teta.tolist()),
        loc_a_curve=tuple(loc_a.tolist()),
        assoc_a_curve=tuple(assoc_a.tolist()),
        cls_a_curve=tuple(cls_a.tolist()),
    )


def mean_scores(classes: Sequence[TetaScores]) -> TetaScores:
    """The plain mean over classes; raises ValueError where there are none."""
    if not classes:
        raise ValueError("expected the scores of at least one class")
    names = [field.name for field in fields(TetaScores)]
    means: dict[str, Any] = {
        name: np.mean([getattr(row, name) for row in classes], axis=0).tolist() for name in names
    }
    curves = {name: tuple(mean) for name, mean in means.items() if isinstance(mean, list)}
    return TetaScores(**{**means, **curves})


def _share(part: Array, whole: Array) -> Array:
    """In percent; the whole counts boxes, so below 1 there are none."""
    percent: Array = 100 * part / np.maximum(whole, 1)
    return percent


def _mean_share(part: Array, whole: Array) -> float:
    return float(_share(part, whole).mean())
