"""How much of an object is to be seen: hidden by another, cut by the frame's edge, or gone."""

from __future__ import annotations

import numpy as np

from masa_cli.boxes import area, intersection
from masa_cli.structures import BoolArray, FloatArray


def are_hidden(overlap: FloatArray, clear_iou: float) -> BoolArray:
    """(N,) whether another box of the frame hides each.

    Args:
        overlap: (N, N) intersection over union of the frame's boxes.
        clear_iou: overlap up to which both are seen clearly.
    """
    hides = overlap > clear_iou
    np.fill_diagonal(hides, False)
    hidden: BoolArray = np.any(hides, axis=1)
    return hidden


def are_whole(boxes: FloatArray, frame_size: tuple[int, int] | None, edge_gap: float) -> BoolArray:
    """(N,) whether the frame's edge cuts nothing off; all, where the frame is not known.

    Args:
        boxes: (N, 4) xyxy, pixels.
        frame_size: width and height, pixels.
        edge_gap: least distance from the edge, box heights.
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
