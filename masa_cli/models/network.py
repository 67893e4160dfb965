"""The parts of a variant behind its backbone, as its row in the table names them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Literal, Protocol

import torch
from torch import Tensor, nn

from masa_cli.models.embedding_head import EmbeddingHead
from masa_cli.models.fpn import FPN, SimpleFPN
from masa_cli.models.fusion import CoarseFusion, DeformFusion, DyHead, NoFusion
from masa_cli.models.stripes import Stripes, WhiteStripes
from masa_cli.models.variants import Variant
from masa_cli.structures import FloatArray, State


class Head(Protocol):
    """Makes embeddings of what boxes show."""

    dim: int  # numbers per embedding

    def describe(
        self, cells: Tensor, maps: Mapping[int, Tensor], counts: Sequence[int]
    ) -> list[FloatArray]:
        """(N, dim) float32 for each frame.

        Args:
            cells: (sum of N, C, 7, 7) float32, what the boxes of all frames show.
            maps: by level (B, C, H, W), which they were read from.
            counts: N for each frame.
        """
        ...

    def state(self) -> State:
        """What `restore` needs."""
        ...

    def restore(self, state: State) -> None:
        """Go on from a `state()`."""
        ...


def _group_norm(width: int) -> nn.Module:
    """As good as normalising over pictures, but each alone: no matter how many share a batch."""
    return nn.GroupNorm(16, width)


_Part = Callable[[Variant], nn.Module]
NECKS: Mapping[str, _Part] = MappingProxyType(
    {
        "none": lambda row: nn.Identity(),
        "fpn": lambda row: FPN(row.channels, width=row.width),
        "fpn-group": lambda row: FPN(row.channels, _group_norm, row.width),
        "simple-fpn": lambda row: SimpleFPN(row.channels, row.width),
    }
)
FUSIONS: Mapping[str, _Part] = MappingProxyType(
    {
        "none": lambda row: NoFusion(),
        "deform": lambda row: DeformFusion(row.width, row.blocks),
        "deform-coarse": lambda row: CoarseFusion(row.width, row.blocks),
        "dyhead": lambda row: DyHead(row.width, row.blocks),
    }
)
HEADS: Mapping[str, _Part] = MappingProxyType(
    {
        "stripes": lambda row: Stripes(row.channels[0]),
        "white-stripes": lambda row: WhiteStripes(row.channels[0]),
        "embedding": lambda row: EmbeddingHead(
            row.width, row.head_convs, row.hidden, unit_length=row.unit_length
        ),
    }
)


def build_parts(
    variant: Variant, *wanted: Literal["neck", "fusion", "head"]
) -> dict[str, nn.Module]:
    """The wanted parts, or all three; weights they have are still to be loaded."""
    kinds: dict[str, Callable[[], nn.Module]] = {
        "neck": lambda: NECKS[variant.neck](variant),
        "fusion": lambda: FUSIONS[variant.fusion](variant),
        "head": lambda: HEADS[variant.head](variant),
    }
    with torch.device("meta"):
        return {part: kinds[part]() for part in wanted or kinds}
