"""TETA: localisation, association and classification scored apart (Li et al., ECCV 2022).

Made for ground truth that names only some of the objects: what overlaps nothing is no error. With
`exhaustive=True` it becomes the variant for BDD, where every object of a class is named.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from types import MappingProxyType
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from masa_cli.evaluation.metrics import EPSILON, Array
from masa_cli.structures import BoolArray, IntArray

# Thresholds of localisation and association; classification counts from 0.5 on.
ALPHAS = tuple(round(0.05 * step, 2) for step in range(20))

# Fields of TetaScores by the name the field gives them.
SCORE_FIELDS: Mapping[str, str] = MappingProxyType(
    {"TETA": "teta", "LocA": "loc_a", "AssocA": "assoc_a", "ClsA": "cls_a"}
)
_FIRST_CLS = 10  # index of 0.5

_OVERLAP = 0.5  # a box of at least this IoU overlaps an object
_NOBODY = np.iinfo(np.int64).min  # no class has this number


@dataclass(frozen=True, slots=True, eq=False)
class TetaVideo:
    """The steps of one video, in time order; all lists are of equal length.

    Order within a step decides between equally good pairs: give boxes as they stand in the files.

    Attributes:
        gt_ids: (G,) int64 of each step, any numbers.
        gt_classes: (G,) int64 of each step.
        ids: (N,) int64 of each step, of the predicted boxes.
        classes: (N,) int64 of each step.
        similarity: (G, N) float64 of each step, IoU whatever the classes.
    """

    gt_ids: Sequence[IntArray]
    gt_classes: Sequence[IntArray]
    ids: Sequence[IntArray]
    classes: Sequence[IntArray]
    similarity: Sequence[Array]

    def __post_init__(self) -> None:
        columns = (self.gt_ids, self.gt_classes, self.ids, self.classes, self.similarity)
        if len({len(column) for column in columns}) > 1:
            raise ValueError(f"expected equally many steps, got {[len(c) for c in columns]}")
        for step, (gt, gt_classes, ids, classes, similarity) in enumerate(
            zip(*columns, strict=True)
        ):
            shape = (len(gt), len(ids))
            if (len(gt_classes), len(classes)) != shape or similarity.shape != shape:
                raise ValueError(f"step {step}: similarity must be {shape}, as ids and classes are")


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
        return ClassCounts(*per_alpha, *(np.zeros(len(ALPHAS) - _FIRST_CLS) for _ in range(3)))

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


def count_video(
    video: TetaVideo, evaluated_classes: Sequence[int], *, exhaustive: bool = False
) -> dict[int, ClassCounts]:
    """Count one video; classes that count nothing in it may be absent.

    Args:
        video: without the steps that have no ground truth; all steps if `exhaustive`.
        evaluated_classes: those with ground truth anywhere in the set of videos. If `exhaustive`
            their order matters: a class that overlaps nothing forgets what those before it counted
            as its `cls_fp` (as the reference does; formats.md section 6).
        exhaustive: every object of these classes has ground truth, so any other box of such a
            class is an error of classification.
    """
    steps = _steps(video)
    owners = _owner_classes(steps)
    named = {number for numbers in video.gt_classes for number in numbers.tolist()}
    evaluated = set(evaluated_classes)
    counts: dict[int, ClassCounts] = {}
    cls_fp: defaultdict[int, Array] = defaultdict(lambda: np.zeros(len(ALPHAS) - _FIRST_CLS))
    for number in evaluated_classes:
        is_named = number in named
        both = zip(steps, owners, strict=True) if is_named else ()
        overlaps = [_overlap(step, owner, number) for step, owner in both]
        has_overlap = any(overlap.any() for overlap in overlaps)
        if exhaustive:
            before = cls_fp[number] if has_overlap else np.zeros_like(cls_fp[number])
            cls_fp[number] = before + _num_unnamed(video, steps, overlaps, number)
        if has_overlap:
            pairs = _match_class(steps, overlaps, number)
            counts[number] = pairs.counts()
            for wrong in evaluated.intersection(pairs.classes.tolist()) - {number}:
                cls_fp[wrong] = cls_fp[wrong] + pairs.num_of_class(wrong)
        elif is_named:
            missed = sum(int(np.count_nonzero(step.object_classes == number)) for step in steps)
            counts[number] = replace(ClassCounts.zero(), loc_fn=np.full(len(ALPHAS), float(missed)))
    for number, amount in cls_fp.items():
        counted = counts.get(number) or ClassCounts.zero()
        counts[number] = replace(counted, cls_fp=counted.cls_fp + amount)
    return counts


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


def _steps(video: TetaVideo) -> list[_Step]:
    """The video with numbered objects, and only the tracks that somewhere overlap an object."""
    near = [
        ids[(similarity >= _OVERLAP).any(axis=0)]
        for ids, similarity in zip(video.ids, video.similarity, strict=True)
    ]
    tracks = np.unique(np.concatenate([np.empty(0, np.int64), *near]))
    objects = np.unique(np.concatenate([np.empty(0, np.int64), *video.gt_ids]))
    columns = (video.gt_ids, video.gt_classes, video.ids, video.classes, video.similarity)
    steps = []
    for gt_ids, gt_classes, ids, classes, similarity in zip(*columns, strict=True):
        kept = np.isin(ids, tracks)
        steps.append(
            _Step(
                np.searchsorted(objects, gt_ids),
                gt_classes,
                np.searchsorted(tracks, ids[kept]),
                classes[kept],
                similarity[:, kept],
            )
        )
    return steps


def _owner_classes(steps: Sequence[_Step]) -> list[IntArray]:
    """Of each step, (N,) the class of the object that each box belongs to if classes are unseen."""
    owners = []
    for step, (rows, columns) in zip(steps, _join(steps), strict=True):
        owner = np.full(len(step.tracks), _NOBODY)
        near = step.similarity[rows, columns] >= _OVERLAP - EPSILON
        owner[columns[near]] = step.object_classes[rows[near]]
        owners.append(owner)
    return owners


def _overlap(step: _Step, owners: IntArray, number: int) -> BoolArray:
    """(N,) boxes that overlap an object of the class and belong to no object of another."""
    near = (step.similarity[step.object_classes == number] >= _OVERLAP).any(axis=0)
    overlap: BoolArray = near & ((owners == number) | (owners == _NOBODY))
    return overlap


def _num_unnamed(
    video: TetaVideo, steps: Sequence[_Step], overlaps: Sequence[BoolArray], number: int
) -> int:
    """How many boxes called by this class overlap none of its objects.

    Args:
        video: all boxes.
        steps: those of them that can overlap.
        overlaps: which of these do, per step; empty where the class has no objects.
        number: the class.
    """
    called = sum(int(np.count_nonzero(classes == number)) for classes in video.classes)
    return called - sum(
        int(np.count_nonzero(overlap & (step.classes == number)))
        for step, overlap in zip(steps, overlaps, strict=False)
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Step:
    """Objects of one step and the boxes to compare with them.

    Attributes:
        objects: (G,) object of each true box, from 0.
        object_classes: (G,).
        tracks: (N,) track of each box, from 0.
        classes: (N,).
        similarity: (G, N).
    """

    objects: IntArray
    object_classes: IntArray
    tracks: IntArray
    classes: IntArray
    similarity: Array

    def part(self, rows: BoolArray, columns: BoolArray) -> _Step:
        """Some of the objects with some of the boxes."""
        return _Step(
            self.objects[rows],
            self.object_classes[rows],
            self.tracks[columns],
            self.classes[columns],
            self.similarity[rows][:, columns],
        )


@dataclass(frozen=True, slots=True, eq=False)
class _Pairs:
    """The pairs of an object of one class and a box, of all steps together.

    Attributes:
        similarity: (P,).
        objects: (P,) of each pair.
        tracks: (P,) of each pair.
        classes: (P,) of the box.
        overlaps: (P,) whether the box would be an error of localisation were it not in this pair.
        num_overlaps: how many such boxes there are, in pairs or not.
        object_lengths: boxes of each object of the class.
        track_lengths: boxes of each track.
        number: the class.
    """

    similarity: Array
    objects: IntArray
    tracks: IntArray
    classes: IntArray
    overlaps: BoolArray
    num_overlaps: int
    object_lengths: Array
    track_lengths: Array
    number: int

    @property
    def kept(self) -> BoolArray:
        """(20, P) the pairs good enough at each alpha; at 0 all are, even without overlap."""
        kept: BoolArray = self.similarity >= np.array(ALPHAS)[:, None] - EPSILON
        return kept

    def num_of_class(self, number: int) -> Array:
        """(10,) pairs whose box has this class, at each alpha from 0.5."""
        of_class: BoolArray = self.kept[_FIRST_CLS:] & (self.classes == number)
        amounts: Array = of_class.sum(axis=1).astype(np.float64)
        return amounts

    def counts(self) -> ClassCounts:
        """What the class counts; its `cls_fp` is known only after all classes."""
        kept = self.kept
        loc_tp = kept.sum(axis=1).astype(np.float64)
        cls_tp = self.num_of_class(self.number)
        codes = self.objects * len(self.track_lengths) + self.tracks
        found, inverse = np.unique(codes, return_inverse=True)
        together = np.array([np.bincount(inverse[row], minlength=len(found)) for row in kept])
        squared = together.astype(np.float64) ** 2  # (20, U) of an object and a track
        objects = self.object_lengths[found // len(self.track_lengths)]
        tracks = self.track_lengths[found % len(self.track_lengths)]
        return ClassCounts(
            loc_tp,
            loc_fn=self.object_lengths.sum() - loc_tp,
            loc_fp=self.num_overlaps - (kept & self.overlaps).sum(axis=1),
            assoc_a=(squared / (objects + tracks - together)).sum(axis=1),
            assoc_re=(squared / objects).sum(axis=1),
            assoc_pr=(squared / tracks).sum(axis=1),
            cls_tp=cls_tp,
            cls_fn=loc_tp[_FIRST_CLS:] - cls_tp,
            cls_fp=np.zeros_like(cls_tp),
        )


def _match_class(steps: Sequence[_Step], overlaps: Sequence[BoolArray], number: int) -> _Pairs:
    """Join the objects of a class to boxes of the tracks that somewhere overlap one of them."""
    both = list(zip(steps, overlaps, strict=True))
    tracks = np.unique(np.concatenate([step.tracks[overlap] for step, overlap in both]))
    parts, near_parts = [], []
    for step, overlap in both:
        kept = np.isin(step.tracks, tracks)
        parts.append(step.part(step.object_classes == number, kept))
        near_parts.append(overlap[kept])
    pairs = [
        (
            *(part.similarity[rows, columns], part.objects[rows], part.tracks[columns]),
            *(part.classes[columns], near[columns]),
        )
        for part, near, (rows, columns) in zip(parts, near_parts, _join(parts), strict=True)
    ]
    similarity, objects, track_numbers, classes, near = map(
        np.concatenate, zip(*pairs, strict=True)
    )
    return _Pairs(
        similarity,
        objects,
        track_numbers,
        classes,
        near,
        num_overlaps=sum(int(np.count_nonzero(overlap)) for overlap in overlaps),
        object_lengths=_lengths([part.objects for part in parts]),
        track_lengths=_lengths([part.tracks for part in parts]),
        number=number,
    )


def _lengths(columns: Sequence[IntArray]) -> Array:
    """In how many steps each number, from 0, is."""
    return np.bincount(np.concatenate([np.empty(0, np.int64), *columns])).astype(np.float64)


def _join(steps: Sequence[_Step]) -> list[tuple[IntArray, IntArray]]:
    """Rows and columns of the pairs of each step: who fits together here and all the time."""
    object_lengths = _lengths([step.objects for step in steps])
    track_lengths = _lengths([step.tracks for step in steps])
    shared = np.zeros((len(object_lengths), len(track_lengths)))
    for step in steps:
        if step.similarity.size:
            near = step.similarity
            union = near.sum(axis=1)[:, None] + near.sum(axis=0) - near
            soft = np.divide(near, union, out=np.zeros_like(near), where=union > EPSILON)
            shared[step.objects[:, None], step.tracks] += soft
    # At least 1 where both are seen at all; no step asks for the others.
    union = np.maximum(object_lengths[:, None] + track_lengths - shared, 1)
    alignment = shared / union
    return [
        linear_sum_assignment(
            alignment[step.objects[:, None], step.tracks] * step.similarity, maximize=True
        )
        for step in steps
    ]
