"""TETA: localisation, association and classification scored apart (Li et al., ECCV 2022).

Made for ground truth that names only some of the objects: what overlaps nothing is no error. With
`exhaustive=True` it becomes the variant for BDD, where every object of a class is named.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from masa_cli.evaluation.teta_pairs import EPSILON, Step, join, match_class
from masa_cli.evaluation.teta_scores import (
    ALPHAS,
    FIRST_CLS,
    Array,
    ClassCounts,
    TetaScores,
    mean_scores,
    scores,
    total,
)
from masa_cli.structures import BoolArray, IntArray

__all__ = [
    "ALPHAS",
    "ClassCounts",
    "TetaScores",
    "TetaVideo",
    "count_video",
    "mean_scores",
    "scores",
    "total",
]

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
    cls_fp: defaultdict[int, Array] = defaultdict(lambda: np.zeros(len(ALPHAS) - FIRST_CLS))
    for number in evaluated_classes:
        is_named = number in named
        both = zip(steps, owners, strict=True) if is_named else ()
        overlaps = [_overlap(step, owner, number) for step, owner in both]
        has_overlap = any(overlap.any() for overlap in overlaps)
        if exhaustive:
            before = cls_fp[number] if has_overlap else np.zeros_like(cls_fp[number])
            cls_fp[number] = before + _num_unnamed(video, steps, overlaps, number)
        if has_overlap:
            pairs = match_class(steps, overlaps, number)
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


def _steps(video: TetaVideo) -> list[Step]:
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
            Step(
                np.searchsorted(objects, gt_ids),
                gt_classes,
                np.searchsorted(tracks, ids[kept]),
                classes[kept],
                similarity[:, kept],
            )
        )
    return steps


def _owner_classes(steps: Sequence[Step]) -> list[IntArray]:
    """Of each step, (N,) the class of the object that each box belongs to if classes are unseen."""
    owners = []
    for step, (rows, columns) in zip(steps, join(steps), strict=True):
        owner = np.full(len(step.tracks), _NOBODY)
        near = step.similarity[rows, columns] >= _OVERLAP - EPSILON
        owner[columns[near]] = step.object_classes[rows[near]]
        owners.append(owner)
    return owners


def _overlap(step: Step, owners: IntArray, number: int) -> BoolArray:
    """(N,) boxes that overlap an object of the class and belong to no object of another."""
    near = (step.similarity[step.object_classes == number] >= _OVERLAP).any(axis=0)
    overlap: BoolArray = near & ((owners == number) | (owners == _NOBODY))
    return overlap


def _num_unnamed(
    video: TetaVideo, steps: Sequence[Step], overlaps: Sequence[BoolArray], number: int
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
