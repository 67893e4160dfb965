"""Who belongs together: objects and tracks joined step by step, as TETA does it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from masa_cli.evaluation.teta_scores import ALPHAS, FIRST_CLS, Array, ClassCounts
from masa_cli.structures import BoolArray, IntArray

EPSILON = float(np.finfo(float).eps)


@dataclass(frozen=True, slots=True, eq=False)
class Step:
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

    def part(self, rows: BoolArray, columns: BoolArray) -> Step:
        """Some of the objects with some of the boxes."""
        return Step(
            self.objects[rows],
            self.object_classes[rows],
            self.tracks[columns],
            self.classes[columns],
            self.similarity[rows][:, columns],
        )


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
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
        of_class: BoolArray = self.kept[FIRST_CLS:] & (self.classes == number)
        amounts: Array = of_class.sum(axis=1).astype(np.float64)
        return amounts

    def counts(self) -> ClassCounts:
        """What the class counts; its `cls_fp` is known only after all classes."""
        kept = self.kept
        loc_tp = kept.sum(axis=1).astype(np.float64)
        cls_tp = self.num_of_class(self.number)
        codes = self.objects * len(self.track_lengths) + self.tracks
        found, places = np.unique(codes, return_inverse=True)
        together = np.array([np.bincount(places[row], minlength=len(found)) for row in kept])
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
            cls_fn=loc_tp[FIRST_CLS:] - cls_tp,
            cls_fp=np.zeros_like(cls_tp),
        )


def match_class(steps: Sequence[Step], overlaps: Sequence[BoolArray], number: int) -> Pairs:
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
        for part, near, (rows, columns) in zip(parts, near_parts, join(parts), strict=True)
    ]
    similarity, objects, track_numbers, classes, near = map(
        np.concatenate, zip(*pairs, strict=True)
    )
    return Pairs(
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


def join(steps: Sequence[Step]) -> list[tuple[IntArray, IntArray]]:
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
