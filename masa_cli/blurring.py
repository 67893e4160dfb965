"""Boxes made unrecognisable in a picture, for privacy."""

from __future__ import annotations

import cv2
import numpy as np

from masa_cli.structures import FloatArray, Image

CELLS = 5  # as many means are left of a box in each direction: too few for a face or a number plate
MARGIN = 0.1  # of the box's width and height, hidden all around: boxes are not exact


def hide(image: Image, boxes: FloatArray) -> None:
    """Replace what the boxes show by a few colours that run into each other, in place.

    Means of large cells, unlike a Gaussian blur, cannot be undone: what is gone is gone.

    Args:
        image: (H, W, 3) uint8.
        boxes: (N, 4) xyxy; parts outside the image do not matter.
    """
    height, width = image.shape[:2]
    margin = MARGIN * (boxes[:, 2:] - boxes[:, :2])
    first = np.clip(np.floor(boxes[:, :2] - margin), 0, (width, height)).astype(int)
    last = np.clip(np.ceil(boxes[:, 2:] + margin), 0, (width, height)).astype(int)
    for (x1, y1), (x2, y2) in zip(first.tolist(), last.tolist(), strict=True):
        if x1 < x2 and y1 < y2:
            view = image[y1:y2, x1:x2]
            cells = min(CELLS, x2 - x1), min(CELLS, y2 - y1)
            few = cv2.resize(view, cells, interpolation=cv2.INTER_AREA)
            view[:] = cv2.resize(few, (x2 - x1, y2 - y1), interpolation=cv2.INTER_LINEAR)
