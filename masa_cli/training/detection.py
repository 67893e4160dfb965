"""The objective of the one-stage detector: what there is at each cell, and where exactly."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import generalized_box_iou_loss

from masa_cli.models.one_stage import OneStage
from masa_cli.training.alignment import NOTHING, AlignmentSettings, align
from masa_cli.training.batches import Instances
from masa_cli.training.seen import Seen, SeenViews, mean_of_images


@dataclass(frozen=True, slots=True)
class DetectionSettings:
    """How cells are chosen, and how the losses weigh."""

    alignment: AlignmentSettings = field(default_factory=AlignmentSettings)
    score_weight: float = 1.0
    place_weight: float = 2.0
    background: float = 0.75  # weight of cells that stand for nothing
    focus: float = 2.0  # power of their scores in that weight: the surer they err, the more


def detection_losses(
    detector: OneStage, seen: Seen, settings: DetectionSettings
) -> dict[str, Tensor]:
    """The losses of both views of a batch by name.

    Args:
        detector: says what it sees.
        seen: the batch.
        settings: of the choice of cells, and the losses.
    """
    losses = [
        each
        for view in (seen.key, seen.reference)
        for each in _losses_of_view(detector, view, settings)
    ]
    return mean_of_images(losses)


def _losses_of_view(
    detector: OneStage, view: SeenViews, settings: DetectionSettings
) -> list[dict[str, Tensor]]:
    maps = [view.maps[level] for level in sorted(view.maps)]
    logits, boxes = detector(maps)
    places = detector.cells(maps)
    return [
        _losses(own_logits, own_boxes, places, instances, settings)
        for own_logits, own_boxes, instances in zip(logits, boxes, view.instances, strict=True)
    ]


def _losses(
    logits: Tensor,
    boxes: Tensor,
    places: Tensor,
    instances: Instances,
    settings: DetectionSettings,
) -> dict[str, Tensor]:
    with torch.no_grad():
        assigned, quality = align(
            logits.sigmoid(),
            boxes,
            places,
            instances.boxes,
            instances.labels,
            settings.alignment,
        )
        stands = assigned != NOTHING
        own = assigned[stands]
        target = torch.zeros_like(logits)
        target[stands, instances.labels[own]] = quality[stands]
        target[stands, -1] = quality[stands]
        counts = ~_ignored(places, instances, logits.shape[1]) | (target > 0)
        surprise = settings.background * logits.sigmoid() ** settings.focus
        weight = torch.where(target > 0, target, surprise) * counts
        total = quality.sum().clamp(min=1)
    score = F.binary_cross_entropy_with_logits(logits, target, weight, reduction="sum")
    place = generalized_box_iou_loss(boxes[stands], instances.boxes[own])
    return {
        "detection score": settings.score_weight * score / total,
        "detection place": settings.place_weight * (place * quality[stands]).sum() / total,
    }


def _ignored(places: Tensor, instances: Instances, num_scores: int) -> Tensor:
    """(N, K + 1) which scores of which cells nothing is known about."""
    boxes = instances.ignored_boxes
    inside = (places[:, None] > boxes[:, :2]) & (places[:, None] < boxes[:, 2:])
    rows, regions = inside.all(dim=2).nonzero().unbind(1)
    unknown = torch.zeros(len(places), num_scores, dtype=torch.bool, device=places.device)
    unknown[rows, instances.ignored_labels[regions]] = True
    unknown[rows, -1] = True
    return unknown
