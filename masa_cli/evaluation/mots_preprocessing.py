"""What MOTS takes out of truth and results before it scores masks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco

from masa_cli.evaluation.sequence_checks import check_frames, check_ids
from masa_cli.evaluation.trackeval_scores import EPSILON, Data, data_of, rows_by_frame
from masa_cli.formats.mots import IGNORE, MotsRows
from masa_cli.structures import BoolArray, IntArray

# A mask as pycocotools wants it.
Rle: TypeAlias = dict[str, Any]

_WITHIN = 0.5  # results are dropped with more than this share of their area in ignored regions


def check(
    truth: MotsRows, results: MotsRows, length: int | None, told_by: str, first_frame: int
) -> None:
    """Raise SourceError for rows that cannot be scored, naming the line."""
    is_object = truth.classes != IGNORE
    sizes = truth.sizes if len(truth.masks) else results.sizes
    for rows in (truth, results):
        check_frames(rows.text, rows.frames, length, told_by, first_frame)
        other = np.flatnonzero((rows.sizes != sizes[:1]).any(axis=1))
        if len(other):
            row = int(other[0])
            expected, got = (f"{h} x {w}" for h, w in (sizes[0], rows.sizes[row]))
            raise rows.text.wrong(row, f"masks of {expected} pixels as in {truth.text.path}", got)
    check_ids(truth.text, truth.frames, truth.ids, is_object)
    check_ids(results.text, results.frames, results.ids)
    _check_overlap(truth, is_object)
    _check_overlap(results, np.ones(len(results.masks), np.bool_))


def scored_data(
    truth: MotsRows, results: MotsRows, class_numbers: tuple[int, ...], num_frames: int
) -> list[Data]:
    """What is left to score of each class, as TrackEval wants it.

    Results that lie mostly in ignored regions are dropped.

    Args:
        truth: with the ignored regions.
        results: of the same sequence.
        class_numbers: classes to score.
        num_frames: length of the sequence.
    """
    frames = rows_by_frame(truth.frames, results.frames)
    ignored = [_union(truth, rows[truth.classes[rows] == IGNORE]) for rows, _ in frames]
    return [
        _data_of_class(truth, results, number, frames, ignored, num_frames)
        for number in class_numbers
    ]


def _data_of_class(
    truth: MotsRows,
    results: MotsRows,
    number: int,
    frames: Sequence[tuple[IntArray, IntArray]],
    ignored: Sequence[Rle | None],
    num_frames: int,
) -> Data:
    gt_ids, ids, similarities = [], [], []
    for (all_gt_rows, all_rows), region in zip(frames, ignored, strict=True):
        gt_rows = all_gt_rows[truth.classes[all_gt_rows] == number]
        rows = all_rows[results.classes[all_rows] == number]
        masks = _rles(results, rows)
        similarity = _iou(_rles(truth, gt_rows), masks)
        if region is not None:
            # TrackEval spares those that match an object. None can: what lies by more than half in
            # ignored regions, which share no pixel with objects, has an IoU below 0.5 with these.
            kept = _iou(masks, [region], of_first=True)[:, 0] <= _WITHIN + EPSILON
            rows, similarity = rows[kept], similarity[:, kept]
        gt_ids.append(truth.ids[gt_rows])
        ids.append(results.ids[rows])
        similarities.append(similarity)
    return data_of(gt_ids, ids, similarities, num_frames)


def _check_overlap(rows: MotsRows, is_object: BoolArray) -> None:
    """Raise SourceError where objects share pixels; ignored regions may, with each other."""
    for members, _ in rows_by_frame(rows.frames, np.empty(0, np.int64)):
        objects = members[is_object[members]]
        region = _union(rows, members[~is_object[members]])
        masks = _rles(rows, objects) + ([] if region is None else [region])
        if coco.area(coco.merge(masks)) == coco.area(masks).sum():
            continue
        covered = region
        for row, mask in zip(objects.tolist(), masks, strict=False):
            if covered is not None and coco.area(coco.merge([covered, mask], intersect=True)):
                raise rows.text.wrong(
                    row, "masks that share no pixel in a frame", "one on another or on class 10"
                )
            covered = mask if covered is None else coco.merge([covered, mask])


def _union(rows: MotsRows, members: IntArray) -> Rle | None:
    """The masks of these rows as one; None of no rows."""
    if not len(members):
        return None
    merged: Rle = coco.merge(_rles(rows, members))
    return merged


def _rles(rows: MotsRows, members: IntArray) -> list[Rle]:
    return [
        {"size": rows.sizes[row].tolist(), "counts": rows.masks[row]} for row in members.tolist()
    ]


def _iou(first: list[Rle], second: list[Rle], *, of_first: bool = False) -> NDArray[np.float64]:
    """(N, M) shared area over union, or over the area of the first."""
    if not first or not second:
        return np.zeros((len(first), len(second)))
    shares: NDArray[np.float64] = coco.iou(first, second, [of_first] * len(second))
    return shares
