"""Deformable convolution with masks (DCNv2), from torch's own operators.

On a CPU it takes less than half the time of torchvision's, whose gather works point by point:
a cell of a map in which channels lie last is one run of memory, and `embedding_bag` sums four
weighted runs with the processor's widest instructions (tests/benchmarks/adapters.py).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import deform_conv2d

KERNEL = 3  # cells per side
TAPS = KERNEL * KERNEL
# Places worked on at a time: what was gathered for them stays in the processor's cache.
_CHUNK = 1024


def deformable_conv(
    x: Tensor, offsets: Tensor, masks: Tensor, weight: Tensor, *, stride: int
) -> Tensor:
    """A 3x3 convolution with padding 1 that reads each of its points somewhere else.

    Args:
        x: (B, C, H, W).
        offsets: (B, 18, h, w), cells: down and right for each of the nine points, row by row.
        masks: (B, 9, h, w), by which what the points read is multiplied.
        weight: (D, C, 3, 3).
        stride: cells of `x` per cell of the output; (h, w) is the size it gives.

    Returns:
        (B, D, h, w). Points between cells are interpolated; outside the map there are zeros.
    """
    if x.is_cuda:  # there, torchvision has an operator of its own
        y: Tensor = deform_conv2d(x, offsets, weight, stride=stride, padding=1, mask=masks)
        return y
    batch, channels, *size = x.shape
    h, w = offsets.shape[-2:]
    # In bfloat16, embedding_bag takes a hundred times as long.
    cells = x.permute(0, 2, 3, 1).reshape(batch, -1, channels).float()  # (B, H*W, C)
    kernel = weight.permute(2, 3, 1, 0).reshape(TAPS * channels, -1)  # (9*C, D)
    shifts = offsets.permute(0, 2, 3, 1).reshape(batch, -1, TAPS, 2)  # (B, h*w, 9, 2)
    masks = masks.permute(0, 2, 3, 1).reshape(batch, -1, TAPS)  # (B, h*w, 9)
    origins = _origins(h, w, stride, x.device)
    outputs = []
    for image in range(batch):
        for start in range(0, h * w, _CHUNK):
            part = slice(start, start + _CHUNK)
            points = origins[part] + shifts[image, part].float()  # (n, 9, 2)
            corners, shares = _corners(points, masks[image, part].float(), size)
            read = F.embedding_bag(
                corners, cells[image], mode="sum", per_sample_weights=shares
            )  # (n*9, C)
            outputs.append(read.view(-1, TAPS * channels).to(x.dtype) @ kernel)
    return torch.cat(outputs).view(batch, h, w, -1).permute(0, 3, 1, 2)


def _origins(height: int, width: int, stride: int, device: torch.device) -> Tensor:
    """(h*w, 9, 2): rows and columns of the nine points of each output cell, not yet moved."""
    rows = torch.arange(height, device=device) * stride - 1
    columns = torch.arange(width, device=device) * stride - 1
    taps = torch.arange(KERNEL, device=device)
    return torch.cartesian_prod(rows, columns)[:, None] + torch.cartesian_prod(taps, taps)


def _corners(points: Tensor, masks: Tensor, size: Sequence[int]) -> tuple[Tensor, Tensor]:
    """The four cells around each point, and the share of each in what is read there.

    Args:
        points: (n, 9, 2) rows and columns.
        masks: (n, 9).
        size: height and width of the map.

    Returns:
        (n*9, 4) int32 indices of cells, and their (n*9, 4) shares, 0 outside the map.
    """
    limits = torch.tensor(size, device=points.device).view(2, 1)
    near = points.floor()[..., None] + torch.arange(2, device=points.device)  # (n, 9, 2, 2)
    shares = 1 - (points[..., None] - near).abs()
    shares = shares * ((near >= 0) & (near < limits))
    cells = near.clamp(torch.zeros_like(limits), limits - 1).to(torch.int32)
    (top, left), (down, right) = cells.unbind(2), shares.unbind(2)  # each (n, 9, 2)
    corners = (top * size[1])[..., :, None] + left[..., None, :]  # (n, 9, 2, 2)
    shares = (down * masks[..., None])[..., :, None] * right[..., None, :]
    return corners.view(-1, 4), shares.view(-1, 4)
