"""The kinds of Segment Anything: one row each, readable without loading torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from masa_cli.models.variants import Picture


@dataclass(frozen=True, slots=True)
class SamVariant:
    """One file with an image encoder, a prompt encoder and a mask decoder."""

    summary: str  # one line for users
    backbone: str  # name in models.backbones.BACKBONES


# The names are those of the weights in the manifest; those without "vit" are MASA's adapters.
# In the order in which they are looked for: the lightest first.
SAM_VARIANTS: Mapping[str, SamVariant] = MappingProxyType(
    {
        "sam-vit-b": SamVariant("Segment Anything, ViT-B", "sam-vit-b"),
        "sam-b": SamVariant("the ViT-B inside MASA-SAM-B", "sam-vit-b"),
        "sam-vit-l": SamVariant("Segment Anything, ViT-L", "sam-vit-l"),
        "sam-vit-h": SamVariant("Segment Anything, ViT-H", "sam-vit-h"),
        "sam-h": SamVariant("the ViT-H inside MASA-SAM-H", "sam-vit-h"),
    }
)

SAM_SIDE = 1024  # pixels per side of every picture: the position embedding of a ViT has one size
SAM_PICTURE = Picture(SAM_SIDE, SAM_SIDE, SAM_SIDE)
