"""The objective of the one-stage detector: what there is at each cell, and where exactly."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import box_iou, generalized_box_iou_loss

from masa_cli.models.lite_heads import OneStage
from masa_cli.training.batches import Instances
from masa_cli.training.object_prior import BACKGROUND, BatchFeatures, ViewFeatures, mean_of_images

_SEES = 0.05  # score of a teacher's surest class above which it says that there is something


@dataclass(frozen=True, slots=True)
class AlignmentSettings:
    """How cells are chosen."""

    cells: int = 10  # most of them that stand for one object
    score_power: float = 1.0  # how much the score counts
    overlap_power: float = 6.0  # how much the overlap of the box counts
    least_reach: float = 6.0  # cells within it of a small object's middle may stand for it, pixels


@dataclass(frozen=True, slots=True)
class DetectionSettings:
    """How cells are chosen, and how the losses weigh."""

    alignment: AlignmentSettings = field(default_factory=AlignmentSettings)
    score_weight: float = 1.0
    place_weight: float = 2.0
    background: float = 0.75  # weight of cells that stand for nothing
    lesson_weight: float = 1.0  # of what a teacher says, beside labels
    lesson_focus: float = 1.0  # power of how far a score is from the teacher's, in its weight. With
    # 2, as quality focal loss has it, a lesson moves the maps a tenth as much as labels do.
    focus: float = 2.0  # power of their scores in that weight: the surer they err, the more


def align(
    scores: Tensor,
    boxes: Tensor,
    centres: Tensor,
    objects: Tensor,
    labels: Tensor,
    settings: AlignmentSettings,
) -> tuple[Tensor, Tensor]:
    """(N,) the object each cell stands for, or BACKGROUND; (N,) how well, 0 to 1.

    Task alignment (TOOD, arXiv 2108.07755): a cell counts for an object by how well its score and
    its box fit together, so no sizes or distances have to be set for levels.

    Args:
        scores: (N, K) of classes, 0 to 1.
        boxes: (N, 4) xyxy that the cells say.
        centres: (N, 2) centres of the cells.
        objects: (M, 4) xyxy.
        labels: (M,) their classes.
        settings: the choice.
    """
    assigned = torch.full((len(boxes),), BACKGROUND, dtype=torch.int64, device=boxes.device)
    quality = torch.zeros(len(boxes), device=boxes.device)
    if not len(objects):
        return assigned, quality
    overlaps = box_iou(boxes, objects).nan_to_num(0)  # (N, M)
    fit = scores[:, labels] ** settings.score_power * overlaps**settings.overlap_power
    middles = (objects[:, :2] + objects[:, 2:]) / 2
    reach = ((objects[:, 2:] - objects[:, :2]) / 2).clamp(min=settings.least_reach)
    within = ((centres[:, None] - middles).abs() < reach).all(dim=2)
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


def detection_losses(
    detector: OneStage, features: BatchFeatures, settings: DetectionSettings
) -> dict[str, Tensor]:
    """The losses of both views of a batch by name.

    Args:
        detector: gives logits and boxes of all cells.
        features: the batch.
        settings: of the choice of cells, and the losses.
    """
    losses = [
        each
        for view in (features.key, features.reference)
        for each in _losses_of_view(detector, view, settings)
    ]
    return mean_of_images(losses)


def _losses_of_view(
    detector: OneStage, view: ViewFeatures, settings: DetectionSettings
) -> list[dict[str, Tensor]]:
    maps = [view.maps[level] for level in sorted(view.maps)]
    logits, boxes = detector(maps)
    centres = detector.cell_centres(maps)
    return [
        _losses(own_logits, own_boxes, centres, instances, settings)
        for own_logits, own_boxes, instances in zip(logits, boxes, view.instances, strict=True)
    ]


def _losses(
    logits: Tensor,
    boxes: Tensor,
    centres: Tensor,
    instances: Instances,
    settings: DetectionSettings,
) -> dict[str, Tensor]:
    with torch.no_grad():
        assigned, quality = align(
            logits.sigmoid(),
            boxes,
            centres,
            instances.boxes,
            instances.labels,
            settings.alignment,
        )
        stands = assigned != BACKGROUND
        own = assigned[stands]
        target = torch.zeros_like(logits)
        target[stands, instances.labels[own]] = quality[stands]
        target[stands, -1] = quality[stands]
        counts = ~_ignored(centres, instances, logits.shape[1]) | (target > 0)
        surprise = settings.background * logits.sigmoid() ** settings.focus
        weight = torch.where(target > 0, target, surprise) * counts
        total = quality.sum().clamp(min=1)
    score = F.binary_cross_entropy_with_logits(logits, target, weight, reduction="sum")
    box = generalized_box_iou_loss(boxes[stands], instances.boxes[own])
    losses = {
        "detection score": settings.score_weight * score / total,
        "detection place": settings.place_weight * (box * quality[stands]).sum() / total,
    }
    if not len(instances.lesson_scores):
        return losses
    return losses | lesson_losses(logits, boxes, instances, settings)


def lesson_losses(
    logits: Tensor, boxes: Tensor, instances: Instances, settings: DetectionSettings
) -> dict[str, Tensor]:
    """How far a view's cells are from what a teacher says there.

    Scores as in quality focal loss (arXiv 2006.04388), boxes by their overlap, as much as the
    teacher is sure of any. That there is any object is learned where the teacher sees one: where it
    sees none, there may be one of a class that it does not know.

    Args:
        logits: (N, K + 1).
        boxes: (N, 4) xyxy, pixels of the view.
        instances: with a lesson of the first C cells.
        settings: of the losses.
    """
    wanted = instances.lesson_scores.float()
    count, weight = len(wanted), settings.lesson_weight
    told, surest = logits[:count], wanted.amax(dim=1)
    sees = surest > _SEES
    any_wanted = torch.where(sees, surest, 0)[:, None]
    target = torch.cat([wanted, any_wanted], dim=1)
    focus = (target - told.detach().sigmoid()).abs() ** settings.lesson_focus
    focus[:, -1] *= sees
    total = surest[sees].sum().clamp(min=1)
    score = F.binary_cross_entropy_with_logits(told, target, focus, reduction="sum")
    place = generalized_box_iou_loss(boxes[:count][sees], instances.lesson_boxes.float()[sees])
    return {
        "lesson score": weight * settings.score_weight * score / total,
        "lesson place": weight * settings.place_weight * (place * surest[sees]).sum() / total,
    }


def _ignored(centres: Tensor, instances: Instances, num_scores: int) -> Tensor:
    """(N, K + 1) which scores of which cells nothing is known about."""
    boxes = instances.ignored_boxes
    inside = (centres[:, None] > boxes[:, :2]) & (centres[:, None] < boxes[:, 2:])
    rows, regions = inside.all(dim=2).nonzero().unbind(1)
    unknown = torch.zeros(len(centres), num_scores, dtype=torch.bool, device=centres.device)
    unknown[rows, instances.ignored_labels[regions]] = True
    unknown[rows, -1] = True
    return unknown
