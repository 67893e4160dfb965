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
from torch import Tensor

_LIBRARIES = ("_C_stable", "_C")  # by torchvision's version


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
    cells: Tensor = _operators().roi_align(maps, rois, scale, size, size, points, True)
    return cells


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
