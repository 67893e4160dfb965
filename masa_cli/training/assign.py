"""Which boxes stand for which object, and which of them a step of training looks at (spec 10.3)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.ops import box_iou

BACKGROUND, UNDECIDED = -1, -2  # in place of an object's number


@dataclass(frozen=True, slots=True)
class AssignSettings:
    """When a box stands for an object, and how many boxes are drawn."""

    positive_overlap: float  # IoU from which on a box stands for the object it overlaps most
    negative_overlap: float  # IoU with every object below which it is background
    num_samples: int  # boxes drawn of one picture
    positive_share: float  # most of them that stand for objects, 0 to 1
    rescue_overlap: float = 1.0  # an object's best boxes stand for it from that IoU on; 1: not so
    max_negatives: float = -1.0  # background per box that stands for an object; below 0: no limit
    balanced: bool = False  # whether every object shall have as many boxes


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
    most, nearest = overlaps.max(1)
    assigned[most >= settings.negative_overlap] = UNDECIDED
    is_positive = most >= settings.positive_overlap
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
    """The places of the boxes that are drawn: (P,) of objects, (Q,) of background.

    Args:
        assigned: (N,) of `assign`.
        settings: how many.
        generator: of random numbers, on the CPU; makes the draw repeatable.
    """
    positives = (assigned >= 0).nonzero().flatten()
    negatives = (assigned == BACKGROUND).nonzero().flatten()
    most = int(settings.num_samples * settings.positive_share)
    if settings.balanced:
        positives = _draw_balanced(positives, most, generator, assigned)
    else:
        positives = _draw(positives, most, generator)
    most = settings.num_samples - len(positives)
    if settings.max_negatives >= 0:
        most = min(most, int(settings.max_negatives * max(1, len(positives))))
    return positives, _draw(negatives, most, generator)


def _shuffled(places: Tensor, generator: torch.Generator) -> Tensor:
    return places[torch.randperm(len(places), generator=generator).to(places.device)]


def _draw(places: Tensor, most: int, generator: torch.Generator) -> Tensor:
    """At most so many of the places, each as likely."""
    return places if len(places) <= most else _shuffled(places, generator)[:most]


def _draw_balanced(
    places: Tensor, most: int, generator: torch.Generator, assigned: Tensor
) -> Tensor:
    """At most so many of the places: in turn one of each object that has any left."""
    if len(places) <= most:
        return places
    places = _shuffled(places, generator)
    objects = assigned[places]
    order = objects.argsort(stable=True)
    counts = objects.bincount()
    starts = (counts.cumsum(0) - counts).repeat_interleave(counts)
    turn = torch.empty_like(order)  # how many of its object come before each place
    turn[order] = torch.arange(len(order), device=order.device) - starts
    return places[turn.argsort(stable=True)[:most]]
