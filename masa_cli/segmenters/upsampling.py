"""From small maps of logits to pixels of the frame, a window at a time.

The reference enlarges each map to the padded picture, cuts the padding off, and resizes the rest
to the frame, bilinear both times. Each of these steps is a matrix; their product takes a map to
any part of the frame at once, so no mask is ever larger than its object.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from masa_cli.masks import pack
from masa_cli.structures import BoolArray, FloatArray, IntArray, Mask


@dataclass(frozen=True, slots=True)
class WindowSettings:
    """What becomes of a map of logits."""

    margin: float = 0.25  # of the box's sides: so far beyond the box a mask may reach
    speck_share: float = 0.02  # of the mask; smaller islands vanish, smaller holes are filled


class MaskWindows:
    """Makes masks of frames of one size.

    Args:
        side: cells per side of a map, which covers the whole padded picture.
        padded: pixels per side of that picture.
        filled: height and width of the part of it that shows the frame.
        size: height and width of the frame.
        settings: what becomes of the logits.
    """

    def __init__(
        self,
        side: int,
        padded: int,
        filled: tuple[int, int],
        size: tuple[int, int],
        settings: WindowSettings,
    ) -> None:
        self.key = filled, size
        self._size, self._settings = size, settings
        self._rows, self._columns = (
            _Axis.over(side, padded, *lengths) for lengths in zip(filled, size, strict=True)
        )

    def mask(self, logits: FloatArray, box: FloatArray) -> Mask | None:
        """The mask of an object, without specks; None if nothing of it is near the box.

        Args:
            logits: (side, side), above 0 where the object is.
            box: (4,) xyxy in source pixels.
        """
        is_object = logits > 0
        x1, y1, x2, y2 = box.astype(np.float64).tolist()
        dx, dy = (x2 - x1) * self._settings.margin, (y2 - y1) * self._settings.margin
        marked_rows, marked_columns = (np.flatnonzero(is_object.any(axis=axis)) for axis in (1, 0))
        rows = self._rows.touched(marked_rows, y1 - dy, y2 + dy)
        columns = self._columns.touched(marked_columns, x1 - dx, x2 + dx)
        if rows.start >= rows.stop or columns.start >= columns.stop:
            return None
        pixels = self.enlarged(logits, rows, columns) > 0
        pixels = without_specks(pixels, self._settings.speck_share)
        return pack(pixels, (columns.start, rows.start), self._size)

    def enlarged(self, logits: FloatArray, rows: slice, columns: slice) -> FloatArray:
        """The logits of some rows and columns of the frame."""
        (down, near_rows), (across, near_columns) = (
            axis.part(places) for axis, places in ((self._rows, rows), (self._columns, columns))
        )
        enlarged: FloatArray = down @ logits[near_rows, near_columns] @ across.T
        return enlarged


@dataclass(frozen=True, slots=True, eq=False)
class _Axis:
    """How rows, or columns, of the frame are mixed from those of a map.

    Attributes:
        weights: (pixels, cells) float32, each row sums to 1.
        first: (pixels,) the first cell with a weight.
        last: (pixels,) the last one.
    """

    weights: FloatArray
    first: IntArray
    last: IntArray

    @staticmethod
    def over(side: int, padded: int, filled: int, size: int) -> _Axis:
        shown = _bilinear(side, padded)[:filled]
        weights = (_bilinear(filled, size) @ shown).astype(np.float32)
        has_weight = weights > 0
        first, backwards = has_weight.argmax(axis=1), has_weight[:, ::-1].argmax(axis=1)
        return _Axis(weights, first, side - 1 - backwards)

    def touched(self, marked: IntArray, low: float, high: float) -> slice:
        """The pixels within two limits that marked cells have a part in, and those between."""
        if not len(marked):
            return slice(0, 0)
        start = np.searchsorted(self.last, marked[0])
        stop = np.searchsorted(self.first, marked[-1], side="right")
        limits = np.clip([np.floor(low), np.ceil(high)], 0, len(self.weights)).astype(int)
        return slice(max(int(start), int(limits[0])), min(int(stop), int(limits[1])))

    def part(self, pixels: slice) -> tuple[FloatArray, slice]:
        """The weights of some pixels, and the cells these are for."""
        cells = slice(int(self.first[pixels.start]), int(self.last[pixels.stop - 1]) + 1)
        return self.weights[pixels, cells], cells


def _bilinear(length: int, target: int) -> NDArray[np.float64]:
    """(target, length) resizing as a matrix, between middles of pixels, edges repeated."""
    places = np.maximum((np.arange(target) + 0.5) * (length / target) - 0.5, 0)
    low = np.minimum(places.astype(int), length - 1)
    share = places - low
    weights = np.zeros((target, length))
    rows = np.arange(target)
    weights[rows, low] = 1 - share
    weights[rows, np.minimum(low + 1, length - 1)] += share
    return weights


def without_specks(pixels: BoolArray, share: float) -> BoolArray:
    """A mask (h, w) whose islands and holes all have at least that share of its area."""
    least = share * float(pixels.sum())
    kept = _without_small(pixels, least)
    # With a rim of background around it, what reaches the rim is no hole.
    around = np.pad(~kept, 1, constant_values=True)
    solid: BoolArray = ~_without_small(around, least)[1:-1, 1:-1]
    return solid


def _without_small(pixels: BoolArray, least: float) -> BoolArray:
    """Only the connected parts (by edges) of at least so many pixels."""
    count, labels, facts, _ = cv2.connectedComponentsWithStats(
        pixels.astype(np.uint8), connectivity=4, ltype=cv2.CV_32S
    )
    if count <= 2:
        return pixels
    kept = facts[:, cv2.CC_STAT_AREA] >= least
    kept[0] = False
    result: BoolArray = kept[labels]
    return result
