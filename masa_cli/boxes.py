"""Geometry of boxes, on plain numpy arrays: (N, 4) xyxy in pixels, width = x2 - x1 (no + 1)."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from masa_cli.structures import BoolArray, FloatArray

# Trackers work in float32, metrics in float64; the result is of the precision that was given.
Numbers = TypeVar("Numbers", FloatArray, NDArray[np.float64])


def xywh_to_xyxy(xywh: Numbers) -> Numbers:
    """(N, 4) left, top, width, height to (N, 4) xyxy."""
    return np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1)


def xyxy_to_xywh(boxes: FloatArray) -> FloatArray:
    """(N, 4) xyxy to (N, 4) left, top, width, height."""
    return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)


def area(boxes: Numbers) -> Numbers:
    """(N,) area in square pixels."""
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def centres(boxes: FloatArray) -> FloatArray:
    """(N, 2) centre x, y."""
    middle: FloatArray = np.multiply(boxes[:, :2] + boxes[:, 2:], 0.5, dtype=np.float32)
    return middle


def intersection(first: Numbers, second: Numbers) -> Numbers:
    """(N, M) area shared by each box of `first` with each of `second`, in square pixels."""
    # One coordinate at a time: a (N, M, 2) temporary costs twice the time at 300 boxes.
    width = np.minimum(first[:, None, 2], second[None, :, 2])
    width -= np.maximum(first[:, None, 0], second[None, :, 0])
    height = np.minimum(first[:, None, 3], second[None, :, 3])
    height -= np.maximum(first[:, None, 1], second[None, :, 1])
    np.maximum(width, 0, out=width)
    np.maximum(height, 0, out=height)
    return width * height


def iou(first: Numbers, second: Numbers) -> Numbers:
    """(N, M) intersection over union; 0 where both boxes are empty."""
    shared = intersection(first, second)
    union = area(first)[:, None] + area(second)[None, :]
    union -= shared
    np.maximum(union, 1e-6, out=union)  # empty boxes have no union: 0 / 1e-6 = 0
    shared /= union
    return shared


def wholly_outside(boxes: FloatArray, width: int, height: int) -> BoolArray:
    """(N,) which boxes share no area with an image of this size."""
    return (
        (boxes[:, 0] >= width) | (boxes[:, 1] >= height) | (boxes[:, 2] <= 0) | (boxes[:, 3] <= 0)
    )


def are_occluded(overlap: FloatArray, occlusion_iou: float) -> BoolArray:
    """(N,) whether another box of the frame occludes each.

    Args:
        overlap: (N, N) intersection over union of the frame's boxes.
        occlusion_iou: overlap up to which both count as unoccluded.
    """
    occludes = overlap > occlusion_iou
    np.fill_diagonal(occludes, False)
    occluded: BoolArray = np.any(occludes, axis=1)
    return occluded


_DUPLICATE_IOU = 0.7  # boxes that overlap by more show one object,
_DUPLICATE_INSIDE = 0.9  # and so does one of which more is inside one of about its size


def are_duplicates(boxes: FloatArray, tracked: BoolArray) -> BoolArray:
    """(N,) which boxes show an object that a tracked box of the frame shows already.

    Args:
        boxes: (N, 4) xyxy.
        tracked: (N,) which of them are of objects that are known.
    """
    near = iou(boxes, boxes[tracked])
    shares = intersection(boxes, boxes[tracked]) / np.maximum(area(boxes), 1e-6)[:, None]
    inside = (shares > _DUPLICATE_INSIDE) & (near > _DUPLICATE_IOU / 2)
    duplicates: BoolArray = np.any((near > _DUPLICATE_IOU) | inside, axis=1)
    return duplicates


def are_untruncated(
    boxes: FloatArray, frame_size: tuple[int, int] | None, edge_gap: float
) -> BoolArray:
    """(N,) whether the frame's edge cuts nothing off; all, where the frame is not known.

    Args:
        boxes: (N, 4) xyxy, pixels.
        frame_size: width and height, pixels.
        edge_gap: smallest distance from the edge, box heights.
    """
    if frame_size is None:
        return np.ones(len(boxes), np.bool_)
    gap = edge_gap * (boxes[:, 3:] - boxes[:, 1:2])
    within = (boxes[:, :2] > gap) & (boxes[:, 2:] < np.array(frame_size) - gap)
    whole: BoolArray = np.all(within, axis=1)
    return whole


def share_inside(boxes: FloatArray, frame_size: tuple[int, int] | None) -> FloatArray:
    """(N,) share of each box's area inside the frame, 0 to 1; 1 where the frame is not known."""
    if frame_size is None:
        return np.ones(len(boxes), np.float32)
    frame = np.array([[0, 0, *frame_size]], np.float32)
    inside = intersection(boxes, frame)[:, 0]
    share: FloatArray = np.divide(inside, np.maximum(area(boxes), 1e-6), dtype=np.float32)
    return share
