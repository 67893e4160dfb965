"""The objective of the embeddings: boxes of one object in two views are found again (spec 10)."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from masa_cli.models.embedding_head import EmbeddingHead
from masa_cli.models.roi import box_features
from masa_cli.training.assign import BACKGROUND, AssignSettings, assign, sample
from masa_cli.training.batches import Instances
from masa_cli.training.contrast import (
    ContrastSettings,
    embedding_losses,
    partners_of,
    same_object,
)
from masa_cli.training.seen import Seen, SeenViews, mean_of_images


@dataclass(frozen=True, slots=True)
class MatchingSettings:
    """Which boxes are embedded, and what their embeddings are trained by."""

    draw: AssignSettings = field(
        default_factory=lambda: AssignSettings(
            positive_overlap=0.7,
            negative_overlap=0.3,
            num_samples=512,
            positive_share=0.5,
            max_negatives=3.0,
            balanced=True,
        )
    )
    contrast: ContrastSettings = field(default_factory=ContrastSettings)
    copies: int = 0  # of each true box, moved and resized at random
    copy_shift: float = 0.15  # how far sides of copies are moved, of width and height


def matching_losses(
    head: EmbeddingHead, seen: Seen, settings: MatchingSettings
) -> dict[str, Tensor]:
    """The losses of a batch by name.

    Args:
        head: makes embeddings.
        seen: the batch, perhaps with proposals.
        settings: of the draw and the losses.
    """
    generators = seen.generators()
    views = (seen.key, seen.reference)
    drawn = [_draw(view, settings, generators) for view in views]
    keys = [(boxes[assigned >= 0], assigned[assigned >= 0]) for boxes, assigned in drawn[0]]
    embeddings = [
        embed(head, seen, view, [boxes for boxes, _ in rows])
        for view, rows in zip(views, (keys, drawn[1]), strict=True)
    ]
    losses = []
    for place in range(len(generators)):
        partners = partners_of(seen.key.instances[place].ids, seen.reference.instances[place].ids)
        same = same_object(keys[place][1], drawn[1][place][1], partners)
        key, reference = (rows[place] for rows in embeddings)
        losses.append(embedding_losses(key, reference, same, settings.contrast))
    return mean_of_images(losses)


def _draw(
    views: SeenViews, settings: MatchingSettings, generators: list[torch.Generator]
) -> list[tuple[Tensor, Tensor]]:
    """For each view the drawn boxes (N, 4), and the instance each stands for, or BACKGROUND."""
    drawn = []
    proposals = views.proposals or [each.boxes[:0] for each in views.instances]
    for found, instances, generator in zip(proposals, views.instances, generators, strict=True):
        boxes = torch.cat([instances.boxes, _copies(instances, settings, generator), found])
        assigned = assign(boxes, instances.boxes, settings.draw)
        positives, negatives = sample(assigned, settings.draw, generator)
        places = torch.cat([positives, negatives])
        drawn.append((boxes[places], assigned[places].clamp(min=BACKGROUND)))
    return drawn


def _copies(instances: Instances, settings: MatchingSettings, generator: torch.Generator) -> Tensor:
    """Boxes as an imprecise detector would find them."""
    boxes = instances.boxes.repeat(settings.copies, 1)
    noise = torch.rand(boxes.shape, generator=generator).to(boxes.device) * 2 - 1
    sides = (boxes[:, 2:] - boxes[:, :2]).repeat(1, 2)
    return boxes + noise * settings.copy_shift * sides


def embed(head: EmbeddingHead, seen: Seen, views: SeenViews, boxes: list[Tensor]) -> list[Tensor]:
    """(N, D) float32 embeddings of the boxes (N, 4) of each view."""
    cells = box_features(views.maps, seen.variant.strides, boxes, seen.variant.points)
    rows: Tensor = head(cells)
    return list(torch.split(rows.float(), [len(each) for each in boxes]))
