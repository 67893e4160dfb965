"""Segment Anything's image encoder.

A file of its own, for the package imports torchvision, torch._dynamo and sympy: 250 MB.
"""

from __future__ import annotations

from functools import partial

import torch
from segment_anything.modeling import ImageEncoderViT
from torch import Tensor, nn


class SamEncoder(ImageEncoderViT):  # type: ignore[misc] # segment-anything has no types
    """Images in, the outputs of the four blocks with global attention out.

    `neck`, which makes the map that masks are decoded from, is kept for those who want masks.
    """

    def forward(self, x: Tensor) -> list[Tensor]:
        """(B, 3, 1024, 1024) to four maps (B, C, 64, 64)."""
        x = self.patch_embed(x) + self.pos_embed  # (B, 64, 64, C)
        maps = []
        for block in self.blocks:
            x = block(x)
            if block.window_size == 0:  # attention over the whole image
                maps.append(x.permute(0, 3, 1, 2))
        return maps


def sam_vit(channels: int, depth: int, num_heads: int) -> SamEncoder:
    """A ViT with patches of 16 pixels, its weights still to be loaded.

    Args:
        channels: 768 for ViT-B, 1024 for ViT-L, 1280 for ViT-H.
        depth: blocks, every fourth part of which ends with global attention.
        num_heads: of attention.
    """
    with torch.device("meta"):
        return SamEncoder(
            depth=depth,
            embed_dim=channels,
            num_heads=num_heads,
            norm_layer=partial(nn.LayerNorm, eps=1e-6),
            use_rel_pos=True,
            window_size=14,
            global_attn_indexes=tuple(depth // 4 * (part + 1) - 1 for part in range(4)),
        )
