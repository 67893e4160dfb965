"""A convolution and its normalisation, the brick of necks and heads."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn


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
