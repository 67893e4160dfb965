"""Detic behind its backbone: maps in; proposals, boxes with classes, and masks out.

CenterNet2 proposes 256 boxes (arXiv 2103.07461), three stages move them one after the other and
compare what they show with vectors of words (arXiv 2201.02605). The numbers below are those of
every published configuration; they are not for tuning.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import clip_boxes_to_image, nms

from masa_cli.models.device import choose_placement, ready
from masa_cli.models.features import FrameFeatures, Pyramid
from masa_cli.models.heads import GRID, box_features
from masa_cli.models.neck import FPN, WIDTH, ConvNorm, NoFusion
from masa_cli.models.object_branch import apply_deltas
from masa_cli.models.published_weights import load_parts

CHANNELS = (256, 512, 1024)  # of the backbone's maps, a Swin-B's
STRIDES = (8, 16, 32, 64, 128)  # pixels per cell of the five levels
NUM_CLASSES = 1203  # LVIS's, whose vectors come with the weights
TEXT_DIM = 512  # numbers per vector of a word

_READ = STRIDES[:3]  # what boxes show is read from the three finest levels
_FINEST_SIDE = 112  # boxes of less than twice that side, pixels, are read from the finest
_HIDDEN = 1024
_MIN_HEAT = 1e-4  # cells up to it propose nothing
_MAX_CELLS = 1000  # of a level, the best
_MIN_SIDE = 0.01  # pixels of a proposal
_PROPOSAL_OVERLAP = 0.9  # IoU above which the weaker of two proposals is dropped
_MAX_PROPOSALS = 256
_SHARPNESS = 50.0  # length of what is compared with the vectors of words
# The unit of a stage's deltas: shifts in widths and heights, growth as logarithms.
_STEPS = ((0.1, 0.1, 0.2, 0.2), (0.05, 0.05, 0.1, 0.1), (0.033, 0.033, 0.067, 0.067))
# From so many candidates on, overlaps count within each class alone (mmcv's batched NMS).
MANY_CANDIDATES = 100_000
_MASK_GRID = 14
MASK_SIDE = 28  # cells per side of a mask


class DeticNeck(FPN):
    """A pyramid without normalisation, whose two coarsest levels are computed from the third."""

    def __init__(self) -> None:
        super().__init__(CHANNELS, norm=lambda width: None)
        self.coarser = nn.ModuleList(
            nn.Conv2d(WIDTH, WIDTH, 3, stride=2, padding=1) for _ in range(2)
        )

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """(B, C, H, W) maps at strides 8, 16, 32 to five levels of 256 channels."""
        levels = super().forward(maps)[: len(maps)]
        levels.append(self.coarser[0](levels[-1]))  # (B, 256, H/64, W/64)
        levels.append(self.coarser[1](F.relu(levels[-1])))  # (B, 256, H/128, W/128)
        return levels


def build_detic_pyramid(
    name: str, features: FrameFeatures, weights: Path, *, device: str, precision: str
) -> Pyramid:
    """The levels that boxes and masks are found on, to be shared.

    Args:
        name: of the variant in the file.
        features: of its backbone.
        weights: the file.
        device: auto, cpu, cuda or mps.
        precision: float32, bfloat16 or float16.

    Raises:
        WeightsError: the file is not that of the variant.
    """
    with torch.device("meta"):
        neck = DeticNeck()
    load_parts(weights, name, {"pyramid": neck})
    return Pyramid(features, ready(neck, *choose_placement(device, precision)), NoFusion())


class Proposer(nn.Module):
    """How likely each cell is the middle of an object, and how far its four sides are."""

    def __init__(self) -> None:
        super().__init__()
        # Convolutions with a bias, though each is normalised.
        steps = (
            OrderedDict(
                conv=nn.Conv2d(WIDTH, WIDTH, 3, padding=1),
                norm=nn.GroupNorm(32, WIDTH),
                relu=nn.ReLU(),
            )
            for _ in range(4)
        )
        self.tower = nn.Sequential(*map(nn.Sequential, steps))
        self.heat = nn.Conv2d(WIDTH, 1, 3, padding=1)
        self.distances = nn.Conv2d(WIDTH, 4, 3, padding=1)
        self.scales = nn.ParameterList(nn.Parameter(torch.ones(())) for _ in STRIDES)

    def forward(self, levels: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
        """For each level logits (B, 1, H, W), and (B, 4, H, W) pixels to the left, up, right, down.

        Args:
            levels: (B, 256, H, W) each, the tower is the same for all.
        """
        found = []
        for level, scale, stride in zip(levels, self.scales, STRIDES, strict=True):
            x = self.tower(level)
            distances = F.relu(self.distances(x).float() * scale.float()) * stride
            found.append((self.heat(x).float(), distances))
        return found


def propose(outputs: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """The best boxes (N, 4), not cut off at the frame, and their scores (N,), the best first.

    Args:
        outputs: of `Proposer` for one image: (1, H, W) logits and (4, H, W) distances of each
            level.
    """
    boxes, scores = [], []
    for (logits, distances), stride in zip(outputs, STRIDES, strict=True):
        heat = logits.flatten().sigmoid()  # (H * W,)
        cells = (heat > _MIN_HEAT).nonzero()[:, 0]
        if len(cells) > _MAX_CELLS:
            cells = cells[heat[cells].topk(_MAX_CELLS).indices]
        width = logits.shape[-1]
        x, y = ((each + 0.5) * stride for each in (cells % width, cells // width))
        left, up, right, down = distances.flatten(1)[:, cells]  # (4, N)
        boxes.append(torch.stack([x - left, y - up, x + right, y + down], dim=1))
        scores.append(heat[cells].sqrt())
    found, score = torch.cat(boxes), torch.cat(scores)
    found[:, 2:] = torch.maximum(found[:, 2:], found[:, :2] + _MIN_SIDE)
    kept = nms(found, score, _PROPOSAL_OVERLAP)[:_MAX_PROPOSALS]
    return found[kept], score[kept]


class Stage(nn.Module):
    """Of what a box shows: which classes it may be, and where exactly."""

    classes: Tensor  # (512, C + 1), a column for each class; the last, of background, is not read

    def __init__(self) -> None:
        super().__init__()
        sizes = (WIDTH * GRID * GRID, _HIDDEN, _HIDDEN)
        self.hidden = nn.ModuleList(map(nn.Linear, sizes[:-1], sizes[1:]))
        self.word = nn.Linear(_HIDDEN, TEXT_DIM)
        self.shift = nn.Linear(_HIDDEN, _HIDDEN)
        self.deltas = nn.Linear(_HIDDEN, 4)
        self.register_buffer("classes", torch.empty(TEXT_DIM, NUM_CLASSES + 1))

    def forward(self, cells: Tensor) -> tuple[Tensor, Tensor]:
        """(N, 256, 7, 7) to logits (N, C) and deltas (N, 4), both float32."""
        x = cells.flatten(1)  # (N, 256 * 7 * 7)
        for layer in self.hidden:
            x = F.relu(layer(x))
        words = _SHARPNESS * F.normalize(self.word(x).float(), dim=1)  # (N, 512)
        logits = words @ self.classes[:, :-1].float()  # (N, C)
        return logits, self.deltas(F.relu(self.shift(x))).float()


class Detic(nn.Module):
    """The detector on the levels of `DeticNeck`, without its masks."""

    def __init__(self) -> None:
        super().__init__()
        self.proposals = Proposer()
        self.stages = nn.ModuleList(Stage() for _ in _STEPS)

    def forward(
        self, levels: Sequence[Tensor], size: tuple[int, int]
    ) -> list[tuple[Tensor, Tensor]]:
        """For each image boxes (N, 4) xyxy in its pixels, and the scores (N, C) of all classes.

        Args:
            levels: (B, 256, H, W) each.
            size: height and width of the images without padding.
        """
        outputs = self.proposals(levels)
        found = []
        for index in range(len(levels[0])):
            boxes, scores = propose([(heat[index], sides[index]) for heat, sides in outputs])
            found.append(self.refine([x[index : index + 1] for x in levels], boxes, scores, size))
        return found

    def refine(
        self, levels: Sequence[Tensor], boxes: Tensor, scores: Tensor, size: tuple[int, int]
    ) -> tuple[Tensor, Tensor]:
        """The boxes where the last stage puts them, (N, 4), and the scores (N, C) of all classes.

        Args:
            levels: of one image, (1, 256, H, W) each.
            boxes: (N, 4) proposals; boxes that come to be empty stay.
            scores: (N,) of the proposals; they count, in the end, as much as the classes'.
            size: height and width of the image without padding.
        """
        likely = torch.zeros((), device=boxes.device)
        for stage, steps in zip(self.stages, _STEPS, strict=True):
            cells = _read(levels, boxes, GRID).to(self.proposals.heat.weight.dtype)
            logits, deltas = stage(cells)
            likely = likely + logits.sigmoid()
            boxes = apply_deltas(boxes, deltas * deltas.new_tensor(steps))
            boxes = clip_boxes_to_image(boxes, size)
        return boxes, (likely / len(self.stages) * scores[:, None]).sqrt()


class DeticMasks(nn.Module):
    """What belongs to the object inside a box, whatever its class."""

    def __init__(self) -> None:
        super().__init__()
        self.convs = nn.ModuleList(ConvNorm(WIDTH, WIDTH, 3, None) for _ in range(4))
        self.enlarge = nn.ConvTranspose2d(WIDTH, WIDTH, 2, stride=2)
        self.logits = nn.Conv2d(WIDTH, 1, 1)

    def forward(self, levels: Sequence[Tensor], boxes: Tensor) -> Tensor:
        """(N, 28, 28) float32 probabilities over each of (N, 4) boxes xyxy of one image."""
        x = _read(levels, boxes, _MASK_GRID).to(self.logits.weight.dtype)  # (N, 256, 14, 14)
        for conv in self.convs:
            x = F.relu(conv(x))
        x = F.relu(self.enlarge(x))  # (N, 256, 28, 28)
        found: Tensor = self.logits(x)[:, 0].float().sigmoid()
        return found


def select(
    boxes: Tensor, scores: Tensor, min_scores: Tensor, max_overlap: float, max_boxes: int
) -> tuple[Tensor, Tensor, Tensor]:
    """The best of all pairs of a box and a class, as rows, classes and scores, (N,) each.

    A place has one class: the weaker of two that overlap is dropped, whatever they are. Not so if
    there are very many candidates: then only overlaps within a class count.

    Args:
        boxes: (N, 4) xyxy.
        scores: (N, C).
        min_scores: (C,) scores up to these are dropped.
        max_overlap: IoU above which the weaker of two is dropped.
        max_boxes: of all that are left, the best.
    """
    is_candidate = scores > min_scores
    if int(is_candidate.sum()) < MANY_CANDIDATES:
        rows, labels = is_candidate.nonzero(as_tuple=True)
        kept = nms(boxes[rows], scores[rows, labels], max_overlap)
        rows, labels = rows[kept], labels[kept]
    else:
        parts = []
        for label in range(scores.shape[1]):
            own = is_candidate[:, label].nonzero()[:, 0]
            own = own[nms(boxes[own], scores[own, label], max_overlap)]
            parts.append(torch.stack([own, torch.full_like(own, label)]))
        rows, labels = torch.cat(parts, dim=1)
    best = scores[rows, labels].argsort(descending=True, stable=True)[:max_boxes]
    rows, labels = rows[best], labels[best]
    return rows, labels, scores[rows, labels]


def paste(
    probabilities: Tensor, box: Tensor, size: tuple[int, int]
) -> tuple[Tensor, tuple[int, int]]:
    """The pixels of a mask in a window of the picture, (h, w) bool, and x and y of the first.

    Args:
        probabilities: (28, 28) over the box.
        box: (4,) xyxy in pixels of the picture, which it may leave.
        size: height and width of the picture.
    """
    corner, axes = [], []
    for low, high, limit in ((box[0], box[2], size[1]), (box[1], box[3], size[0])):
        start, stop = max(math.floor(low) - 1, 0), min(math.ceil(high) + 1, limit)
        middles = torch.arange(start, max(start, stop), device=box.device) + 0.5
        places = (middles - low) / (high - low) * 2 - 1  # -1 to 1 over the box
        axes.append(places if high > low else torch.zeros_like(places))
        corner.append(start)
    grid = torch.stack(torch.meshgrid(*axes, indexing="xy"), dim=2)[None]  # (1, h, w, 2)
    shares = F.grid_sample(probabilities[None, None], grid, align_corners=False)
    return shares[0, 0] >= 0.5, (corner[0], corner[1])


def _read(levels: Sequence[Tensor], boxes: Tensor, grid: int) -> Tensor:
    """(N, 256, grid, grid) float32 what (N, 4) boxes of one image show."""
    maps = dict(enumerate(levels[: len(_READ)]))
    return box_features(maps, _READ, [boxes], points=0, grid=grid, finest=_FINEST_SIDE)
