"""MASA's track head: what a box shows in, its embedding out (spec 6)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch.nn.functional as F
from torch import Tensor, nn

from masa_cli.models.conv_norm import ConvNorm
from masa_cli.models.fpn import WIDTH
from masa_cli.models.roi import GRID
from masa_cli.structures import FloatArray, State


class EmbeddingHead(nn.Module):
    """Convolutions and two layers.

    Args:
        channels: of the maps.
        num_convs: convolutions.
        hidden: numbers between the two layers.
        unit_length: whether embeddings have length 1; in the published networks they have any.
    """

    def __init__(
        self,
        channels: int = WIDTH,
        num_convs: int = 4,
        hidden: int = 1024,
        *,
        unit_length: bool = False,
    ) -> None:
        super().__init__()
        self.dim = 256
        self._unit_length = unit_length
        self.convs = nn.ModuleList(
            ConvNorm(channels, channels, 3, nn.GroupNorm(32, channels)) for _ in range(num_convs)
        )
        self.hidden = nn.Linear(channels * GRID * GRID, hidden)
        self.embedding = nn.Linear(hidden, self.dim)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, 7, 7) to (N, 256)."""
        for conv in self.convs:
            x = F.relu(conv(x))
        x = F.relu(self.hidden(x.flatten(1)))  # (N, hidden)
        y: Tensor = self.embedding(x)
        return F.normalize(y.float(), dim=1) if self._unit_length else y

    def describe(
        self, cells: Tensor, maps: Mapping[int, Tensor], counts: Sequence[int]
    ) -> list[FloatArray]:
        """(N, 256) float32 for each frame, of (sum of N, C, 7, 7) cells and N for each frame."""
        embeddings = self(cells.to(self.embedding.weight.dtype)).float().cpu().numpy()
        return np.split(embeddings, np.cumsum(counts)[:-1])

    def state(self) -> State:
        """Nothing: every frame stands for itself."""
        return {}

    def restore(self, state: State) -> None:
        """Nothing to go on from."""
