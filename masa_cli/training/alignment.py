"""Which cells of a one-stage detector stand for which object: those that do it best.

A cell counts for an object by how well its score and its box fit together (task alignment, TOOD,
arXiv 2108.07755), so no sizes or distances have to be set for levels.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.ops import box_iou

NOTHING = -1  # in place of an object's number


@dataclass(frozen=True, slots=True)
class AlignmentSettings:
    """How cells are chosen."""

    cells: int = 10  # most of them that stand for one object
    score_power: float = 1.0  # how much the score counts
    overlap_power: float = 6.0  # how much the overlap of the box counts
    least_reach: float = 6.0  # cells within it of a small object's middle may stand for it, pixels


def align(
    scores: Tensor,
    boxes: Tensor,
    places: Tensor,
    objects: Tensor,
    labels: Tensor,
    settings: AlignmentSettings,
) -> tuple[Tensor, Tensor]:
    """(N,) the object each cell stands for, or NOTHING; (N,) how well, 0 to 1.

    Args:
        scores: (N, K) of classes, 0 to 1.
        boxes: (N, 4) xyxy that the cells say.
        places: (N, 2) middles of the cells.
        objects: (M, 4) xyxy.
        labels: (M,) their classes.
        settings: the choice.
    """
    assigned = torch.full((len(boxes),), NOTHING, dtype=torch.int64, device=boxes.device)
    quality = torch.zeros(len(boxes), device=boxes.device)
    if not len(objects):
        return assigned, quality
    overlaps = box_iou(boxes, objects).nan_to_num(0)  # (N, M)
    fit = scores[:, labels] ** settings.score_power * overlaps**settings.overlap_power
    middles = (objects[:, :2] + objects[:, 2:]) / 2
    reach = ((objects[:, 2:] - objects[:, :2]) / 2).clamp(min=settings.least_reach)
    within = ((places[:, None] - middles).abs() < reach).all(dim=2)
    fit = torch.where(within, fit.clamp(min=1e-12), 0)
    best = fit.topk(min(settings.cells, len(fit)), dim=0).values[-1].clamp(min=1e-13)  # (M,)
    chosen = fit >= best
    # A cell that several objects want stands for the one it overlaps most.
    wanted = torch.where(chosen, overlaps + 1e-9, 0)
    most, nearest = wanted.max(dim=1)
    stands = most > 0
    assigned[stands] = nearest[stands]
    own = torch.zeros_like(fit)
    own[stands, nearest[stands]] = fit[stands, nearest[stands]]
    highest = own.amax(dim=0).clamp(min=1e-12)
    overlap = torch.where(own > 0, overlaps, 0).amax(dim=0)
    quality[stands] = (own / highest * overlap)[stands, nearest[stands]]
    return assigned, quality
