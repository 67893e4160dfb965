"""Masks by colour alone: OpenCV's GrabCut, on a reduced image of each box. No weights needed.

It tells the colours inside the box from those around it, so it is good where these differ, and
never as good as a network that has learned what objects are.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from masa_cli.masks import pack
from masa_cli.structures import BoolArray, FloatArray, Frame, Image, Mask
from masa_cli.threads import allowed

if TYPE_CHECKING:
    from masa_cli.models import SharedNetworks
    from masa_cli.segmenters import SegmenterRequest

_MAX_THREADS = 8  # frames rarely have so many boxes that more would help


@dataclass(frozen=True, slots=True)
class GrabCutSettings:
    """How long it looks, and at what."""

    surroundings: float = 0.2  # of the box's sides, looked at on each side as background
    long_side: int = 144  # pixels that a box with its surroundings is reduced to
    iterations: int = 2
    core: float = 0.5  # part of the ellipse inscribed in the box that always is the object's
    min_share: float = 0.02  # of the box; less is taken for nothing found


def build_grabcut(request: SegmenterRequest, networks: SharedNetworks) -> GrabCutSegmenter:
    """The segmenter; it has no weights and shares nothing."""
    return GrabCutSegmenter()


class GrabCutSegmenter:
    """Refines boxes to masks; a mask never leaves its box.

    Args:
        settings: time and sizes.
    """

    def __init__(self, settings: GrabCutSettings | None = None) -> None:
        self._settings = settings or GrabCutSettings()
        # OpenCV lets others run meanwhile, and each thread has random numbers of its own.
        self._threads = ThreadPoolExecutor(min(allowed(), _MAX_THREADS))

    def segment(self, frame: Frame, boxes: FloatArray) -> Sequence[Mask | None]:
        """See `Segmenter`; each box is looked at by itself."""
        return list(self._threads.map(partial(self._mask, frame.image), boxes))

    def _mask(self, image: Image, box: FloatArray) -> Mask | None:
        height, width = image.shape[:2]
        inner = _Window.around(box, 0.0, width, height)
        outer = _Window.around(box, self._settings.surroundings, width, height)
        if inner.is_empty:
            return None
        scale = min(1.0, self._settings.long_side / max(outer.width, outer.height))
        size = max(1, round(outer.width * scale)), max(1, round(outer.height * scale))
        crop = cv2.resize(image[outer.rows, outer.columns], size, interpolation=cv2.INTER_AREA)
        guess = self._first_guess(inner, outer, size)
        share = _cut(np.ascontiguousarray(crop), guess, self._settings.iterations)
        # Enlarged as a share of object per pixel, so that outlines are not stairs.
        whole = cv2.resize(share, (outer.width, outer.height), interpolation=cv2.INTER_LINEAR)
        pixels: BoolArray = np.asarray(whole)[inner.within(outer)] > 0.5
        if pixels.mean() < self._settings.min_share:
            return None
        return pack(pixels, (inner.x1, inner.y1), (height, width))

    def _first_guess(
        self, inner: _Window, outer: _Window, size: tuple[int, int]
    ) -> NDArray[np.uint8]:
        """(h, w) OpenCV's labels: outside the box is background, inside it probably the object.

        Without a core, small pictures often end as background altogether.
        """
        guess = np.full((outer.height, outer.width), cv2.GC_BGD, np.uint8)
        box = guess[inner.within(outer)]
        y, x = ((np.arange(side) + 0.5) * (2 / side) - 1 for side in box.shape)
        is_core = np.hypot(y[:, None], x) < self._settings.core
        box[:] = np.where(is_core, cv2.GC_FGD, cv2.GC_PR_FGD)
        reduced: NDArray[np.uint8] = cv2.resize(guess, size, interpolation=cv2.INTER_NEAREST)  # type: ignore[assignment]
        return reduced


class _Window(NamedTuple):
    """Whole pixels of a frame, the last ones exclusive."""

    x1: int
    y1: int
    x2: int
    y2: int

    @staticmethod
    def around(box: FloatArray, margin: float, width: int, height: int) -> _Window:
        """The pixels that a box touches, enlarged by a part of its sides, inside the frame."""
        x1, y1, x2, y2 = box.astype(np.float64).tolist()
        dx, dy = (x2 - x1) * margin, (y2 - y1) * margin
        low = np.floor([x1 - dx, y1 - dy])
        high = np.ceil([x2 + dx, y2 + dy])
        limits = [width, height]
        corners = np.concatenate([np.clip(low, 0, limits), np.clip(high, 0, limits)])
        return _Window(*corners.astype(int).tolist())

    @property
    def width(self) -> int:
        return self.x2 - self.x1

    @property
    def height(self) -> int:
        return self.y2 - self.y1

    @property
    def is_empty(self) -> bool:
        return self.width <= 0 or self.height <= 0

    @property
    def rows(self) -> slice:
        return slice(self.y1, self.y2)

    @property
    def columns(self) -> slice:
        return slice(self.x1, self.x2)

    def within(self, outer: _Window) -> tuple[slice, slice]:
        """Its rows and columns, counted from the first of a window around it."""
        return (
            slice(self.y1 - outer.y1, self.y2 - outer.y1),
            slice(self.x1 - outer.x1, self.x2 - outer.x1),
        )


def _cut(image: Image, labels: NDArray[np.uint8], iterations: int) -> NDArray[np.float32]:
    """(h, w) 1 for pixels of the object, 0 for others; all 0 where nothing tells them apart.

    The cut starts from clusters of colours, found from random beginnings: these are always the
    same, so that a frame has the same masks in every run.
    """
    is_background = labels == cv2.GC_BGD
    if not is_background.any() or is_background.all() or np.ptp(image) == 0:
        return np.zeros(labels.shape, np.float32)
    background, foreground = np.zeros((2, 1, 65))  # OpenCV's own records
    no_rectangle = (0, 0, 0, 0)
    mode = cv2.GC_INIT_WITH_MASK
    cv2.setRNGSeed(0)
    cv2.grabCut(image, labels, no_rectangle, background, foreground, iterations, mode)
    return np.isin(labels, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.float32)
