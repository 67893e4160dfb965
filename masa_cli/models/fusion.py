"""Fusion: blocks in which every level of the pyramid looks at itself and its neighbours.

Two kinds were published under one name: `DeformFusion` joins the looks by their mean, `DyHead`
weighs them by attention (spec 5.1 and 5.2).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from masa_cli.models.deformable import TAPS, deformable_conv
from masa_cli.models.fpn import WIDTH

NUM_BLOCKS = 3  # in the published networks


class NoFusion(nn.Module):
    """Levels as they are."""

    def forward(self, maps: Sequence[Tensor], levels: Collection[int]) -> dict[int, Tensor]:
        """The levels (B, C, H, W) that are asked for."""
        return {level: maps[level] for level in levels}


class _DeformableConv(nn.Module):
    """A deformable 3x3 convolution and a normalisation over groups of 16 channels."""

    def __init__(self, width: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        # Holds the weight; it is never called.
        self.conv = nn.Conv2d(width, width, 3, stride, padding=1, bias=False)
        self.norm = nn.GroupNorm(16, width)

    def forward(self, x: Tensor, offsets: Tensor, masks: Tensor) -> Tensor:
        x = deformable_conv(x, offsets, masks, self.conv.weight, stride=self.stride)
        y: Tensor = self.norm(x)
        return y


class _Block(nn.Module):
    """One block. Its convolutions are shared by all levels.

    Args:
        width: channels of every level.
        num_sets: 3, if each of the looks has offsets and masks of its own, or 1.
        attention: joins the looks; None: their mean.
    """

    def __init__(self, width: int, num_sets: int, attention: _Attention | None) -> None:
        super().__init__()
        self.num_sets = num_sets
        self.offset = nn.Conv2d(width, num_sets * TAPS * 3, 3, padding=1)
        self.mid = _DeformableConv(width, stride=1)
        self.low = _DeformableConv(width, stride=2)
        self.high = _DeformableConv(width, stride=1)
        self.attention = attention

    def forward(self, maps: Mapping[int, Tensor], levels: Collection[int]) -> dict[int, Tensor]:
        """The wanted levels; `maps` must hold them and the neighbours they have."""
        join = self.attention or _mean
        return {level: join(self._looks(maps, level)) for level in levels}

    def _looks(self, maps: Mapping[int, Tensor], level: int) -> list[Tensor]:
        """What a level sees in itself, the finer and the coarser level, each (B, C, H, W)."""
        x = maps[level]
        mid, low, high = self._geometry(x)
        looks = [self.mid(x, *mid)]
        if level - 1 in maps:
            looks.append(self.low(maps[level - 1], *low))
        if level + 1 in maps:
            coarse = maps[level + 1]
            size = coarse.shape[-2:]
            y = self.high(coarse, *(_reviewed(z, size) for z in high))  # (B, C, H/2, W/2)
            looks.append(F.interpolate(y, x.shape[-2:], mode="bilinear", align_corners=True))
        return looks

    def _geometry(self, x: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Offsets (B, 18, H, W) and masks (B, 9, H, W) of the looks at mid, low and high."""
        offsets, masks = self.offset(x).split([self.num_sets * TAPS * n for n in (2, 1)], dim=1)
        pairs = zip(offsets.split(TAPS * 2, 1), masks.sigmoid().split(TAPS, 1), strict=True)
        return list(pairs) * (3 // self.num_sets)


class _Attention(nn.Module):
    """DyHead's: each look has a weight, and each channel of their mean a slope of two pieces."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale = nn.Conv2d(width, 1, 1)
        self.squeeze = nn.Conv2d(width, width // 4, 1)
        self.excite = nn.Conv2d(width // 4, width * 4, 1)

    def forward(self, looks: Sequence[Tensor]) -> Tensor:
        weights = [F.hardsigmoid(F.relu(self.scale(_mean_cell(look)))) for look in looks]
        y = _mean([look * weight for look, weight in zip(looks, weights, strict=True)])
        slopes = self.excite(F.relu(self.squeeze(_mean_cell(y))))  # (B, 4C, 1, 1)
        a, b, c, d = (F.hardsigmoid(slopes) - 0.5).chunk(4, dim=1)
        return torch.maximum(y * (2 * a + 1) + b, y * (2 * c) + d)


class _Fusion(nn.Module):
    """Blocks, one after the other."""

    def __init__(self, blocks: Sequence[_Block]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)

    def forward(self, maps: Sequence[Tensor], levels: Collection[int]) -> dict[int, Tensor]:
        """The wanted levels after all blocks; of the others only what those depend on.

        Args:
            maps: (B, C, H, W), each half as fine as the one before it, rounded up.
            levels: which to give back.
        """
        wanted = [set(levels)]
        for _ in self.blocks[1:]:
            wanted.append(_with_neighbours(wanted[-1], len(maps)))
        x = dict(enumerate(maps))
        for block, needed in zip(self.blocks, reversed(wanted), strict=True):
            x = block(x, needed)
        return x


class DeformFusion(_Fusion):
    """Of MASA-R50, -GroundingDINO and -Detic: the mean of three looks with their own offsets."""

    def __init__(self, width: int = WIDTH, num_blocks: int = NUM_BLOCKS) -> None:
        super().__init__([_Block(width, 3, None) for _ in range(num_blocks)])


class DyHead(_Fusion):
    """Of MASA-SAM: looks with common offsets, joined by attention (arXiv 2106.08322)."""

    def __init__(self, width: int = WIDTH, num_blocks: int = NUM_BLOCKS) -> None:
        super().__init__([_Block(width, 1, _Attention(width)) for _ in range(num_blocks)])


class CoarseFusion(nn.Module):
    """Of `lite`: as `DeformFusion`, but the finest level, which costs most, stays as it is."""

    def __init__(self, width: int, num_blocks: int) -> None:
        super().__init__()
        self.coarse = DeformFusion(width, num_blocks)

    def forward(self, maps: Sequence[Tensor], levels: Collection[int]) -> dict[int, Tensor]:
        """As `DeformFusion`'s."""
        fused = self.coarse(maps[1:], {level - 1 for level in levels if level})
        finest = {0: maps[0]} if 0 in levels else {}
        return finest | {level + 1: x for level, x in fused.items()}


def _with_neighbours(levels: Collection[int], num_levels: int) -> set[int]:
    """The levels and those next to them: what a block must be given to compute the levels."""
    spread = {level + step for level in levels for step in (-1, 0, 1)}
    return spread & set(range(num_levels))


def _reviewed(values: Tensor, size: torch.Size) -> Tensor:
    """The first numbers of a map, taken for a map of another size.

    Offsets and masks for the coarser level are predicted at the size of the finer one. The
    operator that the published weights were trained with never noticed: it walked through their
    memory as if it were of the coarser size. The weights are right only with that (spec 5.3).

    Args:
        values: (B, N, H, W).
        size: height and width to take it for.

    Returns:
        (B, N, *size), of the first numbers in each image's N*H*W.
    """
    batch, channels = values.shape[:2]
    return values.flatten(1)[:, : channels * size.numel()].reshape(batch, channels, *size)


def _mean(looks: Sequence[Tensor]) -> Tensor:
    total = looks[0]
    for look in looks[1:]:
        total = total + look
    return total / len(looks)


def _mean_cell(x: Tensor) -> Tensor:
    """(B, C, 1, 1)."""
    return x.mean(dim=(2, 3), keepdim=True)
