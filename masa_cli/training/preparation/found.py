"""A region as it is found, before anything is written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import cv2
import numpy as np
from pycocotools import mask as coco

from masa_cli.structures import BoolArray, FloatArray, Image, IntArray

OBJECT = "object"  # the class of what has no class


@dataclass(frozen=True, slots=True, eq=False)
class FoundRegion:
    """One region of an image.

    Attributes:
        box: left, top, width, height, pixels.
        area: pixels.
        mask: COCO's compressed run lengths, where there is more than a box.
        outline: (K, 2) x, y, corners of its convex hull; None: those of the box.
        name: of its class.
    """

    box: tuple[float, float, float, float]
    area: float
    mask: Mapping[str, Any] | None = None
    outline: FloatArray | None = None
    name: str = OBJECT

    @staticmethod
    def of_pixels(pixels: BoolArray, name: str = OBJECT) -> FoundRegion | None:
        """The region of the true pixels, (H, W); None if there are none."""
        packed = coco.encode(np.asfortranarray(pixels, np.uint8))
        area = float(coco.area(packed))
        if not area:
            return None
        left, top, width, height = coco.toBbox(packed).tolist()
        mask = {"size": packed["size"], "counts": packed["counts"].decode()}
        return FoundRegion((left, top, width, height), area, mask, hull_of(pixels), name)

    @staticmethod
    def of_box(
        left: float, top: float, width: float, height: float, name: str = OBJECT
    ) -> FoundRegion:
        """The region that is all of a box."""
        return FoundRegion((left, top, width, height), width * height, name=name)


def hull_of(pixels: BoolArray) -> FloatArray:
    """(K, 2) x, y: the convex hull of the true pixels, each a square of side 1."""
    rows, columns = np.nonzero(pixels)
    # Of each row the first and the last pixel are enough.
    tops, first = np.unique(rows, return_index=True)
    last = np.append(first[1:], len(rows)) - 1
    left = np.stack([columns[first], tops], axis=1)
    right = np.stack([columns[last] + 1, tops], axis=1)
    corners = np.concatenate(
        [left, left + np.array([0, 1]), right, right + np.array([0, 1])]
    ).astype(np.float32)
    hull: FloatArray = cv2.convexHull(corners).reshape(-1, 2)  # type: ignore[assignment]
    return hull


def of_labels(labels: IntArray) -> Iterator[FoundRegion]:
    """The regions of a map of labels (H, W): one for each number above 0."""
    for number in np.unique(labels[labels > 0]).tolist():
        region = FoundRegion.of_pixels(labels == number)
        if region is not None:
            yield region


class RegionSource(Protocol):
    """Knows or finds the regions of images."""

    def regions(self, name: str, image: Image) -> list[FoundRegion] | None:
        """Those of an image; None: nothing is known of this one.

        Args:
            name: of the image's file, relative to the folder of images.
            image: (H, W, 3) uint8 RGB.

        Raises:
            SourceError: what is known of it cannot be read.
        """
        ...
