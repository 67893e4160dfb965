"""Where there are objects of any class: what MASA learned beside its embeddings (spec 7).

The published code never calls it; the paper's "segment and track anything" takes its boxes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from masa_cli.models.heads import GRID, box_features
from masa_cli.models.neck import WIDTH, ConvNorm
from masa_cli.models.operators import batched_nms, clip_boxes, nms
from masa_cli.models.variants import Variant

BOX_STEPS = (0.1, 0.1, 0.2, 0.2)  # unit of the second step's deltas
_SIDE = 8  # strides per side of a square anchor
_RATIOS = (0.5, 1.0, 2.0)  # height over width
_MAX_LOG_SCALE = abs(math.log(16 / 1000))  # no box grows or shrinks by more in one step


@dataclass(frozen=True, slots=True)
class ObjectSettings:
    """Which boxes are returned."""

    level_proposals: int = 1000  # best anchors of each level that are decoded
    proposal_overlap: float = 0.7  # IoU above which the weaker of two in one level is dropped
    max_proposals: int = 1000  # best of all levels that become boxes
    min_score: float = 0.02  # boxes up to it are dropped
    max_overlap: float = 0.5  # IoU above which the weaker of two is dropped
    max_boxes: int = 50


class ObjectFinder(nn.Module):
    """Boxes of objects, of whatever class.

    Args:
        variant: whose branch it is.
        settings: which boxes are returned.
    """

    def __init__(self, variant: Variant, settings: ObjectSettings | None = None) -> None:
        super().__init__()
        self.proposals = ProposalNetwork(variant.width)
        self.boxes = BoxNetwork(
            variant.object_convs, variant.object_layers, variant.width, variant.hidden
        )
        self._strides = variant.strides
        self._settings = settings or ObjectSettings()

    def forward(self, maps: Sequence[Tensor], size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Boxes (N, 4) xyxy in pixels of the network input and their scores (N,), the best first.

        Args:
            maps: all fused levels of one image, (1, C, H, W) each.
            size: height and width of the input without padding.
        """
        settings = self._settings
        maps = [x.to(self.boxes.score.weight.dtype) for x in maps]
        proposals, _ = self.propose(maps, size)
        logits, deltas = self.boxes(self._read(maps, proposals))
        boxes = apply_deltas(proposals, deltas * deltas.new_tensor(BOX_STEPS))
        boxes = clip_boxes(boxes, size)
        scores = logits.float().softmax(1)[:, 0]
        likely = scores > settings.min_score
        boxes, scores = boxes[likely], scores[likely]
        kept = nms(boxes, scores, settings.max_overlap)[: settings.max_boxes]
        return boxes[kept], scores[kept]

    def propose(self, maps: Sequence[Tensor], size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Proposals (N, 4) and their scores, as `forward` gives boxes."""
        return self.decode([self.proposals(x) for x in maps], size)

    def decode(
        self, outputs: Sequence[tuple[Tensor, Tensor]], size: tuple[int, int]
    ) -> tuple[Tensor, Tensor]:
        """Proposals of the outputs of `proposals` for each level of one image."""
        settings = self._settings
        boxes, scores, levels = [], [], []
        for level, maps in enumerate(outputs):
            logits, deltas = (y.permute(0, 2, 3, 1).float() for y in maps)
            best, indices = logits.flatten().sigmoid().sort(descending=True, stable=True)
            best, indices = best[: settings.level_proposals], indices[: settings.level_proposals]
            anchors = self.anchors(level, maps[0])[indices]
            boxes.append(apply_deltas(anchors, deltas.reshape(-1, 4)[indices]))
            scores.append(best)
            levels.append(torch.full_like(indices, level))
        found = clip_boxes(torch.cat(boxes), size)
        has_area = (found[:, 2:] > found[:, :2]).all(1)
        found, score = found[has_area], torch.cat(scores)[has_area]
        kept = batched_nms(found, score, torch.cat(levels)[has_area], settings.proposal_overlap)
        kept = kept[: settings.max_proposals]
        return found[kept], score[kept]

    def anchors(self, level: int, x: Tensor) -> Tensor:
        """(H*W*3, 4) the anchors of a level, one of whose maps is (B, C, H, W)."""
        stride = self._strides[0] * 2**level
        return anchor_boxes((x.shape[2], x.shape[3]), stride, x.device)

    def _read(self, maps: Sequence[Tensor], boxes: Tensor) -> Tensor:
        """(N, C, 7, 7) what is inside the boxes, in the numbers the network computes with."""
        cells = box_features(dict(enumerate(maps)), self._strides, [boxes], points=0)
        return cells.to(self.boxes.score.weight.dtype)


class ProposalNetwork(nn.Module):
    """At each cell of a map, for three shapes of anchors: is it an object, and where exactly.

    Args:
        width: channels of the maps.
    """

    def __init__(self, width: int = WIDTH) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1)
        self.score = nn.Conv2d(width, len(_RATIOS), 1)
        self.deltas = nn.Conv2d(width, len(_RATIOS) * 4, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, C, H, W) to logits (B, 3, H, W) and deltas (B, 12, H, W)."""
        x = F.relu(self.conv(x))
        return self.score(x), self.deltas(x)


class BoxNetwork(nn.Module):
    """Of what a proposal shows: is it an object, and where exactly.

    Args:
        num_convs: convolutions before everything is joined.
        num_layers: layers after that.
        width: channels of the maps.
        hidden: numbers between the layers.
    """

    def __init__(
        self, num_convs: int, num_layers: int, width: int = WIDTH, hidden: int = 1024
    ) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            ConvNorm(width, width, 3, nn.BatchNorm2d(width)) for _ in range(num_convs)
        )
        sizes = (width * GRID * GRID, *[hidden] * num_layers)
        self.hidden = nn.ModuleList(map(nn.Linear, sizes[:-1], sizes[1:]))
        self.score = nn.Linear(hidden, 2)
        self.deltas = nn.Linear(hidden, 4)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(N, C, 7, 7) to logits (N, 2) of object and background, and deltas (N, 4)."""
        for conv in self.convs:
            x = F.relu(conv(x))
        x = x.flatten(1)
        for layer in self.hidden:
            x = F.relu(layer(x))
        return self.score(x), self.deltas(x)


def anchor_boxes(size: tuple[int, int], stride: int, device: torch.device) -> Tensor:
    """(H*W*3, 4) xyxy: at each cell three shapes, around the corner of the cell, not its middle."""
    ratios = torch.tensor(_RATIOS, device=device).sqrt()
    halves = torch.stack([1 / ratios, ratios], dim=1) * (_SIDE * stride / 2)  # (3, 2) x, y
    rows, columns = (torch.arange(side, device=device) * stride for side in size)
    centres = torch.cartesian_prod(rows, columns).flip(1)[:, None]  # (H*W, 1, 2) x, y
    return torch.cat([centres - halves, centres + halves], dim=2).view(-1, 4)


def apply_deltas(boxes: Tensor, deltas: Tensor) -> Tensor:
    """Boxes (N, 4) after deltas (N, 4): shifts in widths and heights, growth as logarithms."""
    sides = boxes[:, 2:] - boxes[:, :2]
    middles = (boxes[:, :2] + boxes[:, 2:]) / 2 + deltas[:, :2] * sides
    halves = sides * deltas[:, 2:].clamp(-_MAX_LOG_SCALE, _MAX_LOG_SCALE).exp() / 2
    return torch.cat([middles - halves, middles + halves], dim=1)


def deltas_between(boxes: Tensor, targets: Tensor) -> Tensor:
    """(N, 4) the deltas that `apply_deltas` makes the targets (N, 4) of the boxes (N, 4) with."""
    sides, wanted = (x[:, 2:] - x[:, :2] for x in (boxes, targets))
    shifts = (targets[:, :2] + targets[:, 2:] - boxes[:, :2] - boxes[:, 2:]) / 2 / sides
    return torch.cat([shifts, (wanted / sides).log()], dim=1)
