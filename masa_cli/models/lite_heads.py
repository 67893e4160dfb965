"""The heads of `lite`: boxes at every cell, a second stage for the best of them, masks inside them.

The first stage has no anchors, as in FCOS (arXiv 1904.01355); all levels share their weights. The
second reads all that lies in a box, as in Fast R-CNN (arXiv 1504.08083).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from masa_cli.models.operators import as_rois, batched_nms, clip_boxes, nms, roi_align
from masa_cli.models.variants import Variant

_TOWER_STEPS, _KERNEL = 2, 5
_MAX_STRIDES = 6.0  # logarithm of the longest side a cell can speak of, strides
_FIRST_STRIDES = 1.4  # the same before training: boxes are eight strides wide then
_FIRST_LOGIT = -4.6  # scores of 0.01 before training


@dataclass(frozen=True, slots=True)
class OneStageSettings:
    """Which boxes are returned."""

    min_score: float = 0.05  # boxes up to it are dropped
    max_candidates: int = 1000  # boxes that are compared with each other, the best
    max_overlap: float = 0.6  # IoU above which the weaker of two of one class is dropped
    vote_spread: float = 0.05  # of 1 - IoU, by which a dropped box has less say where its better is
    max_boxes: int = 300


class OneStage(nn.Module):
    """What there is at each cell.

    Args:
        variant: whose detector it is.
        classes: that it tells apart; one more score says that there is any object.
    """

    def __init__(self, variant: Variant, classes: Sequence[str]) -> None:
        super().__init__()
        self.classes, self._strides = tuple(classes), variant.strides
        self.steps = nn.Sequential(*(_separable(variant.width) for _ in range(_TOWER_STEPS)))
        self.scores = nn.Conv2d(variant.width, len(self.classes) + 1, 1)
        self.sides = nn.Conv2d(variant.width, 4, 1)

    def initialise(self) -> None:
        """Start training from: hardly anything anywhere, boxes of a middle size."""
        for layer, deviation, bias in (
            (self.scores, 0.01, _FIRST_LOGIT),
            (self.sides, 0.001, _FIRST_STRIDES),
        ):
            nn.init.normal_(layer.weight, std=deviation)
            nn.init.constant_(layer.bias, bias)  # type: ignore[arg-type]

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Logits and boxes of all cells of all levels, level by level, row by row.

        Args:
            maps: all fused levels, (B, C, H, W) each.

        Returns:
            (B, N, K + 1) logits, the last of any object; (B, N, 4) boxes xyxy in pixels of
            the network input.
        """
        logits, boxes = [], []
        for level, each in enumerate(maps):
            x = self.steps(each)
            stride = self._strides[0] * 2**level
            sides = self.sides(x).float().clamp(max=_MAX_STRIDES).exp() * stride
            sides = sides.flatten(2).transpose(1, 2)  # (B, H*W, 4)
            centres = cell_centres_of((x.shape[2], x.shape[3]), stride, x.device)
            boxes.append(torch.cat([centres - sides[..., :2], centres + sides[..., 2:]], dim=2))
            logits.append(self.scores(x).float().flatten(2).transpose(1, 2))
        return torch.cat(logits, dim=1), torch.cat(boxes, dim=1)

    def cell_centres(self, maps: Sequence[Tensor]) -> Tensor:
        """(N, 2) the middle of each cell, x, y in pixels of the network input."""
        return torch.cat(
            [
                cell_centres_of((x.shape[2], x.shape[3]), self._strides[0] * 2**level, x.device)
                for level, x in enumerate(maps)
            ]
        )


def _separable(width: int) -> nn.Module:
    """A wide convolution in two cheap steps, as mobile detectors have it."""
    return nn.Sequential(
        nn.Conv2d(width, width, _KERNEL, padding=_KERNEL // 2, groups=width, bias=False),
        nn.GroupNorm(16, width),
        nn.ReLU(),
        nn.Conv2d(width, width, 1, bias=False),
        nn.GroupNorm(16, width),
        nn.ReLU(),
    )


def cell_centres_of(size: tuple[int, int], stride: int, device: torch.device) -> Tensor:
    """(H*W, 2) x, y of the middle of each cell, row by row."""
    rows, columns = (torch.arange(side, device=device) * stride + stride / 2 for side in size)
    # Not by `cartesian_prod`, for which OpenVINO has no rule.
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    return torch.stack([x, y], dim=2).flatten(0, 1)


def postprocess(
    logits: Tensor, boxes: Tensor, size: tuple[int, int], settings: OneStageSettings
) -> tuple[Tensor, Tensor, Tensor]:
    """The boxes of one image, the best first: (M, 4), scores (M,), columns of `logits` (M,).

    Each is the mean of itself and of those that it makes drop out, by score and overlap.

    Args:
        logits: (N, K) of the classes that count.
        boxes: (N, 4) xyxy.
        size: height and width of the input without padding.
        settings: which boxes count.
    """
    scores = logits.sigmoid()
    rows, labels = (scores > settings.min_score).nonzero().unbind(1)
    found = scores[rows, labels]
    found, order = found.sort(descending=True, stable=True)
    order = order[: settings.max_candidates]
    rows, labels, found = rows[order], labels[order], found[: settings.max_candidates]
    shown = clip_boxes(boxes[rows], size)
    kept = batched_nms(shown, found, labels, settings.max_overlap)[: settings.max_boxes]
    overlaps = _iou(shown[kept], shown)
    has_say = (overlaps > settings.max_overlap) & (labels[kept, None] == labels)
    # As in PAA (arXiv 2007.08103), section 3.4.
    say = has_say * found * (-((1 - overlaps) ** 2) / settings.vote_spread).exp()
    say[torch.arange(len(kept)), kept] = found[kept]  # also of a box without area
    return say / say.sum(dim=1, keepdim=True) @ shown, found[kept], labels[kept]


def _iou(boxes: Tensor, others: Tensor) -> Tensor:
    """(N, M) overlaps of boxes (N, 4) with others (M, 4) xyxy."""
    shared = torch.minimum(boxes[:, None, 2:], others[:, 2:]) - torch.maximum(
        boxes[:, None, :2], others[:, :2]
    )
    common = shared.clamp(min=0).prod(dim=2)
    areas, other_areas = ((each[:, 2:] - each[:, :2]).prod(dim=1) for each in (boxes, others))
    return common / (areas[:, None] + other_areas - common).clamp(min=1e-9)


SECOND_PART = "second"  # in a file of weights
_SIDE, _READ_POINTS = 3, 2  # cells that a box is read in, per side; points per side of a cell
CELLS_READ = _SIDE**2
_LEVEL_SIDE = 40  # pixels; boxes of that side are read from the finest level, of twice it the next
_NARROW = (64, 128)  # channels that are read of the backbone's maps, from the finer one on
_HIDDEN, _DROPPED = 512, 0.3  # numbers between layers; share of them that training leaves out
_FIRST_TRUST, _SECOND_LOGIT = 0.4, -2.0  # before training: in the first stage; beside its logits
_MAX_SHIFT = 0.45  # of a side, of a box's own width or height: less than half, or it turned over
_GEOMETRY = 6


@dataclass(frozen=True, slots=True)
class ProposalSettings:
    """Which boxes of the first stage the second is given, as its proposals."""

    min_score: float = 0.01  # of a class that counts, by the first stage
    max_boxes: int = 80
    max_overlap: float = 0.7  # IoU above which the weaker of two is left out
    max_considered: int = 1000  # boxes that are compared with each other, the best


class NarrowMaps(nn.ModuleList):
    """The maps of a backbone that boxes are read from, with fewer channels; not the finest."""

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """(B, C, H, W) each, all of the backbone's, to one fewer."""
        return [conv(x.float()) for conv, x in zip(self, maps[1:], strict=True)]


class SecondStage(nn.Module):
    """What is in a box, by all that lies in it, where `OneStage` saw one cell; and a better box.

    Args:
        variant: whose maps it reads: the two coarser ones of the backbone, and the fused ones.
        num_classes: that are told apart.
    """

    def __init__(self, variant: Variant, num_classes: int) -> None:
        super().__init__()
        backbone = variant.channels[1:]
        # Reading is linear, so maps are made narrow before boxes are read from them.
        self.narrow = NarrowMaps(
            nn.Conv2d(wide, narrow, 1) for wide, narrow in zip(backbone, _NARROW, strict=True)
        )
        of_boxes = sum(_NARROW) + variant.width
        self.num_read = of_boxes * CELLS_READ + _NARROW[-1] + _GEOMETRY
        self.num_classes = num_classes
        self.first = nn.Linear(self.num_read + num_classes + 1, _HIDDEN)
        self.middle = nn.Linear(_HIDDEN, _HIDDEN)
        self.last = nn.Linear(_HIDDEN, num_classes + 4)
        self.trust = nn.Parameter(torch.zeros(num_classes))  # in the logits of the first stage
        self.dropout = nn.Dropout(_DROPPED)

    def initialise(self) -> None:
        """Start training from: much of what the first stage says, no box moves."""
        nn.init.normal_(self.last.weight, std=0.01)
        nn.init.zeros_(self.last.bias)
        nn.init.constant_(self.last.bias[: self.num_classes], _SECOND_LOGIT)
        nn.init.constant_(self.trust, _FIRST_TRUST)

    def forward(self, read: Tensor, logits: Tensor) -> Tensor:
        """Logits and shifts of N boxes.

        Args:
            read: (N, D) of `read_boxes`, from narrow maps.
            logits: (N, K + 1) of the first stage.

        Returns:
            (N, K + 4): logits of the classes; how far the left, top, right and lower sides move,
            in widths and heights of the box.
        """
        # Logits, mostly from -7 to 0, on the scale of the rest.
        x = F.relu(self.first(torch.cat([read, logits * 0.3 + 1], dim=1)))
        x = x + F.relu(self.middle(self.dropout(x)))
        own, shifts = self.last(self.dropout(x)).split([self.num_classes, 4], dim=1)
        return torch.cat([own + self.trust * logits[:, :-1], shifts], dim=1)


def select_proposals(
    logits: Tensor, boxes: Tensor, size: tuple[int, int], settings: ProposalSettings
) -> Tensor:
    """(M,) rows of the boxes of one image that the second stage shall see, the best first.

    Args:
        logits: (N, K + 1) of the classes that count, and of any object.
        boxes: (N, 4) xyxy, pixels of the network input.
        size: height and width of that without padding.
        settings: how many.
    """
    scores = logits.amax(dim=1)
    counts = logits[:, :-1].amax(dim=1).sigmoid() > settings.min_score
    best = scores.where(counts, -torch.inf).topk(min(settings.max_considered, len(scores))).indices
    best = best[counts[best]]
    shown = clip_boxes(boxes[best], size)
    has_area = ((shown[:, 2:] - shown[:, :2]) > 1).all(dim=1)
    best, shown = best[has_area], shown[has_area]
    kept = nms(shown, scores[best], settings.max_overlap)
    return best[kept[: settings.max_boxes]]


def read_boxes(
    maps: Sequence[Tensor],
    levels: Sequence[Tensor],
    strides: Sequence[int],
    boxes: Tensor,
    size: tuple[int, int],
) -> Tensor:
    """What the second stage is given of the boxes of one image: (N, D) float32.

    From the coarsest of the maps to the finest, then from the level of a box's size 3 x 3 cells,
    channel by channel; the mean of the coarsest map; where the box is.

    Args:
        maps: of the backbone, all but the finest, as they are or narrowed, (1, C, H, W) each.
        levels: the fused ones, (1, C, H, W) each.
        strides: of all maps of the backbone, pixels of the network input per cell.
        boxes: (N, 4) xyxy inside the image, pixels of the network input, at least a pixel wide.
        size: height and width of the network input without padding.
    """
    parts = [_read(x, boxes, stride) for x, stride in zip(maps, strides[1:], strict=True)]
    sides = boxes[:, 2:] - boxes[:, :2]
    side = sides.prod(dim=1).sqrt()
    nearest = (side / _LEVEL_SIDE).log2().round().clamp(0, len(levels) - 1)
    fused = boxes.new_zeros(len(boxes), levels[0].shape[1] * CELLS_READ)
    for level, x in enumerate(levels):
        if len(own := (nearest == level).nonzero()[:, 0]):
            fused[own] = _read(x, boxes[own], strides[0] * 2**level)
    everywhere = maps[-1].float().mean(dim=(2, 3)).expand(len(boxes), -1)
    image = boxes.new_tensor([size[1], size[0]])
    shape = torch.stack([(side / 64).log(), (sides[:, 0] / sides[:, 1]).log()], dim=1)
    middles = (boxes[:, :2] + boxes[:, 2:]) / 2 / image - 0.5
    return torch.cat([*reversed(parts), fused, everywhere, shape, middles, sides / image], dim=1)


def _read(x: Tensor, boxes: Tensor, stride: int) -> Tensor:
    """(N, C * 9) what a map (1, C, H, W) shows in boxes."""
    rois = as_rois([boxes])
    return roi_align(x.float(), rois, _SIDE, 1 / stride, _READ_POINTS).flatten(1)


def shifted(boxes: Tensor, shifts: Tensor) -> Tensor:
    """Boxes (N, 4) xyxy with their sides moved, by shares (N, 4) of their widths and heights."""
    sides = (boxes[:, 2:] - boxes[:, :2]).repeat(1, 2)
    return boxes + shifts.clamp(-_MAX_SHIFT, _MAX_SHIFT) * sides


PART = "masks"  # in a file of weights
MARGIN = 0.1  # looked at on each side of a box, of its width and height
CELLS, FINE = 28, 4  # a box is 28 x 28 cells, its colours and its mask have 4 x 4 points in each
SIDE = CELLS * FINE
_MASK_STEPS, _WIDTH, _GROUPS = 4, 48, 8
_POINTS = 2  # read from the maps per side of a cell


class MaskHead(nn.Module):
    """Which of 112 x 112 parts of a box and its margin show the object.

    Args:
        variant: whose maps it reads, the backbone's finest and the finest fused one.
    """

    def __init__(self, variant: Variant) -> None:
        super().__init__()
        read = variant.channels[0] + variant.width + 3 * FINE**2
        self.scale = nn.BatchNorm2d(read)
        self.first = nn.Conv2d(2 + read, _WIDTH, 1)
        self.steps = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(_WIDTH, _WIDTH, 3, padding=1), nn.GroupNorm(_GROUPS, _WIDTH), nn.ReLU()
            )
            for _ in range(_MASK_STEPS)
        )
        self.last = nn.Conv2d(_WIDTH, FINE**2, 1)

    def forward(self, cells: Tensor) -> Tensor:
        """(N, C, 28, 28) of `mask_input` to (N, 112, 112) logits."""
        line = torch.linspace(-1, 1, CELLS, device=cells.device)
        x, y = line.expand(CELLS, -1), line[:, None].expand(-1, CELLS)
        positions = torch.stack([x, y]).expand(cells.shape[0], -1, -1, -1)
        x = F.relu(self.first(torch.cat([positions, self.scale(cells)], dim=1)))
        for step in self.steps:
            x = x + step(x)
        return F.pixel_shuffle(self.last(x), FINE)[:, 0]


def mask_input(maps: Sequence[Tensor], stride: int, boxes: Tensor, colours: Tensor) -> Tensor:
    """What there is in boxes: (N, C, 28, 28) float32.

    Args:
        maps: (1, C, H, W) each, of one size.
        stride: pixels of the network input per cell of these.
        boxes: (N, 4) xyxy with their margins, pixels of the network input.
        colours: (N, 3, 112, 112) the same parts of the frame, -1 to 1.
    """
    read = [roi_align(x.float(), as_rois([boxes]), CELLS, 1 / stride, _POINTS) for x in maps]
    return torch.cat([*read, F.pixel_unshuffle(colours, FINE)], dim=1)
