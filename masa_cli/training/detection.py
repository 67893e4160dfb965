"""The objectives of `lite`'s detector: what there is at each cell; what is in the best boxes.

The second stage learns from the boxes it will be asked about: the best of each view, as the first
has them in that step. Gradients go on into the maps that both read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import box_iou, generalized_box_iou_loss

from masa_cli.models.lite_heads import (
    OneStage,
    ProposalSettings,
    SecondStage,
    read_boxes,
    select_proposals,
)
from masa_cli.models.operators import clip_boxes
from masa_cli.training.batches import Instances
from masa_cli.training.object_prior import BACKGROUND, BatchFeatures, ViewFeatures, mean_of_images

_SEES = 0.05  # score of a teacher's surest class above which it says that there is something
_COVERED = 0.5  # share of a box in a region to ignore, from which its class is ignored there
_BEND = 0.05  # shift up to which its loss is quadratic


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
    """The losses of both views of a batch by name; views keep what is said of their cells.

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
    view.cells = logits.detach(), boxes.detach()
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


@dataclass(frozen=True, slots=True)
class SecondStageLossSettings:
    """From which boxes is learned, and how the losses weigh."""

    right: float = 0.5  # IoU from which a box is one of the true class
    wrong: float = 0.4  # IoU below which it is of none; between both nothing is learned of the true
    most_right: int = 40  # boxes of one view that are learned from, the best first
    best_wrong: int = 12  # of those that are wrong, the best
    other_wrong: int = 10  # and some of the others
    score_weight: float = 1.0
    place_weight: float = 1.0
    focus: float = 1.5  # power of a score that weighs how wrong it is where it should be 0

    def __post_init__(self) -> None:
        if not 0 <= self.wrong <= self.right <= 1:
            raise ValueError("wrong must be at most right, both between 0 and 1")


@dataclass(frozen=True, slots=True, eq=False)
class Lessons:
    """What N boxes teach.

    Attributes:
        classes: (N,) of the true box that each overlaps most.
        overlaps: (N,) with that.
        shifts: (N, 4) to that, in widths and heights of the box.
        ignored: (N, K) classes of which nothing is known there.
    """

    classes: Tensor
    overlaps: Tensor
    shifts: Tensor
    ignored: Tensor

    def __getitem__(self, rows: Tensor) -> Lessons:
        return Lessons(*(column[rows] for column in self.columns()))

    def columns(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """All of them."""
        return self.classes, self.overlaps, self.shifts, self.ignored

    @staticmethod
    def joined(parts: Sequence[Lessons]) -> Lessons:
        """Those of several views."""
        columns = zip(*(part.columns() for part in parts), strict=True)
        return Lessons(*(torch.cat(column) for column in columns))


def lessons_of(boxes: Tensor, instances: Instances, num_classes: int) -> Lessons:
    """What is true of boxes.

    Args:
        boxes: (N, 4) xyxy, pixels of the view.
        instances: what is in the view.
        num_classes: that are told apart; labels from there on are of none of them.
    """
    is_known = instances.labels < num_classes
    objects, labels = instances.boxes[is_known], instances.labels[is_known]
    overlaps, classes = boxes.new_zeros(len(boxes)), torch.zeros_like(boxes[:, 0], dtype=torch.long)
    targets = boxes
    if len(objects) and len(boxes):
        overlaps, best = box_iou(boxes, objects).max(dim=1)
        classes, targets = labels[best], objects[best]
    sides = (boxes[:, 2:] - boxes[:, :2]).repeat(1, 2)
    ignored = torch.zeros(len(boxes), num_classes, dtype=torch.bool, device=boxes.device)
    rows, regions = (_covered(boxes, instances.ignored_boxes) > _COVERED).nonzero().unbind(1)
    unknown = instances.ignored_labels[regions]
    ignored[rows[unknown < num_classes], unknown[unknown < num_classes]] = True
    return Lessons(classes, overlaps, (targets - boxes) / sides, ignored)


def _covered(boxes: Tensor, regions: Tensor) -> Tensor:
    """(N, M) shares of boxes (N, 4) that are in regions (M, 4)."""
    shared = torch.minimum(boxes[:, None, 2:], regions[:, 2:]) - torch.maximum(
        boxes[:, None, :2], regions[:, :2]
    )
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(dim=1)
    return shared.clamp(min=0).prod(dim=2) / areas[:, None].clamp(min=1e-9)


def draw_boxes(
    overlaps: Tensor, settings: SecondStageLossSettings, generator: torch.Generator
) -> Tensor:
    """(M,) rows to learn from, of boxes (N,) that come the best first."""
    is_right = overlaps >= (settings.right + settings.wrong) / 2
    right, wrong = (rows.nonzero()[:, 0] for rows in (is_right, ~is_right))
    others = wrong[settings.best_wrong :]
    others = others[torch.randperm(len(others), generator=generator).to(others.device)]
    return torch.cat(
        [
            right[: settings.most_right],
            wrong[: settings.best_wrong],
            others[: settings.other_wrong],
        ]
    )


def losses_of_boxes(
    found: Tensor, lessons: Lessons, settings: SecondStageLossSettings
) -> tuple[Tensor, Tensor]:
    """How wrong classes are, and places, per box that is right.

    Args:
        found: (N, K + 4) of `SecondStage`.
        lessons: what is true.
        settings: of the losses.
    """
    num_classes = lessons.ignored.shape[1]
    logits, shifts = found[:, :num_classes].float(), found[:, num_classes:].float()
    right = lessons.overlaps >= settings.right
    rows = torch.arange(len(logits), device=logits.device)
    wanted = torch.zeros_like(logits)
    wanted[rows[right], lessons.classes[right]] = lessons.overlaps[right]
    known = ~lessons.ignored | (wanted > 0)
    doubtful = (lessons.overlaps >= settings.wrong) & ~right
    known[rows[doubtful], lessons.classes[doubtful]] = False
    wrongness = logits.detach().sigmoid() ** settings.focus
    # As varifocal loss (arXiv 2008.13367): what is right counts by its overlap.
    weights = torch.where(wanted > 0, wanted, wrongness) * known
    score = F.binary_cross_entropy_with_logits(logits, wanted, weights, reduction="sum")
    place = F.smooth_l1_loss(shifts[right], lessons.shifts[right], beta=_BEND, reduction="sum")
    number = right.sum().clamp(min=1)
    return settings.score_weight * score / number, settings.place_weight * place / number


def second_stage_losses(
    stage: SecondStage, features: BatchFeatures, settings: SecondStageLossSettings
) -> dict[str, Tensor]:
    """The losses of both views of a batch by name, for all their boxes together.

    Args:
        stage: is told what is read of boxes.
        features: the batch, with what the first stage says of all cells.
        settings: of draws and losses.
    """
    examples = [
        each
        for view in (features.key, features.reference)
        for each in _examples_of(stage, view, features, settings)
    ]
    read, logits, lessons = zip(*examples, strict=True)
    found = stage(torch.cat(read), torch.cat(logits))
    score, place = losses_of_boxes(found, Lessons.joined(lessons), settings)
    return {"second score": score, "second place": place}


def _examples_of(
    stage: SecondStage,
    view: ViewFeatures,
    features: BatchFeatures,
    settings: SecondStageLossSettings,
) -> list[tuple[Tensor, Tensor, Lessons]]:
    """Of each image what is read of its boxes, the first stage's logits, and what they teach."""
    if view.cells is None:
        raise ValueError("a second stage learns after a first one, as its objective")
    size, strides = (features.size, features.size), features.variant.strides
    maps = stage.narrow(view.backbone)
    levels = [view.maps[level] for level in sorted(view.maps)]
    examples = []
    for index, (generator, instances) in enumerate(
        zip(features.generators(), view.instances, strict=True)
    ):
        logits, boxes = (x[index] for x in view.cells)
        rows = select_proposals(logits, boxes, size, ProposalSettings())
        boxes = clip_boxes(boxes[rows], size)
        lessons = lessons_of(boxes, instances, stage.num_classes)
        chosen = draw_boxes(lessons.overlaps, settings, generator)
        one = slice(index, index + 1)
        read = read_boxes(
            [x[one] for x in maps], [x[one] for x in levels], strides, boxes[chosen], size
        )
        examples.append((read, logits[rows][chosen], lessons[chosen]))
    return examples
