"""Feature pyramid networks: maps of a backbone in, five maps of one width out (spec 4)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.convnext import LayerNorm2d

from masa_cli.models.conv_norm import ConvNorm

WIDTH = 256  # channels of every level in the published networks
NUM_LEVELS = 5


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
