"""Frames as networks want them: the edge at which pixels become tensors (spec section 2)."""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from masa_cli.models.variants import Picture
from masa_cli.structures import FloatArray, Image

_FILTERS = MappingProxyType({"linear": cv2.INTER_LINEAR, "area": cv2.INTER_AREA})


def picture_size(image: Image, picture: Picture) -> tuple[int, int]:
    """Height and width that a frame is resized to, in its own proportions, before padding."""
    sides = image.shape[:2]
    scale = min(picture.long_side / max(sides), picture.short_side / min(sides))
    if not picture.enlarges:
        scale = min(1.0, scale)
    height, width = (max(1, int(side * scale + 0.5)) for side in sides)
    return height, width


def to_tensor(
    images: Sequence[Image],
    picture: Picture,
    mean: tuple[float, float, float],
    std: tuple[float, float, float],
    device: torch.device,
    dtype: torch.dtype,
) -> tuple[Tensor, tuple[int, int]]:
    """Pictures of one size as a backbone's input.

    Args:
        images: B pictures, (H, W, 3) uint8 RGB.
        picture: how to prepare them.
        mean: RGB, of values in 0..1, subtracted.
        std: RGB, by which what is left is divided.
        device: where the tensor shall be.
        dtype: of the tensor.

    Returns:
        (B, 3, height, width), padded at the right and below with the mean colour; height and
        width without the padding.
    """
    resized = np.stack([_resized(image, picture) for image in images])
    # Bytes, where they stay bytes, travel to the device in a quarter of the time.
    x = torch.from_numpy(resized).to(device).permute(0, 3, 1, 2)  # (B, 3, height, width)
    means, deviations = (
        torch.tensor(values, device=device).view(1, 3, 1, 1) * 255 for values in (mean, std)
    )
    x = (x.float() - means) / deviations
    height, width = x.shape[2:]
    x = F.pad(x, (0, -width % picture.divisor, 0, -height % picture.divisor))
    return x.to(dtype), (height, width)


def _resized(image: Image, picture: Picture) -> NDArray[np.uint8] | NDArray[np.float32]:
    height, width = picture_size(image, picture)
    source = image if picture.rounds else image.astype(np.float32)
    if (height, width) == image.shape[:2]:
        return source
    return cv2.resize(source, (width, height), interpolation=_FILTERS[picture.filter])  # type: ignore[return-value]


def boxes_in_picture(
    boxes: FloatArray, image: Image, size: tuple[int, int], *, clips: bool
) -> FloatArray:
    """Source boxes in the coordinates of the resized picture.

    A picture of W pixels spans 0 to W and pixel 0 has its middle at 0.5, in the source as in the
    resized picture, and so with the cells of a map, whose first spans one stride: that is what
    RoIAlign takes for granted when `aligned`. (By the padding of its convolutions alone, a cell
    would look 3.5 pixels further left and above. By its gradients it does not, and moving the
    boxes to make up for it made embeddings worse.)

    Args:
        boxes: (N, 4) xyxy in source pixels.
        image: the source.
        size: height and width it was resized to.
        clips: whether parts outside the image are cut off.

    Returns:
        (N, 4) float32 xyxy in pixels of the resized picture.
    """
    (height, width), (new_height, new_width) = image.shape[:2], size
    limits = np.array([width, height, width, height], np.float32)
    scale = np.array([new_width, new_height, new_width, new_height], np.float32) / limits
    inside = np.clip(boxes, 0, limits) if clips else boxes
    scaled: FloatArray = (inside * scale).astype(np.float32)
    return scaled
