"""All that a detection transformer knows of the maps without having seen them: where cells lie."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from masa_cli.models.deformable_attention import Table

# Below, maps are (height, width) and pictures fill their upper left part; the rest is padding.


class Places:
    """The cells of several maps, N in all, in one sequence: the first map first, row by row.

    Made once for each size of pictures.

    Args:
        sizes: height and width of each map.
        padded: height and width of the pictures with their padding.
        filled: height and width of the pictures.
        dim: numbers per cell of `codes`.
        num_heads: of deformable attention.
        device: of all tensors.
    """

    def __init__(
        self,
        sizes: Sequence[tuple[int, int]],
        padded: tuple[int, int],
        filled: tuple[int, int],
        dim: int,
        num_heads: int,
        device: torch.device,
    ) -> None:
        self.table = Table(sizes, num_heads, device)
        masks = [_is_padding(size, padded, filled) for size in sizes]
        # (maps, 2): the share of each map's width and height that is no padding.
        valid = torch.stack(
            [
                torch.stack([(~mask[0]).float().mean(), (~mask[:, 0]).float().mean()])
                for mask in masks
            ]
        )
        is_padding = torch.cat([mask.flatten() for mask in masks])
        self.valid = valid.to(device)
        # (N,) bool; None where there is none, which spares all that goes with it.
        self.is_padding = is_padding.to(device) if is_padding.any() else None
        self.codes = [_sine_codes(mask, dim).to(device) for mask in masks]  # (cells, dim) each
        middles = torch.cat([_middles(*size) / v for size, v in zip(sizes, valid, strict=True)])
        # Cells' own middles in the cells of each map, as `Table.read` counts them.
        self.points = (middles[:, :, None] * valid.T).to(
            device
        ) * self.table.size + 0.5  # (N, 2, maps)
        self.proposals, self.is_proposal = _proposals(sizes, middles, is_padding, device)


def _is_padding(size: tuple[int, int], padded: tuple[int, int], filled: tuple[int, int]) -> Tensor:
    """(h, w) bool: which cells lie, by their upper left corners, in the padding."""
    mask = torch.ones(1, 1, *padded)
    mask[..., : filled[0], : filled[1]] = 0
    return F.interpolate(mask, size=size)[0, 0].bool()


def _sine_codes(is_padding: Tensor, dim: int) -> Tensor:
    """(h * w, dim): half of it tells the row, half the column, both as a part of the filled map."""
    frequencies = 2 * math.pi / 20 ** (torch.arange(0, dim // 2, 2) / (dim // 2))
    halves = []
    for axis in (0, 1):
        count = (~is_padding).cumsum(axis, dtype=torch.float32)
        part = count / (count.select(axis, -1).unsqueeze(axis) + 1e-6)
        angles = part.flatten()[:, None] * frequencies
        halves.append(torch.stack([angles.sin(), angles.cos()], dim=2).flatten(1))
    return torch.cat(halves, dim=1)


def _middles(height: int, width: int) -> Tensor:
    """(h * w, 2) x and y of the middles of cells, as parts of the map with its padding."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack([(x + 0.5) / width, (y + 0.5) / height], dim=2).flatten(0, 1)


def _proposals(
    sizes: Sequence[tuple[int, int]], middles: Tensor, is_padding: Tensor, device: torch.device
) -> tuple[Tensor, Tensor]:
    """A square on each cell as logits of centre and size, (N, 4), and whether it counts, (N, 1).

    Those that do not are infinite.
    """
    sides = [torch.full((h * w, 2), 0.05 * 2**level) for level, (h, w) in enumerate(sizes)]
    boxes = torch.cat([middles, torch.cat(sides)], dim=1)
    inside = ((boxes > 0.01) & (boxes < 0.99)).all(1, keepdim=True) & ~is_padding[:, None]
    logits = torch.log(boxes / (1 - boxes)).masked_fill(~inside, math.inf)
    return logits.to(device), inside.to(device)
