"""The variants of the adapter: one row each, readable without loading torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from masa_cli.errors import SettingsError


@dataclass(frozen=True, slots=True)
class Variant:
    """How one kind of embedding is made."""

    summary: str  # one line for users
    backbone: str  # name in models.backbones.BACKBONES
    max_side: int  # pixels; a frame with a longer side is reduced to it, others stay as they are
    columns: int  # RoIAlign grid over the width of a box; its cells are averaged
    rows: int  # RoIAlign grid over the height of a box; its cells are kept, as horizontal stripes
    temperature: float  # dot products of embeddings are divided by it before a softmax; no unit


VARIANTS: Mapping[str, Variant] = MappingProxyType(
    {
        "raw": Variant(
            summary="untrained baseline: what an ImageNet network sees in each box",
            backbone="mobilenet-v2",
            # Where things are small, detail counts more than time; 1080p is reduced by a fifth.
            max_side=1536,
            columns=7,
            rows=7,
            # Logits of cosine times 20. Less leaves a crowd's softmax flat; from 20 to 50 nothing
            # changes beyond noise (tests/benchmarks/embedding_choice.py).
            temperature=1 / 20,
        ),
    }
)


def find_variant(name: str) -> Variant:
    """The row of that name.

    Raises:
        SettingsError: there is none.
    """
    if name not in VARIANTS:
        raise SettingsError(f'unknown adapter "{name}"', fix=f"use one of: {', '.join(VARIANTS)}")
    return VARIANTS[name]
