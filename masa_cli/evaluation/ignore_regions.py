"""One frame of results beside its truth, and the parts of it in which results do not count."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from masa_cli.evaluation.regions import (
    Array,
    box_inside,
    box_iou,
    mask_inside,
    mask_iou,
    united,
)
from masa_cli.formats.bdd import BddFrame
from masa_cli.structures import BoolArray

_LEAST = 0.5  # IoU of a pair; share of a box inside a region above which it does not count
_EPSILON = float(np.finfo(float).eps)


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """One frame.

    Attributes:
        gt: what is to be found; (G) objects.
        results: (N) objects.
        iou: (G, N).
        inside: (N,) largest share of each result inside a region that is ignored.
    """

    gt: BddFrame
    results: BddFrame
    iou: Array
    inside: Array

    def of_class(self, label: int) -> Comparison:
        """Both sides of one class; what is ignored stays, whatever its class."""
        rows, columns = self.gt.labels == label, self.results.labels == label
        iou = self.iou[rows][:, columns]
        return Comparison(self.gt[rows], self.results[columns], iou, self.inside[columns])

    def without(self, dropped: BoolArray) -> Comparison:
        """Less some results."""
        kept = ~dropped
        return Comparison(self.gt, self.results[kept], self.iou[:, kept], self.inside[kept])


def compare(
    gt: BddFrame, results: BddFrame, ignored: BoolArray, *, extra: float, unite: bool
) -> Comparison:
    """Compare a frame with its truth.

    Args:
        gt: the truth.
        results: with masks if the truth has masks.
        ignored: which objects of `gt` are regions to be ignored.
        extra: added to each width and height of boxes: 1 where x2, y2 is the last pixel, else 0.
        unite: take ignored masks together; boxes are always taken one by one.
    """
    regions, gt = gt[ignored], gt[~ignored]
    if results.rles:
        iou = mask_iou(gt.rles, results.rles)
        shares = mask_inside(results.rles, united(regions.rles) if unite else regions.rles)
    else:
        iou = box_iou(gt.boxes, results.boxes, extra)
        shares = box_inside(results.boxes, regions.boxes, extra)
    return Comparison(gt, results, iou, shares.max(axis=1, initial=0.0))


def drop_ignored(frame: Comparison) -> Comparison:
    """Drop results in ignored regions, unless they are paired when all pairs fit best together."""
    is_inside = frame.inside > _LEAST + _EPSILON
    if not is_inside.any():
        return frame
    value = np.where(frame.iou >= _LEAST - _EPSILON, frame.iou, 0)
    rows, columns = linear_sum_assignment(value, maximize=True)
    is_inside[columns[value[rows, columns] > _EPSILON]] = False
    return frame.without(is_inside)
