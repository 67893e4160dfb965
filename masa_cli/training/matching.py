"""The objective of the embeddings: boxes of one object in two views are found again (spec 10)."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from masa_cli.models.heads import EmbeddingHead, box_features
from masa_cli.training.batches import Instances
from masa_cli.training.object_prior import (
    BACKGROUND,
    AssignSettings,
    BatchFeatures,
    ViewFeatures,
    assign,
    mean_of_images,
    sample,
)

UNMATCHED = -1  # in place of an object's number: there is no such object


@dataclass(frozen=True, slots=True)
class ContrastSettings:
    """How the two losses of embeddings weigh, and which pairs the second one looks at."""

    weight: float = 0.25  # of the contrastive loss
    cosine_weight: float = 1.0  # of the loss on cosines
    cosine_margin: float = 0.1  # cosine up to which two objects may be alike for free
    cosine_negatives: float = 3.0  # most pairs of two objects, per pair of one
    temperature: float = 1.0  # dot products are divided by it; no unit


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
    copies: int = 0  # of each true box, shifted and resized at random
    copy_shift: float = 0.15  # how far sides of copies are shifted, of width and height


def matching_losses(
    head: EmbeddingHead, features: BatchFeatures, settings: MatchingSettings
) -> dict[str, Tensor]:
    """The losses of a batch by name.

    Args:
        head: makes embeddings.
        features: the batch, perhaps with proposals.
        settings: of the draw and the losses.
    """
    generators = features.generators()
    views = (features.key, features.reference)
    drawn = [_draw(view, settings, generators) for view in views]
    keys = [(boxes[assigned >= 0], assigned[assigned >= 0]) for boxes, assigned in drawn[0]]
    embeddings = [
        embed(head, features, view, [boxes for boxes, _ in rows])
        for view, rows in zip(views, (keys, drawn[1]), strict=True)
    ]
    losses = []
    for index in range(len(generators)):
        partners = partners_of(
            features.key.instances[index].ids, features.reference.instances[index].ids
        )
        same = same_object(keys[index][1], drawn[1][index][1], partners)
        key, reference = (rows[index] for rows in embeddings)
        losses.append(embedding_losses(key, reference, same, settings.contrast))
    return mean_of_images(losses)


def embed(
    head: EmbeddingHead, features: BatchFeatures, views: ViewFeatures, boxes: list[Tensor]
) -> list[Tensor]:
    """(N, D) float32 embeddings of the boxes (N, 4) of each view."""
    cells = box_features(views.maps, features.variant.strides, boxes, features.variant.points)
    rows: Tensor = head(cells)
    return list(torch.split(rows.float(), [len(each) for each in boxes]))


def embedding_losses(
    key: Tensor, reference: Tensor, same: Tensor, settings: ContrastSettings
) -> dict[str, Tensor]:
    """Both losses of one image by name, weighed (spec 10.4).

    Args:
        key: (P, D) embeddings.
        reference: (Q, D) embeddings.
        same: (P, Q) bool.
        settings: of the losses.
    """
    cosines = F.normalize(key, dim=1) @ F.normalize(reference, dim=1).T
    cosine = cosine_loss(
        cosines, same, margin=settings.cosine_margin, negatives=settings.cosine_negatives
    )
    return {
        "contrast": settings.weight
        * contrastive_loss(key @ reference.T / settings.temperature, same),
        "cosine": settings.cosine_weight * cosine,
    }


def contrastive_loss(logits: Tensor, same: Tensor) -> Tensor:
    """The mean over key boxes with a partner of how unlikely their partners are.

    Of several partners the mean enters the normaliser, so that their number changes nothing. Zero
    if no box has a partner.

    Args:
        logits: (P, Q) dot products.
        same: (P, Q) bool.
    """
    has_partner = same.any(1)
    if not has_partner.any():
        return logits.sum() * 0
    logits, same = logits[has_partner], same[has_partner]
    # The loss is a small difference of large numbers; near zero, float32 has digits left for it.
    logits = logits - logits.detach().amax(1, keepdim=True)
    num_partners = same.sum(1)  # (p,)
    # Partners together weigh as much as one: e^(l - log n) summed over n is their mean.
    weighed = torch.where(same, logits - num_partners.log()[:, None], logits)
    normaliser = weighed.logsumexp(1)
    mean_partner = (logits * same).sum(1) / num_partners
    return (normaliser - mean_partner).mean()


def cosine_loss(cosines: Tensor, same: Tensor, *, margin: float, negatives: float) -> Tensor:
    """Squared distance of cosines from 1 for one object, from up to `margin` for two.

    Args:
        cosines: (P, Q).
        same: (P, Q) bool.
        margin: cosine up to which two objects cost nothing.
        negatives: of pairs of two objects only the costliest are kept, at most so many per pair
            of one.

    Returns:
        The mean over the kept pairs; zero without pairs of one object.
    """
    num_same = int(same.sum())
    if not num_same:
        return cosines.sum() * 0
    alike = torch.where(same, cosines, cosines - margin).clamp(0, 1)
    costs = (alike - same.to(cosines)) ** 2
    different = costs[~same]
    most = int(num_same * negatives)
    if len(different) > most:
        different = different.topk(most).values
    return torch.cat([costs[same], different]).mean()


def same_object(key_objects: Tensor, reference_objects: Tensor, partners: Tensor) -> Tensor:
    """(P, Q) bool: whether two boxes show one object.

    Args:
        key_objects: (P,) number of the object in the key view that each box is assigned to.
        reference_objects: (Q,) the same of the reference view; UNMATCHED for background.
        partners: for each object of the key view its number in the reference view, or UNMATCHED.
    """
    partner = partners.long()[key_objects]  # (P,)
    return (partner[:, None] == reference_objects) & (partner[:, None] != UNMATCHED)


def partners_of(key_ids: Tensor, reference_ids: Tensor) -> Tensor:
    """(N,) for each of N instances its index among the M instances of the other view, or UNMATCHED.

    Args:
        key_ids: (N,) names of instances, positive; any other is never matched.
        reference_ids: (M,).
    """
    same = (key_ids[:, None] == reference_ids) & (key_ids[:, None] > 0)  # (N, M)
    if not same.shape[1]:
        return torch.full_like(key_ids, UNMATCHED)
    return torch.where(same.any(1), same.int().argmax(1), UNMATCHED)


def _draw(
    views: ViewFeatures, settings: MatchingSettings, generators: list[torch.Generator]
) -> list[tuple[Tensor, Tensor]]:
    """For each view the drawn boxes (N, 4), and the instance each stands for, or BACKGROUND."""
    drawn = []
    proposals = views.proposals or [each.boxes[:0] for each in views.instances]
    for found, instances, generator in zip(proposals, views.instances, generators, strict=True):
        boxes = torch.cat([instances.boxes, _copies(instances, settings, generator), found])
        assigned = assign(boxes, instances.boxes, settings.draw)
        positives, negatives = sample(assigned, settings.draw, generator)
        drawn_rows = torch.cat([positives, negatives])
        drawn.append((boxes[drawn_rows], assigned[drawn_rows].clamp(min=BACKGROUND)))
    return drawn


def _copies(instances: Instances, settings: MatchingSettings, generator: torch.Generator) -> Tensor:
    """Boxes as an imprecise detector would find them."""
    boxes = instances.boxes.repeat(settings.copies, 1)
    noise = torch.rand(boxes.shape, generator=generator).to(boxes.device) * 2 - 1
    sides = (boxes[:, 2:] - boxes[:, :2]).repeat(1, 2)
    return boxes + noise * settings.copy_shift * sides
