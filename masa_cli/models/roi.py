"""What the maps show inside boxes: a grid of 7x7 cells for each (spec 6)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torchvision.ops import roi_align

GRID = 7  # cells per side
_FINEST_SIDE = 56  # boxes of less than twice that side, in pixels, are read from the finest level


def box_levels(boxes: Tensor, num_levels: int) -> Tensor:
    """(N,) the level each box is read from: coarser by one with every doubling of its side.

    Args:
        boxes: (N, 4) xyxy in pixels of the picture.
        num_levels: the coarsest is the last.
    """
    sides = ((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])).sqrt()
    return (sides / _FINEST_SIDE + 1e-6).log2().floor().clamp(0, num_levels - 1).long()


def box_features(
    maps: Mapping[int, Tensor], strides: Sequence[int], boxes: Sequence[Tensor], points: int
) -> Tensor:
    """RoIAlign, aligned to half pixels, averaging.

    Args:
        maps: by level (B, C, H, W); only levels that a box is read from are needed.
        strides: pixels per cell of each level.
        boxes: for each of the B pictures (N, 4) xyxy in its pixels.
        points: read per side of a cell of the grid; 0: one per cell of the map it spans.

    Returns:
        (sum of N, C, 7, 7) float32, in the order of the boxes; zeros for a box without area.
    """
    counts = torch.tensor([len(rows) for rows in boxes])
    owners = torch.arange(len(boxes)).repeat_interleave(counts)
    rows = torch.cat(list(boxes))
    rois = torch.cat([owners[:, None].to(rows), rows], dim=1)  # (N, 5): picture, box
    levels = box_levels(rows, len(strides))
    x = next(iter(maps.values()))
    cells = torch.empty((len(rois), x.shape[1], GRID, GRID), device=x.device)
    for level in sorted(set(levels.tolist())):
        here = levels == level
        x = maps[level].float().contiguous()  # RoIAlign knows float32 on every device
        cells[here] = roi_align(x, rois[here], GRID, 1 / strides[level], points, aligned=True)
    return cells
