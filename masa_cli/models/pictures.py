"""Frames as networks want them: the edge at which pixels become tensors."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from masa_cli.models.backbones import Backbone
from masa_cli.structures import FloatArray, Image


def reduced_size(image: Image, max_side: int) -> tuple[int, int]:
    """Height and width to reduce a picture to, so that its longer side is at most `max_side`."""
    height, width = image.shape[:2]
    scale = min(1.0, max_side / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def to_tensor(
    images: Sequence[Image],
    size: tuple[int, int],
    backbone: Backbone,
    device: torch.device,
    dtype: torch.dtype,
) -> Tensor:
    """Pictures of one size as a backbone's input.

    Args:
        images: B pictures, (H, W, 3) uint8 RGB.
        size: height and width to reduce them to; each new pixel is the mean of those it covers.
        backbone: whose normalisation and stride count.
        device: where the tensor shall be.
        dtype: of the tensor.

    Returns:
        (B, 3, height, width), padded at the right and below to whole strides with the mean colour.
    """
    height, width = size
    if images[0].shape[:2] != size:
        reduced = [cv2.resize(i, (width, height), interpolation=cv2.INTER_AREA) for i in images]
    else:
        reduced = list(images)
    # Bytes travel to the device, a quarter of float32.
    x = torch.from_numpy(np.stack(reduced)).to(device).permute(0, 3, 1, 2)  # (B, 3, height, width)
    mean = torch.tensor(backbone.mean, device=device).view(1, 3, 1, 1) * 255
    std = torch.tensor(backbone.std, device=device).view(1, 3, 1, 1) * 255
    x = (x.float() - mean) / std
    return F.pad(x, (0, -width % backbone.stride, 0, -height % backbone.stride)).to(dtype)


def boxes_in_picture(boxes: FloatArray, image: Image, size: tuple[int, int]) -> FloatArray:
    """Source boxes in the coordinates of the reduced picture.

    A picture of W pixels spans 0 to W and pixel 0 has its middle at 0.5, in the source as in the
    reduced picture, and so with the cells of a map, whose first spans one stride: that is what
    RoIAlign takes for granted when `aligned`. (By the padding of its convolutions alone, a cell
    would look 3.5 pixels further left and above. By its gradients it does not, and moving the
    boxes to make up for it made embeddings worse.)

    Args:
        boxes: (N, 4) xyxy in source pixels; parts outside the image are cut off.
        image: the source.
        size: height and width it was reduced to.

    Returns:
        (N, 4) float32 xyxy in pixels of the reduced picture.
    """
    (height, width), (new_height, new_width) = image.shape[:2], size
    limits = np.array([width, height, width, height], np.float32)
    scale = np.array([new_width, new_height, new_width, new_height], np.float32) / limits
    inside: FloatArray = np.clip(boxes, 0, limits) * scale
    return inside
