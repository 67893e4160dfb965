"""What the network sees in a batch: what all objectives of training look at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from masa_cli.models.variants import Variant
from masa_cli.training.batches import Instances


@dataclass(slots=True, eq=False)
class SeenViews:
    """One view of each of B pairs.

    Attributes:
        maps: by level (B, C, H, W), fused.
        instances: what is in each.
        proposals: for each (N, 4) boxes that may show objects, where an objective found some.
    """

    maps: Mapping[int, Tensor]
    instances: tuple[Instances, ...]
    proposals: list[Tensor] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class Seen:
    """A batch as the network sees it.

    Attributes:
        variant: of the network.
        size: side of the views, pixels.
        key: the first view of each pair.
        reference: the second.
        seeds: of each pair.
    """

    variant: Variant
    size: int
    key: SeenViews
    reference: SeenViews
    seeds: tuple[int, ...]

    def generators(self) -> list[torch.Generator]:
        """For each pair random numbers that depend on nothing but the pair."""
        return [torch.Generator().manual_seed(seed) for seed in self.seeds]


def mean_of_images(losses: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """The mean of each loss over images: every image counts alike, in batches of any size."""
    return {name: torch.stack([each[name] for each in losses]).mean() for name in losses[0]}
