"""How boxes and masks overlap, where some metrics count the pixel at the end of a box."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco

from masa_cli.boxes import area, intersection
from masa_cli.boxes import iou as boxes_iou
from masa_cli.formats.bdd_masks import Rle

Array: TypeAlias = NDArray[np.float64]


def box_iou(first: Array, second: Array, extra: float) -> Array:
    """(N, M) intersection over union.

    Args:
        first: (N, 4) xyxy.
        second: (M, 4) xyxy.
        extra: added to each width and height: 1 where x2, y2 is the last pixel, else 0.
    """
    return boxes_iou(_extended(first, extra), _extended(second, extra))


def box_inside(boxes: Array, regions: Array, extra: float) -> Array:
    """(N, M) share of each box that lies in each region; `extra` as in box_iou."""
    boxes = _extended(boxes, extra)
    shared = intersection(boxes, _extended(regions, extra))
    whole = np.broadcast_to(area(boxes)[:, None], shared.shape)
    return np.divide(shared, whole, out=np.zeros_like(shared), where=whole > 0)


def mask_iou(first: Sequence[Rle], second: Sequence[Rle]) -> Array:
    """(N, M) intersection over union of masks of one size."""
    return _compare_masks(first, second, is_region=False)


def mask_inside(masks: Sequence[Rle], regions: Sequence[Rle]) -> Array:
    """(N, M) share of each mask that lies in each region, all of one size."""
    return _compare_masks(masks, regions, is_region=True)


def united(masks: Sequence[Rle]) -> tuple[Rle, ...]:
    """One mask of all, or none."""
    return (coco.merge(list(masks)),) if masks else ()


def separate(masks: Sequence[Rle], scores: Array) -> list[Rle]:
    """Give each pixel to the mask with the highest score, the first of equals; masks of one size.

    Masks may be left empty.
    """
    shared = mask_iou(masks, masks) > 0
    np.fill_diagonal(shared, False)
    kept = list(masks)
    if not shared.any():
        return kept
    taken = np.zeros(masks[0]["size"], bool)
    for place in np.argsort(-scores, kind="stable").tolist():
        if shared[place].any():
            mask = coco.decode(masks[place]).astype(bool)
            if (mask & taken).any():
                kept[place] = coco.encode(np.asfortranarray(mask & ~taken, dtype=np.uint8))
            taken |= mask
    return kept


def mask_area(masks: Sequence[Rle]) -> NDArray[np.int64]:
    """(N,) pixels of each mask."""
    return np.asarray(coco.area(list(masks)), np.int64).reshape(-1)


def _compare_masks(first: Sequence[Rle], second: Sequence[Rle], *, is_region: bool) -> Array:
    if not first or not second:
        return np.zeros((len(first), len(second)))
    kinds = [int(is_region)] * len(second)
    shares = coco.iou(list(first), list(second), kinds)
    return np.nan_to_num(np.asarray(shares, np.float64))  # empty in empty is 0 / 0


def _extended(boxes: Array, extra: float) -> Array:
    """(N, 4) boxes that end so much further right and below."""
    return boxes + np.array([0, 0, extra, extra], np.float64)
