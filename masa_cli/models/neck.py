"""Behind the backbone: feature pyramids (spec 4), and the fusion of their levels (spec 5).

Two kinds of fusion were published under one name: `DeformFusion` joins levels by their mean,
`DyHead` weighs them by attention (spec 5.1 and 5.2).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WIDTH = 256  # channels of every level in the published networks
NUM_LEVELS = 5
NUM_BLOCKS = 3  # in the published networks
KERNEL = 3  # cells per side
TAPS = KERNEL * KERNEL
# Positions worked on at a time: what was gathered for them stays in the processor's cache.
_CHUNK = 1024


class ConvNorm(nn.Sequential):
    """A convolution that keeps the size of the map at stride 1, then `norm`.

    Args:
        inputs: channels.
        outputs: channels.
        kernel: cells per side, odd.
        norm: a layer for `outputs` channels; None: the convolution has a bias instead.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, norm: nn.Module | None) -> None:
        conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=norm is None)
        super().__init__(OrderedDict(conv=conv) | (OrderedDict(norm=norm) if norm else {}))


class FPN(nn.Module):
    """What coarse maps know is added to finer ones; no activations anywhere.

    Args:
        channels: of the backbone's maps, from fine to coarse.
        norm: makes the normalisation behind each convolution; it gets the number of channels.
        width: channels of every level.
    """

    def __init__(
        self,
        channels: Sequence[int],
        norm: Callable[[int], nn.Module | None] = nn.BatchNorm2d,
        width: int = WIDTH,
    ) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(ConvNorm(c, width, 1, norm(width)) for c in channels)
        self.fpn = nn.ModuleList(ConvNorm(width, width, 3, norm(width)) for _ in channels)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """(B, C, H, W) maps, each half as fine as the one before it, to five."""
        summed = [conv(x) for conv, x in zip(self.lateral, maps, strict=True)]
        for level in reversed(range(len(summed) - 1)):
            size = summed[level].shape[-2:]
            summed[level] = summed[level] + F.interpolate(summed[level + 1], size, mode="nearest")
        levels = [conv(x) for conv, x in zip(self.fpn, summed, strict=True)]
        while len(levels) < NUM_LEVELS:
            levels.append(levels[-1][:, :, ::2, ::2])  # (B, C, H/2, W/2)
        return levels


class SimpleFPN(FPN):
    """The pyramid of a backbone whose four maps have one stride, 16: two are enlarged, one reduced.

    The earliest map becomes the finest level.

    Args:
        channels: of the four maps.
        width: channels of every level.
    """

    def __init__(self, channels: Sequence[int], width: int = WIDTH) -> None:
        super().__init__(channels, norm=lambda channels: None, width=width)
        from torchvision.models.convnext import LayerNorm2d  # takes 250 MB

        c = channels[0]
        self.four_times = nn.Sequential(
            nn.ConvTranspose2d(c, c, 2, stride=2),
            LayerNorm2d(c, eps=1e-6),
            nn.GELU(),
            nn.ConvTranspose2d(c, c, 2, stride=2),
        )
        self.twice = nn.ConvTranspose2d(c, c, 2, stride=2)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Four (B, C, H, W) maps to levels of sizes 4H, 2H, H, H/2, H/4."""
        a, b, c, d = maps
        return super().forward([self.four_times(a), self.twice(b), c, F.max_pool2d(d, 2)])


class NoFusion(nn.Module):
    """Levels as they are."""

    def forward(self, maps: Sequence[Tensor], levels: Collection[int]) -> dict[int, Tensor]:
        """The levels (B, C, H, W) that are asked for."""
        return {level: maps[level] for level in levels}


def deformable_conv(
    x: Tensor, offsets: Tensor, masks: Tensor, weight: Tensor, *, stride: int
) -> Tensor:
    """A 3x3 convolution with padding 1 that reads each of its points somewhere else (DCNv2).

    On a CPU this takes less than half the time of torchvision's, whose gather works point by point:
    a cell of a map in which channels lie last is one run of memory, and `embedding_bag` sums four
    weighted runs with the processor's widest instructions (tests/benchmarks/adapters.py).

    Args:
        x: (B, C, H, W).
        offsets: (B, 18, h, w), cells: down and right for each of the nine points, row by row.
        masks: (B, 9, h, w), by which what the points read is multiplied.
        weight: (D, C, 3, 3).
        stride: cells of `x` per cell of the output; (h, w) is the size it gives.

    Returns:
        (B, D, h, w). Points between cells are interpolated; outside the map there are zeros.
    """
    # On a GPU torchvision has an operator of its own, and in exported graphs OpenVINO.
    if x.is_cuda or torch.compiler.is_compiling():
        from torchvision.ops import deform_conv2d  # takes 250 MB

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
        num_sets: 3, if each of the samples has offsets and masks of its own, or 1.
        attention: joins the samples; None: their mean.
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
        return {level: join(self._samples(maps, level)) for level in levels}

    def _samples(self, maps: Mapping[int, Tensor], level: int) -> list[Tensor]:
        """What a level reads from itself, the finer and the coarser level, each (B, C, H, W)."""
        x = maps[level]
        mid, low, high = self._geometry(x)
        samples = [self.mid(x, *mid)]
        if level - 1 in maps:
            samples.append(self.low(maps[level - 1], *low))
        if level + 1 in maps:
            coarse = maps[level + 1]
            size = coarse.shape[-2:]
            y = self.high(coarse, *(_reinterpreted(z, size) for z in high))  # (B, C, H/2, W/2)
            samples.append(F.interpolate(y, x.shape[-2:], mode="bilinear", align_corners=True))
        return samples

    def _geometry(self, x: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Offsets (B, 18, H, W) and masks (B, 9, H, W) of the samples at mid, low and high."""
        offsets, masks = self.offset(x).split([self.num_sets * TAPS * n for n in (2, 1)], dim=1)
        pairs = zip(offsets.split(TAPS * 2, 1), masks.sigmoid().split(TAPS, 1), strict=True)
        return list(pairs) * (3 // self.num_sets)


class _Attention(nn.Module):
    """DyHead's: each sample has a weight, and each channel of their mean a slope of two pieces."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale = nn.Conv2d(width, 1, 1)
        self.squeeze = nn.Conv2d(width, width // 4, 1)
        self.excite = nn.Conv2d(width // 4, width * 4, 1)

    def forward(self, samples: Sequence[Tensor]) -> Tensor:
        weights = [F.hardsigmoid(F.relu(self.scale(_mean_cell(sample)))) for sample in samples]
        y = _mean([sample * weight for sample, weight in zip(samples, weights, strict=True)])
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
    """Of MASA-R50, -GroundingDINO and -Detic: the mean of three samples with their own offsets."""

    def __init__(self, width: int = WIDTH, num_blocks: int = NUM_BLOCKS) -> None:
        super().__init__([_Block(width, 3, None) for _ in range(num_blocks)])


class DyHead(_Fusion):
    """Of MASA-SAM: samples with common offsets, joined by attention (arXiv 2106.08322)."""

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


def _reinterpreted(values: Tensor, size: torch.Size) -> Tensor:
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
    height, width = size  # `size.numel()` would make constants of them in an exported graph
    return values.flatten(1)[:, : channels * height * width].reshape(batch, channels, height, width)


def _mean(samples: Sequence[Tensor]) -> Tensor:
    total = samples[0]
    for sample in samples[1:]:
        total = total + sample
    return total / len(samples)


def _mean_cell(x: Tensor) -> Tensor:
    """(B, C, 1, 1)."""
    return x.mean(dim=(2, 3), keepdim=True)
