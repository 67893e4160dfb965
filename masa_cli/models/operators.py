"""Operators on boxes and maps, from torchvision's extension without its package.

Importing torchvision imports torch._dynamo, torch.distributed and sympy: a second and 130 MB for
every run. Its compiled operators need none of that. Where they are not found, the package is
imported.
"""

from __future__ import annotations

import importlib
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

_LIBRARIES = ("_C_stable", "_C")  # by torchvision's version
_FEW = 100_000  # numbers that are read; for fewer, it takes longer to say where they are


def nms(boxes: Tensor, scores: Tensor, max_overlap: float) -> Tensor:
    """Indices of the boxes (N, 4) xyxy that no better one overlaps by more, the best first."""
    kept: Tensor = _operators().nms(boxes, scores, max_overlap)
    return kept


def batched_nms(boxes: Tensor, scores: Tensor, groups: Tensor, max_overlap: float) -> Tensor:
    """The same, boxes of different groups (N,) leaving each other alone."""
    kept = torch.zeros(len(boxes), dtype=torch.bool, device=boxes.device)
    for group in groups.unique():  # type: ignore[no-untyped-call]
        own = (groups == group).nonzero()[:, 0]
        kept[own[nms(boxes[own], scores[own], max_overlap)]] = True
    rows = kept.nonzero()[:, 0]
    return rows[scores[rows].sort(descending=True, stable=True).indices]


def clip_boxes(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Boxes (N, 4) xyxy inside an image of that height and width."""
    height, width = size
    limits = boxes.new_tensor([width, height, width, height])
    return torch.minimum(boxes.clamp(min=0), limits)


def roi_align(maps: Tensor, rois: Tensor, size: int, scale: float, points: int) -> Tensor:
    """What a map shows in boxes (arXiv 1703.06870, with half a cell's shift removed).

    Args:
        maps: (B, C, H, W).
        rois: (N, 5) index into B, then xyxy.
        size: cells per side.
        scale: of the map, cells per unit of the boxes.
        points: per side of a cell, at which it is read; 0: as many as cells of the map there are.

    Returns:
        (N, C, size, size).
    """
    is_much = len(rois) * maps.shape[1] * size**2 > _FEW
    is_read_only = not maps.requires_grad and not torch.compiler.is_compiling()
    is_there = maps.device.type == "cpu" and maps.dtype == torch.float32
    if points and is_much and is_read_only and is_there:
        return _read_in_runs(maps, rois, size, scale, points)
    cells: Tensor = _operators().roi_align(maps, rois, scale, size, size, points, True)
    return cells


def _read_in_runs(maps: Tensor, rois: Tensor, size: int, scale: float, points: int) -> Tensor:
    """`roi_align` for the CPU, in a half to an eighth of the time of torchvision's.

    That goes from channel to channel. With channels last a cell of the map is one run of memory,
    and `embedding_bag` sums weighted runs with the processor's widest instructions.
    """
    channels, height, width = maps.shape[1:]
    table = maps.permute(0, 2, 3, 1).reshape(-1, channels)
    images, left, top, right, bottom = (rois * rois.new_tensor([1, *[scale] * 4])).unbind(1)
    columns, across = _taps(left, right, width, size, points)  # (N, size, 2 * points) each
    rows, down = _taps(top, bottom, height, size, points)
    rows = rows + (images.int() * height)[:, None, None]
    cells = rows[:, :, None, :, None] * width + columns[:, None, :, None, :]
    shares = down[:, :, None, :, None] * across[:, None, :, None, :]
    taps = 4 * points**2  # of each cell of the output
    read = F.embedding_bag(
        cells.view(-1, taps), table, mode="sum", per_sample_weights=shares.view(-1, taps)
    )
    return read.view(len(rois), size, size, channels).permute(0, 3, 1, 2)


def _taps(start: Tensor, end: Tensor, length: int, size: int, points: int) -> tuple[Tensor, Tensor]:
    """Along one axis, which cells of a map are read for each cell of the output, and their shares.

    Args:
        start: (N,) of the boxes, cells of the map.
        end: (N,).
        length: of the map.
        size: of the output.
        points: per cell of the output, each between two cells of the map.

    Returns:
        (N, size, 2 * points) int32, and shares of that shape, which sum to 1 inside the map.
    """
    at = (torch.arange(size * points, device=start.device) + 0.5) / (size * points)
    middles = start[:, None] + (end - start)[:, None] * at - 0.5
    counts = (middles >= -1) & (middles <= length)
    middles = middles.clamp(0, length - 1)
    near = middles.floor()
    cells = torch.stack([near, (near + 1).clamp(max=length - 1)], dim=2).int()
    beyond = middles - near
    shares = torch.stack([1 - beyond, beyond], dim=2) * counts[..., None] / points
    return cells.view(-1, size, 2 * points), shares.view(-1, size, 2 * points)


def as_rois(boxes: list[Tensor]) -> Tensor:
    """(N, 5) of the boxes (N_i, 4) of each image."""
    numbers = [each.new_full((len(each), 1), index) for index, each in enumerate(boxes)]
    return torch.cat([torch.cat(numbers), torch.cat(boxes)], dim=1)


@cache
def _operators() -> Any:  # noqa: ANN401 - torch's registry of operators
    package = find_spec("torchvision")
    folder = Path(package.origin).parent if package and package.origin else Path()
    for name in _LIBRARIES:
        for file in (*folder.glob(f"{name}.*so"), *folder.glob(f"{name}.pyd")):
            try:
                torch.ops.load_library(file)  # type: ignore[no-untyped-call]
            except OSError:
                continue
            return torch.ops.torchvision
    importlib.import_module("torchvision")
    return torch.ops.torchvision
