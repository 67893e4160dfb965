"""The masks of `lite`: a small network that looks at boxes on the maps its detector looks at."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import roi_align

from masa_cli.models.variants import Variant

PART = "masks"  # in a file of weights
MARGIN = 0.1  # looked at on each side of a box, of its width and height
CELLS, FINE = 28, 4  # a box is 28 x 28 cells, its colours and its mask have 4 x 4 points in each
SIDE = CELLS * FINE
_STEPS, _WIDTH, _GROUPS = 4, 48, 8
_POINTS = 2  # read from the maps per side of a cell


class MaskHead(nn.Module):
    """Which of 112 x 112 parts of a box and its margin show the object.

    Args:
        variant: whose maps it reads, the backbone's finest and the finest fused one.
    """

    def __init__(self, variant: Variant) -> None:
        super().__init__()
        seen = variant.channels[0] + variant.width + 3 * FINE**2
        self.scale = nn.BatchNorm2d(seen)
        self.first = nn.Conv2d(2 + seen, _WIDTH, 1)
        self.steps = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(_WIDTH, _WIDTH, 3, padding=1), nn.GroupNorm(_GROUPS, _WIDTH), nn.ReLU()
            )
            for _ in range(_STEPS)
        )
        self.last = nn.Conv2d(_WIDTH, FINE**2, 1)

    def forward(self, cells: Tensor) -> Tensor:
        """(N, C, 28, 28) of `cells_of` to (N, 112, 112) logits."""
        line = torch.linspace(-1, 1, CELLS, device=cells.device)
        places = torch.stack(torch.meshgrid(line, line, indexing="xy")).expand(
            len(cells), -1, -1, -1
        )
        x = F.relu(self.first(torch.cat([places, self.scale(cells)], dim=1)))
        for step in self.steps:
            x = x + step(x)
        return F.pixel_shuffle(self.last(x), FINE)[:, 0]


def cells_of(maps: Sequence[Tensor], stride: int, boxes: Tensor, colours: Tensor) -> Tensor:
    """What there is in boxes: (N, C, 28, 28) float32.

    Args:
        maps: (1, C, H, W) each, of one size.
        stride: pixels of the picture per cell of these.
        boxes: (N, 4) xyxy with their margins, pixels of the picture.
        colours: (N, 3, 112, 112) the same parts of the frame, -1 to 1.
    """
    seen = [
        roi_align(x.float().contiguous(), [boxes], CELLS, 1 / stride, _POINTS, aligned=True)
        for x in maps
    ]
    return torch.cat([*seen, F.pixel_unshuffle(colours, FINE)], dim=1)
