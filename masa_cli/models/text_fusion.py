"""Attention between picture and text in both directions, for short texts and large pictures.

groundingdino-py projects every cell of the picture into four heads of 256 numbers before it meets
the text. The same sums can be taken in another order: the few tokens are projected back into the
picture's own numbers, and the large matrix products are gone.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def fuse(
    layer: Any,  # noqa: ANN401 - groundingdino-py has no types
    picture: Tensor,
    text: Tensor,
    is_padding: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """What groundingdino-py's `BiAttentionBlock` gives.

    Its guards against overflow in 16 bits, which change nothing in float32, are left out.

    Args:
        layer: a `BiAttentionBlock`.
        picture: (B, N, C).
        text: (B, T, C), without padding.
        is_padding: (N,) bool, cells the text shall not read; None: there are none.
    """
    picture, text = layer.layer_norm_v(picture), layer.layer_norm_l(text)
    attention, num_heads = layer.attn, layer.attn.num_heads
    batch, num_tokens, _ = text.shape

    # What a cell must be like to be asked by a token: (B, heads, T, C), and a constant.
    keys = _in_heads(attention.l_proj(text), num_heads) * attention.scale
    weight, bias = attention.v_proj.weight, attention.v_proj.bias
    wanted = keys @ weight.view(num_heads, -1, weight.shape[1])
    constant = (keys * bias.view(num_heads, 1, -1)).sum(-1, keepdim=True)
    logits = torch.baddbmm(
        constant.flatten(1, 2), wanted.flatten(1, 2), picture.transpose(1, 2)
    )  # (B, heads * T, N)

    # From the text to the picture: what the tokens say is brought into C numbers beforehand.
    said = _in_heads(attention.values_l_proj(text), num_heads)
    weight, bias = attention.out_v_proj.weight, attention.out_v_proj.bias
    said = said @ weight.view(-1, num_heads, said.shape[-1]).permute(1, 2, 0)  # (B, heads, T, C)
    shares = logits.view(batch, num_heads, num_tokens, -1).softmax(dim=2).flatten(1, 2)
    to_picture = shares.transpose(1, 2) @ said.flatten(1, 2) + bias  # (B, N, C)

    # From the picture to the text: cells are averaged before they are projected.
    if is_padding is not None:
        logits = logits.masked_fill(is_padding, -torch.inf)
    seen = (logits.softmax(dim=2) @ picture).view(batch, num_heads, num_tokens, -1)
    weight, bias = attention.values_v_proj.weight, attention.values_v_proj.bias
    seen = seen @ weight.view(num_heads, -1, weight.shape[1]).transpose(1, 2)
    seen = seen.transpose(1, 2).flatten(2) + bias  # (B, T, embedding)
    to_text = attention.out_l_proj(seen)
    return picture + layer.gamma_v * to_picture, text + layer.gamma_l * to_text


def _in_heads(x: Tensor, num_heads: int) -> Tensor:
    """(B, T, heads * D) as (B, heads, T, D)."""
    return x.view(*x.shape[:2], num_heads, -1).transpose(1, 2)
