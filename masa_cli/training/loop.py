"""Training, step by step: batches in, better weights out.

A run is a function of its settings, data and seed alone. What is random in a step depends on the
numbers of its pairs, so a run that is killed and resumed, or split over processes, ends with the
same weights (over processes, up to the order in which float32 is summed).
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from masa_cli.models.variants import Variant
from masa_cli.progress import RunProgress
from masa_cli.training.batches import Batch, Processes, not_yet
from masa_cli.training.object_prior import BatchFeatures, ViewFeatures
from masa_cli.training.objectives import Objective
from masa_cli.training.recipe import OptimiserSettings, Recipe, learning_rate


class Trainee(nn.Module):
    """A network and what it is trained for.

    The backbone always evaluates, so its normalisations stay as they are; unless the variant
    unfreezes it, it is not trained, either.

    Args:
        variant: of the network.
        parts: "backbone", "neck", "fusion" and those of the objectives.
        objectives: each with its settings.
        progress: is told how long the stages take.
    """

    def __init__(
        self,
        variant: Variant,
        parts: Mapping[str, nn.Module],
        objectives: Sequence[tuple[Objective, Any]],
        progress: RunProgress | None = None,
    ) -> None:
        super().__init__()
        self.variant, self.objectives = variant, objectives
        self.progress = progress or RunProgress()
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
        features = self.extract(batch)
        losses: dict[str, Tensor] = {}
        for objective, settings in self.objectives:
            with self.progress.stage(objective.part):
                losses |= objective.losses(self.parts[objective.part], features, settings)
        return losses

    def extract(self, batch: Batch) -> BatchFeatures:
        """The fused maps of all views, with what is in them."""
        x = batch.images.permute(0, 3, 1, 2)  # (2B, 3, size, size)
        size = x.shape[-1]
        with (
            self.progress.stage("backbone"),
            torch.set_grad_enabled(self.variant.unfrozen and torch.is_grad_enabled()),
        ):
            maps = self.parts["backbone"]((x.float() - self.mean) / self.std)
        with self.progress.stage("neck and fusion"):
            pyramid = self.parts["neck"](maps)
            fused = self.parts["fusion"](pyramid, range(len(pyramid)))
        half = len(batch)
        halves = (slice(half), batch.keys), (slice(half, None), batch.references)
        key, reference = (
            ViewFeatures(
                {level: x[part] for level, x in fused.items()}, instances, [x[part] for x in maps]
            )
            for part, instances in halves
        )
        return BatchFeatures(self.variant, size, key, reference, batch.seeds)

    def learned(self) -> dict[str, Tensor]:
        """All that training changes, by name: weights and running statistics."""
        frozen = () if self.variant.unfrozen else ("parts.backbone.",)
        return {
            name: tensor
            for name, tensor in self.state_dict().items()
            if not name.startswith(frozen or "\0")
        }


@dataclass(frozen=True, slots=True)
class StepFacts:
    """What there is to tell of a step.

    Attributes:
        step: how many are done.
        losses: by name, the mean over the batch.
        lr: learning rate.
        gradient: its length before it was cut.
        seconds: the step took.
        waited: of these, for views to be made.
        broken: what was said of images that could not be read.
    """

    step: int
    losses: Mapping[str, float]
    lr: float
    gradient: float
    seconds: float
    waited: float
    broken: tuple[str, ...] = field(default=())

    def row(self) -> dict[str, float]:
        """As a table has it."""
        losses = {f"loss {name}": value for name, value in self.losses.items()}
        total = {"loss": sum(self.losses.values())}
        rest = {"lr": self.lr, "gradient": self.gradient}
        return total | losses | rest | {"seconds": self.seconds, "waited": self.waited}


class Trainer:
    """Changes the weights of a network, one step after the other.

    Args:
        trainee: the network.
        recipe: how.
        processes: this one and the others.
        progress: is told how long the stages take.
    """

    def __init__(
        self, trainee: Trainee, recipe: Recipe, processes: Processes, progress: RunProgress
    ) -> None:
        self.trainee, self._recipe, self._processes = trainee, recipe, processes
        self._network = processes.joined(trainee)
        self._optimiser = build_optimiser(trainee, recipe.optimiser)
        # Halves underflow; scaled losses keep small gradients alive.
        needs_scale = processes.dtype == torch.float16
        self._scaler = torch.amp.GradScaler(processes.device.type, enabled=needs_scale)
        self._mean: AveragedModel | None = None
        self.result = trainee  # what training came to so far
        if decay := recipe.optimiser.average:
            rule = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
            self._mean = AveragedModel(trainee.parts, multi_avg_fn=rule)
            parts = cast(nn.ModuleDict, self._mean.module)
            self.result = Trainee(trainee.variant, dict(parts.items()), trainee.objectives)
            self.result.to(processes.device)
        self.progress = progress
        self.step = 0

    def state(self) -> dict[str, Any]:
        """What `restore` needs."""
        return {
            "mean": self._mean.state_dict() if self._mean else None,
            "step": self.step,
            "weights": self.trainee.learned(),
            "optimiser": self._optimiser.state_dict(),
            "scaler": self._scaler.state_dict(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state()`."""
        own = self.trainee.state_dict()
        self.trainee.load_state_dict(own | state["weights"], strict=True)
        self._optimiser.load_state_dict(state["optimiser"])
        self._scaler.load_state_dict(state["scaler"])
        if self._mean:
            self._mean.load_state_dict(state["mean"])
        self.step = state["step"]

    def numbers(self) -> Iterator[range]:
        """The numbers of this process's pairs, part by part, of all steps still to come."""
        run = self._recipe.run
        for step in range(self.step, run.steps):
            own = self._processes.share(range(step * run.batch, (step + 1) * run.batch))
            for first in range(0, len(own), run.part):
                yield own[first : first + run.part]

    def steps(self, batches: Iterator[Batch]) -> Iterator[StepFacts]:
        """Take all steps still to come; the batches are those of `numbers`."""
        while self.step < self._recipe.run.steps:
            yield self._take(batches)

    def _take(self, batches: Iterator[Batch]) -> StepFacts:
        """One step: all parts of its batch, then the change."""
        start = time.perf_counter()
        lr = learning_rate(self.step, self._recipe.optimiser, self._recipe.run)
        for group in self._optimiser.param_groups:
            group["lr"] = lr * group["lr_share"]
        sums: dict[str, Tensor] = {}
        broken: list[str] = []
        waited = 0.0
        left = self._recipe.run.batch // self._processes.count
        share = 1 / left
        while left:
            began = time.perf_counter()
            with self.progress.stage("wait for views"):
                batch = next(batches)
            waited += time.perf_counter() - began
            left -= len(batch)
            broken += batch.broken
            losses = self._learn_from(batch, len(batch) * share, is_last=not left)
            sums = {name: value + sums.get(name, 0) for name, value in losses.items()}
        gradient = self._change()
        self.step += 1
        means = self._processes.mean(torch.stack(list(sums.values()))).tolist()
        seconds = time.perf_counter() - start
        losses_by_name = dict(zip(sums, means, strict=True))
        said = self._processes.together(tuple(broken))
        return StepFacts(self.step, losses_by_name, lr, gradient, seconds, waited, said)

    def _learn_from(self, batch: Batch, share: float, *, is_last: bool) -> dict[str, Tensor]:
        """Add the gradients of a part of the step's batch; its losses by name."""
        device, dtype = self._processes.device, self._processes.dtype
        short = dtype != torch.float32
        waits = nullcontext() if is_last else not_yet(self._network)
        with waits:
            with torch.autocast(device.type, dtype) if short else nullcontext():
                losses: dict[str, Tensor] = self._network(batch.to(device))
            total = torch.stack(list(losses.values())).sum() * share
            with self.progress.stage("backward"):
                self._scaler.scale(total).backward()  # type: ignore[no-untyped-call]
        return {name: loss.detach() * share for name, loss in losses.items()}

    def _change(self) -> float:
        """Change the weights by the gradients; the length these had."""
        max_norm = self._recipe.optimiser.max_gradient
        with self.progress.stage("optimiser"):
            self._scaler.unscale_(self._optimiser)
            weights = [w for w in self.trainee.parameters() if w.requires_grad]
            length = nn.utils.clip_grad_norm_(weights, max_norm)
            self._scaler.step(self._optimiser)
            self._scaler.update()
            self._optimiser.zero_grad(set_to_none=True)
            if self._mean:
                self._mean.update_parameters(self.trainee.parts)
        return float(length)


def build_optimiser(trainee: Trainee, settings: OptimiserSettings) -> torch.optim.Optimizer:
    """Of all weights that are trained; the backbone's in a group of their own."""
    groups: list[dict[str, Any]] = []
    for is_backbone, share in ((False, 1.0), (True, settings.backbone_lr)):
        weights = [
            weight
            for name, weight in trainee.named_parameters()
            if weight.requires_grad and name.startswith("parts.backbone.") == is_backbone
        ]
        if weights:
            groups.append({"params": weights, "lr_share": share})
    if settings.adam:
        return torch.optim.AdamW(groups, lr=settings.lr, weight_decay=settings.weight_decay)
    return torch.optim.SGD(
        groups, lr=settings.lr, momentum=settings.momentum, weight_decay=settings.weight_decay
    )
