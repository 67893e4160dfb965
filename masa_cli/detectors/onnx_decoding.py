"""What outputs of exported detectors mean: from numbers of one image to boxes, scores and labels.

Each function follows the program that its family comes from, also in where the centre of a cell is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from masa_cli.structures import FloatArray

# (N, 4) xyxy, (N,) scores, (N,) labels as the network has them.
Decoded = tuple[FloatArray, FloatArray, FloatArray]

STRIDES, MORE_STRIDES = (8, 16, 32), (8, 16, 32, 64)
_LARGEST_LOG = 16.0  # what a YOLOX gives before it is decoded is less, pixels are more


@dataclass(frozen=True, slots=True)
class Context:
    """What decoding needs beside the outputs."""

    size: tuple[int, int]  # height and width of the network input
    num_classes: int
    num_further: int
    min_score: float  # boxes below may be left out


# Raw heads: a row or column for each cell.


def _xyxy(xywh: FloatArray) -> FloatArray:
    half: FloatArray = np.multiply(xywh[:, 2:4], 0.5, dtype=np.float32)
    return np.concatenate([xywh[:, :2] - half, xywh[:, :2] + half], axis=1)


def _best(scores: FloatArray, boxes: FloatArray, least: float) -> Decoded:
    """The best class of each box, (N, C), where it is good enough."""
    best = scores.max(axis=1, initial=0)
    (rows,) = (best >= least).nonzero()
    return boxes[rows], best[rows], scores[rows].argmax(axis=1).astype(np.float32)


def decode_yolov8(outputs: Sequence[FloatArray], about: Context) -> Decoded:
    """YOLOv8: a box, and the scores of its classes."""
    head = outputs[0]  # (4 + C + further, N), or turned
    columns = 4 + about.num_classes + about.num_further
    rows = head.T if head.shape[0] == columns else head
    boxes, scores, labels = _best(rows[:, 4 : 4 + about.num_classes], rows[:, :4], about.min_score)
    return _xyxy(boxes), scores, labels


def decode_yolov5(outputs: Sequence[FloatArray], about: Context) -> Decoded:
    """YOLOv5: a box, its objectness, and the shares of its classes."""
    rows = outputs[0]  # (N, 5 + C + further)
    rows = rows[rows[:, 4] >= about.min_score]  # their product is no more
    scores = rows[:, 4:5] * rows[:, 5 : 5 + about.num_classes]
    boxes, best, labels = _best(scores, rows[:, :4], about.min_score)
    return _xyxy(boxes), best, labels


def decode_yolox(outputs: Sequence[FloatArray], about: Context) -> Decoded:
    """YOLOX: as YOLOv5, unless boxes are still offsets from their cells."""
    rows = outputs[0]  # (N, 5 + C)
    if rows[:, :4].max(initial=0) > _LARGEST_LOG:  # it was exported with its decoding
        return decode_yolov5(outputs, about)
    strides = STRIDES if len(rows) == num_cells(about.size, STRIDES) else MORE_STRIDES
    corners, steps = _grid(about.size, strides)
    scores = rows[:, 4:5] * rows[:, 5 : 5 + about.num_classes]
    centres = (rows[:, :2] + corners) * steps
    sizes = np.exp(np.minimum(rows[:, 2:4], _LARGEST_LOG)) * steps
    boxes, best, labels = _best(scores, np.concatenate([centres, sizes], 1), about.min_score)
    return _xyxy(boxes), best, labels


def num_cells(size: tuple[int, int], strides: Sequence[int]) -> int:
    """Of the grids of these strides over an input of (height, width)."""
    return sum(-(-size[0] // s) * -(-size[1] // s) for s in strides)


def _grid(size: tuple[int, int], strides: Sequence[int]) -> tuple[FloatArray, FloatArray]:
    """(N, 2) column and row of each cell, (N, 1) its stride; stride by stride, row by row."""
    places, steps = [], []
    for stride in strides:
        y, x = np.mgrid[: -(-size[0] // stride), : -(-size[1] // stride)]
        places.append(np.stack([x.ravel(), y.ravel()], axis=1).astype(np.float32))
        steps.append(np.full((x.size, 1), stride, np.float32))
    return np.concatenate(places), np.concatenate(steps)


def _distances(bins: FloatArray) -> FloatArray:
    """(N, 4) the means of distributions over whole distances, (N, 4 * bins) before softmax."""
    spread = bins.reshape(len(bins), 4, bins.shape[1] // 4)
    spread = np.exp(spread - spread.max(axis=2, keepdims=True))
    means: FloatArray = (spread @ np.arange(spread.shape[2], dtype=np.float32)) / spread.sum(2)
    return means


def _around(centres: FloatArray, distances: FloatArray) -> FloatArray:
    return np.concatenate([centres - distances[:, :2], centres + distances[:, 2:]], axis=1)


def decode_gfl(outputs: Sequence[FloatArray], about: Context) -> Decoded:
    """Of NanoDet and PicoDet: a map of classes and one of distances for each stride."""
    levels = len(outputs) // 2
    found = []
    for level in range(levels):
        corners, steps = _grid(about.size, [STRIDES[0] * 2**level])
        bins = outputs[levels + level]
        (rows,) = (outputs[level].max(axis=1) >= about.min_score).nonzero()
        centres = corners[rows] * steps[rows] + (steps[rows] - 1) / 2  # between the pixels
        boxes = _around(centres, _distances(bins[rows]) * steps[rows])
        found.append(_best(outputs[level][rows], boxes, about.min_score))
    boxes, scores, labels = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return boxes, scores, labels


def decode_nanodet_plus(outputs: Sequence[FloatArray], about: Context) -> Decoded:
    """NanoDet-Plus: scores of classes, and distances from a corner of the cell."""
    rows = outputs[0]  # (N, C + 4 * bins)
    corners, steps = _grid(about.size, MORE_STRIDES)
    scores, bins = rows[:, : about.num_classes], rows[:, about.num_classes :]
    return _best(scores, _around(corners * steps, _distances(bins) * steps), about.min_score)


def decode_fastestdet(outputs: Sequence[FloatArray], about: Context) -> Decoded:
    """One map: objectness, offsets of the centre, sizes, classes; boxes are shares."""
    head = outputs[0]  # (5 + C, H, W)
    _, height, width = head.shape
    cells = head.reshape(len(head), -1)
    y, x = (each.ravel() for each in np.mgrid[:height, :width])
    centres = np.stack([(np.tanh(cells[1]) + x) / width, (np.tanh(cells[2]) + y) / height], 1)
    sizes = 1 / (1 + np.exp(-cells[3:5].T))
    scores = (cells[0] ** 0.6 * cells[5:] ** 0.4).T
    found, best, labels = _best(scores, np.concatenate([centres, sizes], 1), about.min_score)
    return _xyxy(found).astype(np.float32), best, labels


# Rows of finished boxes.


def boxes_in_columns(
    outputs: Sequence[FloatArray], about: Context, *, box: int, score: int, label: int
) -> Decoded:
    """Rows of finished boxes; where each begins, its score and its label are."""
    rows = outputs[0].reshape(-1, outputs[0].shape[-1])
    rows = rows[rows[:, score] >= about.min_score]
    return rows[:, box : box + 4], rows[:, score], rows[:, label]


def boxes_in_lists(outputs: Sequence[FloatArray], about: Context) -> Decoded:
    """Boxes, scores and labels."""
    boxes, scores, labels = outputs[0].reshape(-1, 4), outputs[1].ravel(), outputs[2].ravel()
    (rows,) = (scores >= about.min_score).nonzero()
    return boxes[rows], scores[rows], labels[rows]


def boxes_in_lists_of_tensorflow(outputs: Sequence[FloatArray], about: Context) -> Decoded:
    """The same, with y before x."""
    boxes, scores, labels = boxes_in_lists(outputs, about)
    return boxes[:, [1, 0, 3, 2]], scores, labels


def boxes_with_matrix(outputs: Sequence[FloatArray], about: Context) -> Decoded:
    """Boxes, and the scores of all classes for each."""
    return _best(outputs[1], outputs[0], about.min_score)


def scored_boxes_in_lists(outputs: Sequence[FloatArray], about: Context) -> Decoded:
    """Boxes with their scores in the same rows, and labels."""
    return boxes_in_lists([outputs[0][:, :4], outputs[0][:, 4], outputs[1]], about)


def decode_ultralytics_rtdetr(outputs: Sequence[FloatArray], about: Context) -> Decoded:
    """RT-DETR of Ultralytics: shares of the image, and the scores of all classes."""
    rows = outputs[0]  # (Q, 4 + C), shares of the image
    boxes, scores, labels = _best(rows[:, 4 : 4 + about.num_classes], rows[:, :4], about.min_score)
    return _xyxy(boxes), scores, labels


def decode_sigmoid(outputs: Sequence[FloatArray], about: Context) -> Decoded:
    """Of RT-DETR and others: the best pairs of a query and a class, as many as queries."""
    logits = outputs[1][:, : about.num_classes]  # (Q, C)
    scores: FloatArray = np.divide(1, 1 + np.exp(-logits), dtype=np.float32)
    order = np.argsort(-scores.ravel(), kind="stable")[: len(scores)]
    order = order[scores.ravel()[order] >= about.min_score]
    queries, labels = np.divmod(order, max(scores.shape[1], 1))
    return _xyxy(outputs[0][queries]), scores.ravel()[order], labels.astype(np.float32)


def decode_softmax(outputs: Sequence[FloatArray], about: Context) -> Decoded:
    """Of DETR and YOLOS: the last class is none."""
    logits = outputs[1]
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares /= shares.sum(axis=1, keepdims=True)
    boxes, scores, labels = _best(shares[:, :-1], outputs[0], about.min_score)
    return _xyxy(boxes), scores, labels
