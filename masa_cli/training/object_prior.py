"""The objective of the object branch: where there are objects of any class (spec 7 and 10.4)."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from masa_cli.models.objects import BOX_STEPS, ObjectFinder, deltas_between
from masa_cli.models.roi import box_features
from masa_cli.training.assign import AssignSettings, assign, sample
from masa_cli.training.batches import Instances
from masa_cli.training.seen import Seen, mean_of_images


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


def object_prior_losses(
    finder: ObjectFinder, seen: Seen, settings: ObjectPriorSettings
) -> dict[str, Tensor]:
    """The losses of the key views by name; both views get proposals.

    Args:
        finder: the branch.
        seen: the batch.
        settings: of draws and losses.
    """
    generators = seen.generators()
    levels = sorted(seen.key.maps)
    said = [finder.proposals(seen.key.maps[level]) for level in levels]
    seen.key.proposals = _proposals(finder, said, seen)
    with torch.no_grad():
        again = [finder.proposals(seen.reference.maps[level]) for level in levels]
    seen.reference.proposals = _proposals(finder, again, seen)
    anchors = torch.cat([finder.anchors(level, said[level][0]) for level in levels])
    first = [
        _anchor_losses(_of_image(said, place), anchors, instances, settings, generator)
        for place, (instances, generator) in enumerate(
            zip(seen.key.instances, generators, strict=True)
        )
    ]
    second = _box_losses(finder, seen, settings, generators)
    return mean_of_images(first) | mean_of_images(second)


@torch.no_grad()
def _proposals(finder: ObjectFinder, said: list[tuple[Tensor, Tensor]], seen: Seen) -> list[Tensor]:
    """For each picture (N, 4)."""
    size = (seen.size, seen.size)
    return [
        finder.decode(
            [(a[place : place + 1].detach(), b[place : place + 1].detach()) for a, b in said], size
        )[0]
        for place in range(len(seen.seeds))
    ]


def _of_image(said: list[tuple[Tensor, Tensor]], place: int) -> tuple[Tensor, Tensor]:
    """Logits (N,) and deltas (N, 4) of all anchors of a picture."""
    logits = [a[place].permute(1, 2, 0).flatten() for a, _ in said]
    deltas = [b[place].permute(1, 2, 0).reshape(-1, 4) for _, b in said]
    return torch.cat(logits).float(), torch.cat(deltas).float()


def _anchor_losses(
    said: tuple[Tensor, Tensor],
    anchors: Tensor,
    instances: Instances,
    settings: ObjectPriorSettings,
    generator: torch.Generator,
) -> dict[str, Tensor]:
    logits, deltas = said
    assigned = assign(anchors, instances.boxes, settings.anchors)
    positives, negatives = sample(assigned, settings.anchors, generator)
    drawn = torch.cat([positives, negatives])
    is_object = (assigned[drawn] >= 0).float()
    wanted = deltas_between(anchors[positives], instances.boxes[assigned[positives]])
    place = F.smooth_l1_loss(deltas[positives], wanted, beta=settings.smooth, reduction="sum")
    score = F.binary_cross_entropy_with_logits(logits[drawn], is_object, reduction="sum")
    return _weighed("anchor", score, place, len(drawn), settings)


def _box_losses(
    finder: ObjectFinder,
    seen: Seen,
    settings: ObjectPriorSettings,
    generators: list[torch.Generator],
) -> list[dict[str, Tensor]]:
    boxes, targets = [], []
    for found, instances, generator in zip(
        seen.key.proposals, seen.key.instances, generators, strict=True
    ):
        candidates = torch.cat([instances.boxes, found])
        assigned = assign(candidates, instances.boxes, settings.boxes)
        drawn = torch.cat(sample(assigned, settings.boxes, generator))
        boxes.append(candidates[drawn])
        targets.append(assigned[drawn])
    cells = box_features(seen.key.maps, seen.variant.strides, boxes, seen.variant.points)
    logits, deltas = finder.boxes(cells)
    counts = [len(each) for each in boxes]
    said = zip(logits.float().split(counts), deltas.float().split(counts), strict=True)
    return [
        _losses_of_boxes(*parts, instances, settings)
        for parts, instances in zip(
            zip(said, boxes, targets, strict=True), seen.key.instances, strict=True
        )
    ]


def _losses_of_boxes(
    said: tuple[Tensor, Tensor],
    boxes: Tensor,
    assigned: Tensor,
    instances: Instances,
    settings: ObjectPriorSettings,
) -> dict[str, Tensor]:
    logits, deltas = said
    is_object = assigned >= 0
    wanted = deltas_between(boxes[is_object], instances.boxes[assigned[is_object]])
    wanted = wanted / wanted.new_tensor(BOX_STEPS)
    place = F.l1_loss(deltas[is_object], wanted, reduction="sum")
    # Object is class 0, background 1.
    score = F.cross_entropy(logits, (~is_object).long(), reduction="sum")
    return _weighed("box", score, place, len(boxes), settings)


def _weighed(
    name: str, score: Tensor, place: Tensor, num_boxes: int, settings: ObjectPriorSettings
) -> dict[str, Tensor]:
    return {
        f"{name} score": settings.score_weight * score / num_boxes,
        f"{name} place": settings.place_weight * place / num_boxes,
    }
