"""The objective of the object branch: where there are objects of any class (spec 7 and 10.4).

Here, too, is what objectives share: the features of a batch, and which boxes stand for an object.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import box_iou

from masa_cli.models.heads import box_features
from masa_cli.models.object_branch import BOX_STEPS, ObjectFinder, deltas_between
from masa_cli.models.variants import Variant
from masa_cli.training.batches import Instances

BACKGROUND, UNDECIDED = -1, -2  # in place of an object's number


@dataclass(frozen=True, slots=True)
class AssignSettings:
    """When a box stands for an object, and how many boxes are drawn (spec 10.3)."""

    positive_overlap: float  # IoU from which on a box stands for the object it overlaps most
    negative_overlap: float  # IoU with every object below which it is background
    num_samples: int  # boxes drawn of one image
    positive_share: float  # most of them that stand for objects, 0 to 1
    rescue_overlap: float = 1.0  # an object's best boxes stand for it from that IoU on; 1: not so
    max_negatives: float = -1.0  # background per box that stands for an object; below 0: no limit
    balanced: bool = False  # whether every object shall have as many boxes


@dataclass(frozen=True, slots=True)
class ObjectPriorSettings:
    """Which boxes the branch is trained on, and how its losses weigh."""

    anchors: AssignSettings = field(
        default_factory=lambda: AssignSettings(
            positive_overlap=0.7,
            negative_overlap=0.3,
            num_samples=256,
            positive_share=0.5,
            rescue_overlap=0.3,
        )
    )
    boxes: AssignSettings = field(
        default_factory=lambda: AssignSettings(
            positive_overlap=0.5, negative_overlap=0.5, num_samples=512, positive_share=0.25
        )
    )
    score_weight: float = 1.0  # of is it an object, in both steps
    place_weight: float = 1.0  # of where exactly, in both steps
    smooth: float = 1 / 9  # of the anchors' deltas: below it, errors count squared; 0: never


@dataclass(slots=True, eq=False)
class ViewFeatures:
    """One view of each of B pairs.

    Attributes:
        maps: by level (B, C, H, W), fused.
        instances: what is in each.
        backbone: the maps (B, C, H, W) that these are made of, the finest first.
        proposals: for each (N, 4) boxes that may show objects, where an objective found some.
        cells: (B, N, K + 1) logits and (B, N, 4) boxes of all cells, where an objective has a
            detector say them; without gradients.
    """

    maps: Mapping[int, Tensor]
    instances: tuple[Instances, ...]
    backbone: Sequence[Tensor] = ()
    proposals: list[Tensor] = field(default_factory=list)
    cells: tuple[Tensor, Tensor] | None = None


@dataclass(slots=True, eq=False)
class BatchFeatures:
    """What the network makes of a batch.

    Attributes:
        variant: of the network.
        size: side of the views, pixels.
        key: the first view of each pair.
        reference: the second.
        seeds: of each pair.
    """

    variant: Variant
    size: int
    key: ViewFeatures
    reference: ViewFeatures
    seeds: tuple[int, ...]

    def generators(self) -> list[torch.Generator]:
        """For each pair random numbers that depend on nothing but the pair."""
        return [torch.Generator().manual_seed(seed) for seed in self.seeds]


def object_prior_losses(
    finder: ObjectFinder, features: BatchFeatures, settings: ObjectPriorSettings
) -> dict[str, Tensor]:
    """The losses of the key views by name; both views get proposals.

    Args:
        finder: the branch.
        features: the batch.
        settings: of draws and losses.
    """
    generators = features.generators()
    levels = sorted(features.key.maps)
    outputs = [finder.proposals(features.key.maps[level]) for level in levels]
    features.key.proposals = _proposals(finder, outputs, features)
    with torch.no_grad():
        again = [finder.proposals(features.reference.maps[level]) for level in levels]
    features.reference.proposals = _proposals(finder, again, features)
    anchors = torch.cat([finder.anchors(level, outputs[level][0]) for level in levels])
    first = [
        _anchor_losses(_of_image(outputs, index), anchors, instances, settings, generator)
        for index, (instances, generator) in enumerate(
            zip(features.key.instances, generators, strict=True)
        )
    ]
    second = _box_losses(finder, features, settings, generators)
    return mean_of_images(first) | mean_of_images(second)


def assign(boxes: Tensor, objects: Tensor, settings: AssignSettings) -> Tensor:
    """(N,) for each box the number of its object, or BACKGROUND, or UNDECIDED in between.

    Args:
        boxes: (N, 4) xyxy.
        objects: (M, 4) xyxy.
        settings: the overlaps.
    """
    assigned = torch.full((len(boxes),), BACKGROUND, device=boxes.device)
    if not len(objects) or not len(boxes):
        return assigned
    overlaps = box_iou(boxes.float(), objects.float())  # (N, M)
    highest, nearest = overlaps.max(1)
    assigned[highest >= settings.negative_overlap] = UNDECIDED
    is_positive = highest >= settings.positive_overlap
    assigned[is_positive] = nearest[is_positive]
    if settings.rescue_overlap < 1:
        best = overlaps.amax(0)  # (M,)
        # Of several objects that a box is the best of, the last one has it.
        for number in (best >= settings.rescue_overlap).nonzero().flatten().tolist():
            assigned[overlaps[:, number] == best[number]] = number
    return assigned


def sample(
    assigned: Tensor, settings: AssignSettings, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """The indices of the boxes that are drawn: (P,) of objects, (Q,) of background.

    Args:
        assigned: (N,) of `assign`.
        settings: how many.
        generator: of random numbers, on the CPU; makes the draw repeatable.
    """
    positives = (assigned >= 0).nonzero().flatten()
    negatives = (assigned == BACKGROUND).nonzero().flatten()
    num_max = int(settings.num_samples * settings.positive_share)
    if settings.balanced:
        positives = _draw_balanced(positives, num_max, generator, assigned)
    else:
        positives = _draw(positives, num_max, generator)
    num_max = settings.num_samples - len(positives)
    if settings.max_negatives >= 0:
        num_max = min(num_max, int(settings.max_negatives * max(1, len(positives))))
    return positives, _draw(negatives, num_max, generator)


def mean_of_images(losses: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """The mean of each loss over images: every image counts alike, in batches of any size."""
    return {name: torch.stack([each[name] for each in losses]).mean() for name in losses[0]}


def _shuffled(indices: Tensor, generator: torch.Generator) -> Tensor:
    return indices[torch.randperm(len(indices), generator=generator).to(indices.device)]


def _draw(indices: Tensor, num_max: int, generator: torch.Generator) -> Tensor:
    """At most `num_max` of the indices, each as likely."""
    return indices if len(indices) <= num_max else _shuffled(indices, generator)[:num_max]


def _draw_balanced(
    indices: Tensor, num_max: int, generator: torch.Generator, assigned: Tensor
) -> Tensor:
    """At most `num_max` of the indices: in turn one of each object that has any left."""
    if len(indices) <= num_max:
        return indices
    indices = _shuffled(indices, generator)
    objects = assigned[indices]
    order = objects.argsort(stable=True)
    counts = objects.bincount()
    starts = (counts.cumsum(0) - counts).repeat_interleave(counts)
    turn = torch.empty_like(order)  # how many of its object come before each index
    turn[order] = torch.arange(len(order), device=order.device) - starts
    return indices[turn.argsort(stable=True)[:num_max]]


@torch.no_grad()
def _proposals(
    finder: ObjectFinder, outputs: list[tuple[Tensor, Tensor]], features: BatchFeatures
) -> list[Tensor]:
    """For each image (N, 4)."""
    size = (features.size, features.size)
    return [
        finder.decode(
            [(a[index : index + 1].detach(), b[index : index + 1].detach()) for a, b in outputs],
            size,
        )[0]
        for index in range(len(features.seeds))
    ]


def _of_image(outputs: list[tuple[Tensor, Tensor]], index: int) -> tuple[Tensor, Tensor]:
    """Logits (N,) and deltas (N, 4) of all anchors of an image."""
    logits = [a[index].permute(1, 2, 0).flatten() for a, _ in outputs]
    deltas = [b[index].permute(1, 2, 0).reshape(-1, 4) for _, b in outputs]
    return torch.cat(logits).float(), torch.cat(deltas).float()


def _anchor_losses(
    outputs: tuple[Tensor, Tensor],
    anchors: Tensor,
    instances: Instances,
    settings: ObjectPriorSettings,
    generator: torch.Generator,
) -> dict[str, Tensor]:
    logits, deltas = outputs
    assigned = assign(anchors, instances.boxes, settings.anchors)
    positives, negatives = sample(assigned, settings.anchors, generator)
    drawn = torch.cat([positives, negatives])
    is_object = (assigned[drawn] >= 0).float()
    wanted = deltas_between(anchors[positives], instances.boxes[assigned[positives]])
    box = F.smooth_l1_loss(deltas[positives], wanted, beta=settings.smooth, reduction="sum")
    score = F.binary_cross_entropy_with_logits(logits[drawn], is_object, reduction="sum")
    return _weighed("anchor", score, box, len(drawn), settings)


def _box_losses(
    finder: ObjectFinder,
    features: BatchFeatures,
    settings: ObjectPriorSettings,
    generators: list[torch.Generator],
) -> list[dict[str, Tensor]]:
    boxes, targets = [], []
    for found, instances, generator in zip(
        features.key.proposals, features.key.instances, generators, strict=True
    ):
        candidates = torch.cat([instances.boxes, found])
        assigned = assign(candidates, instances.boxes, settings.boxes)
        drawn = torch.cat(sample(assigned, settings.boxes, generator))
        boxes.append(candidates[drawn])
        targets.append(assigned[drawn])
    cells = box_features(
        features.key.maps, features.variant.strides, boxes, features.variant.points
    )
    logits, deltas = finder.boxes(cells)
    counts = [len(each) for each in boxes]
    outputs = zip(logits.float().split(counts), deltas.float().split(counts), strict=True)
    return [
        _losses_of_boxes(*parts, instances, settings)
        for parts, instances in zip(
            zip(outputs, boxes, targets, strict=True), features.key.instances, strict=True
        )
    ]


def _losses_of_boxes(
    outputs: tuple[Tensor, Tensor],
    boxes: Tensor,
    assigned: Tensor,
    instances: Instances,
    settings: ObjectPriorSettings,
) -> dict[str, Tensor]:
    logits, deltas = outputs
    is_object = assigned >= 0
    wanted = deltas_between(boxes[is_object], instances.boxes[assigned[is_object]])
    wanted = wanted / wanted.new_tensor(BOX_STEPS)
    box = F.l1_loss(deltas[is_object], wanted, reduction="sum")
    # Object is class 0, background 1.
    score = F.cross_entropy(logits, (~is_object).long(), reduction="sum")
    return _weighed("box", score, box, len(boxes), settings)


def _weighed(
    name: str, score: Tensor, box: Tensor, num_boxes: int, settings: ObjectPriorSettings
) -> dict[str, Tensor]:
    return {
        f"{name} score": settings.score_weight * score / num_boxes,
        f"{name} place": settings.place_weight * box / num_boxes,
    }
