"""The network in training: from pairs of views to the losses of all objectives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from masa_cli.models.variants import Variant
from masa_cli.training.batches import Batch
from masa_cli.training.objectives import Objective
from masa_cli.training.seen import Seen, SeenViews
from masa_cli.watch import Watch


class Trainee(nn.Module):
    """A network and what it is trained for.

    The backbone always evaluates, so its normalisations stay as they are; unless the variant
    unfreezes it, it is not trained, either.

    Args:
        variant: of the network.
        parts: "backbone", "neck", "fusion" and those of the objectives.
        objectives: each with its settings.
        watch: is told how long the stages take.
    """

    def __init__(
        self,
        variant: Variant,
        parts: Mapping[str, nn.Module],
        objectives: Sequence[tuple[Objective, Any]],
        watch: Watch | None = None,
    ) -> None:
        super().__init__()
        self.variant, self.objectives = variant, objectives
        self.watch = watch or Watch()
        self.parts = nn.ModuleDict(parts)
        self.parts["backbone"].requires_grad_(variant.unfrozen)
        for block in list(self.parts["backbone"].children())[: variant.frozen_blocks]:
            block.requires_grad_(False)
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor(variant.mean).view(1, 3, 1, 1) * 255, False)
        self.register_buffer("std", torch.tensor(variant.std).view(1, 3, 1, 1) * 255, False)

    @property
    def device(self) -> torch.device:
        """Where it is."""
        return self.mean.device

    def train(self, mode: bool = True) -> Trainee:
        """As every module's, but for the backbone."""
        super().train(mode)
        self.parts["backbone"].eval()
        return self

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """The losses of a batch, weighed, by name; their sum is to become small."""
        seen = self.look(batch)
        losses: dict[str, Tensor] = {}
        for objective, settings in self.objectives:
            with self.watch.stage(objective.part):
                losses |= objective.losses(self.parts[objective.part], seen, settings)
        return losses

    def look(self, batch: Batch) -> Seen:
        """What the network sees in the views."""
        x = batch.pictures.permute(0, 3, 1, 2)  # (2B, 3, size, size)
        size = x.shape[-1]
        with (
            self.watch.stage("backbone"),
            torch.set_grad_enabled(self.variant.unfrozen and torch.is_grad_enabled()),
        ):
            maps = self.parts["backbone"]((x.float() - self.mean) / self.std)
        with self.watch.stage("neck and fusion"):
            pyramid = self.parts["neck"](maps)
            fused = self.parts["fusion"](pyramid, range(len(pyramid)))
        half = len(batch)
        key, reference = (
            {level: x[part] for level, x in fused.items()}
            for part in (slice(half), slice(half, None))
        )
        return Seen(
            self.variant,
            size,
            SeenViews(key, batch.keys),
            SeenViews(reference, batch.references),
            batch.seeds,
        )

    def learned(self) -> dict[str, Tensor]:
        """All that training changes, by name: weights and running statistics."""
        frozen = () if self.variant.unfrozen else ("parts.backbone.",)
        return {
            name: tensor
            for name, tensor in self.state_dict().items()
            if not name.startswith(frozen or "\0")
        }
