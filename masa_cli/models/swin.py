"""Swin Transformer as the backbone of Grounding-DINO and Detic, built by groundingdino-py.

A file of its own, for that package brings transformers, timm and matplotlib: they are imported when
a Swin is built, and not by those who want another backbone.
"""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor, nn

with warnings.catch_warnings():
    warnings.simplefilter("ignore", FutureWarning)  # timm has moved what groundingdino-py imports
    from groundingdino.models.GroundingDINO.backbone.swin_transformer import SwinTransformer


class Swin(SwinTransformer):  # type: ignore[misc] # groundingdino-py has no types
    """Images in, the maps of the last three stages out, each through its own LayerNorm.

    A map that is no multiple of the window is padded for attention and cropped afterwards, so
    images may have any size.
    """

    def __init__(self, **settings: Any) -> None:  # noqa: ANN401 - groundingdino-py has no types
        super().__init__(**settings)
        for layer in self.layers:
            for block in layer.blocks:
                block.attn.register_forward_pre_hook(_match_mask, with_kwargs=True)

    def forward(self, x: Tensor) -> list[Tensor]:
        """(B, 3, H, W) to maps at strides 8, 16, 32 with 2, 4 and 8 times the embedding's size."""
        return list(self.forward_raw(x))

    def train(self, mode: bool = True) -> Swin:
        """As every module's, which groundingdino-py's forgets to return."""
        super().train(mode)
        return self


def _match_mask(
    attention: nn.Module, inputs: tuple[Tensor, ...], named: dict[str, Any]
) -> tuple[tuple[Tensor, ...], dict[str, Any]]:
    """The mask of shifted windows in the numbers of the network: it is made in float32."""
    mask = named.get("mask")
    return inputs, named if mask is None else named | {"mask": mask.to(inputs[0].dtype)}


def swin_t() -> Swin:
    """Swin-T, its weights still to be loaded: the backbone of the small Grounding-DINO."""
    return _swin(embed_dim=96, depths=[2, 2, 6, 2], num_heads=[3, 6, 12, 24], window_size=7)


def swin_b(window: int) -> Swin:
    """Swin-B, its weights still to be loaded.

    Args:
        window: cells per side of the windows in which attention works: 12 in Grounding-DINO, 7 in
            Detic.
    """
    return _swin(embed_dim=128, depths=[2, 2, 18, 2], num_heads=[4, 8, 16, 32], window_size=window)


def _swin(**size: int | list[int]) -> Swin:
    """A Swin of that size; it draws none of torch's global random numbers."""
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.meshgrid", UserWarning)
        return Swin(**size, drop_path_rate=0.0, out_indices=(1, 2, 3))
