"""How an image is made the input of an exported detector, and its boxes those of the image.

Each family fits, rounds and pads in its own way, and its network learned that way.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from PIL import Image as Pillow

from masa_cli.structures import FloatArray, Image

# Into the middle, or the upper left corner, of a padded input; to its size, whatever the ratio.
Fit = Literal["centre", "corner", "stretch"]
_CV_MODES = {"linear": cv2.INTER_LINEAR, "area": cv2.INTER_AREA}


@dataclass(frozen=True, slots=True)
class NetworkInput:
    """What a family of networks wants to be shown.

    Attributes:
        fit: how an image gets the size of the input.
        pad: what is around it, 0 to 255.
        order: of the channels.
        mean, std: taken off, and divided by, in that order of channels; numbers are 0 to 255.
        resize: OpenCV's "linear" and "area", or Pillow's "antialias".
        truncates: whether the fitted sides are cut off to whole pixels, instead of rounded.
        margin: pixels of the input, of both sides together, that stay empty.
        shrinks: whether an input of any size ends where the image does, at the next stride.
    """

    fit: Fit
    pad: int = 114
    order: Literal["rgb", "bgr"] = "rgb"
    mean: tuple[float, float, float] = (0, 0, 0)
    std: tuple[float, float, float] = (255, 255, 255)
    resize: Literal["linear", "area", "antialias"] = "linear"
    truncates: bool = False
    margin: int = 0
    shrinks: bool = False


PLAIN = NetworkInput("stretch")


@dataclass(frozen=True, slots=True)
class Placement:
    """Where an image is within the input: its scale, and the pixels left of it and above."""

    scale: tuple[float, float]  # of x, of y
    offset: tuple[int, int] = (0, 0)

    def to_source(self, boxes: FloatArray) -> FloatArray:
        """(N, 4) boxes of the input in pixels of the image."""
        offset, scale = np.tile(self.offset, 2), np.tile(self.scale, 2)
        placed: FloatArray = ((boxes - offset) / scale).astype(np.float32)
        return placed


def place(image: Image, wanted: NetworkInput, size: tuple[int, int]) -> tuple[Image, Placement]:
    """The image within an input, uint8 in RGB, and where it is.

    Args:
        image: of the source.
        wanted: how it is placed.
        size: height and width of the input.
    """
    height, width = image.shape[:2]
    if wanted.fit == "stretch":
        scale = size[1] / width, size[0] / height
        return _resized(image, size, wanted), Placement(scale)
    ratio = min((size[0] - wanted.margin) / height, (size[1] - wanted.margin) / width)
    whole = int if wanted.truncates else round
    inner = max(1, whole(height * ratio)), max(1, whole(width * ratio))
    # Where pixels are left over in pairs: an odd one is below or to the right.
    is_centred = wanted.fit == "centre"
    top = (size[0] - inner[0]) // 2 if is_centred else 0
    left = (size[1] - inner[1]) // 2 if is_centred else 0
    canvas = np.full((*size, 3), wanted.pad, np.uint8)
    canvas[top : top + inner[0], left : left + inner[1]] = _resized(image, inner, wanted)
    return canvas, Placement((ratio, ratio), (left, top))


def shrunk(
    image: Image, wanted: NetworkInput, size: tuple[int, int], stride: int
) -> tuple[int, int]:
    """Height and width of the smallest input within `size` that shows the image as large."""
    height, width = image.shape[:2]
    ratio = min(size[0] / height, size[1] / width)
    inner = round(height * ratio), round(width * ratio)
    return -(-inner[0] // stride) * stride, -(-inner[1] // stride) * stride


def _resized(image: Image, size: tuple[int, int], wanted: NetworkInput) -> Image:
    if image.shape[:2] == size:
        return image
    resized: Image
    if wanted.resize == "antialias":
        small = Pillow.fromarray(image).resize((size[1], size[0]), Pillow.Resampling.BILINEAR)
        resized = np.array(small, np.uint8)
        return resized
    mode = _CV_MODES[wanted.resize]
    resized = np.asarray(cv2.resize(image, (size[1], size[0]), interpolation=mode), np.uint8)
    return resized


def normalised(image: Image, wanted: NetworkInput) -> FloatArray:
    """(H, W, 3) float32, in the order and the range that the network wants."""
    numbers: FloatArray = image.astype(np.float32)
    if wanted.order == "bgr":
        numbers = numbers[..., ::-1]
    numbers -= np.array(wanted.mean, np.float32)
    numbers /= np.array(wanted.std, np.float32)
    return numbers
