"""How well boxes with scores find true ones: average precision at an overlap of a half."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

Row = dict[str, Any]  # as COCO has annotations and results


def average_precisions(
    truth: Sequence[Row], found: Sequence[Row], images: Sequence[int]
) -> dict[int, float]:
    """By category, 0 to 1, for those that are there: by COCO's rules, at IoU 0.5 alone.

    Args:
        truth: annotations; those that are `iscrowd` are places to ignore.
        found: results with scores.
        images: numbers of all images.
    """
    categories = sorted({row["category_id"] for row in truth if not row["iscrowd"]})
    if not categories or not found:
        return dict.fromkeys(categories, 0.0)
    data = COCO()
    data.dataset = {
        "images": [{"id": number} for number in images],
        "annotations": [row | {"id": number} for number, row in enumerate(truth, start=1)],
        "categories": [{"id": number} for number in categories],
    }
    with contextlib.redirect_stdout(io.StringIO()):  # it reports on itself
        data.createIndex()
        evaluation = COCOeval(data, data.loadRes([dict(row) for row in found]), "bbox")
        evaluation.params.iouThrs = np.array([0.5])
        evaluation.params.maxDets = [1, 10, 100]
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval["precision"][0, :, :, 0, 2]  # (recall, category)
    return {
        int(category): float(column[column > -1].mean())
        for category, column in zip(evaluation.params.catIds, precision.T, strict=True)
        if (column > -1).any()
    }


def rows_of(image: int, boxes: np.ndarray, categories: Sequence[int]) -> list[Row]:
    """Boxes (N, 4) xyxy of an image as COCO has them, without what truth or results add."""
    corners = boxes.astype(float)
    sides = corners[:, 2:] - corners[:, :2]
    return [
        {"image_id": image, "category_id": int(category), "bbox": [*corner, *side]}
        | {"area": side[0] * side[1], "iscrowd": 0}
        for corner, side, category in zip(
            corners[:, :2].tolist(), sides.tolist(), categories, strict=True
        )
    ]
