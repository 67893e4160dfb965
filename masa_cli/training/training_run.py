"""A run of training from its settings to its files."""

from __future__ import annotations

import logging
import shutil
from contextlib import closing, nullcontext
from typing import Any, cast

import torch
from torch import Tensor, nn

from masa_cli.errors import Interrupted, OutputError, SettingsError
from masa_cli.formats.files import make_folder
from masa_cli.models.variants import find_variant
from masa_cli.progress import RunProgress
from masa_cli.threads import limited
from masa_cli.training.batches import Processes, processes, read_batches
from masa_cli.training.loop import Trainee, Trainer
from masa_cli.training.matching import MatchingSettings
from masa_cli.training.objectives import OBJECTIVES, initial_weights
from masa_cli.training.pairs import PairMaker, find_cutouts
from masa_cli.training.recipe import TrainJob
from masa_cli.training.recorder import (
    Checkpoints,
    Listener,
    NoRecorder,
    RunRecorder,
    TrainSummary,
    refuse_other_settings,
)
from masa_cli.training.regions import OBJECT, RegionSet, read_regions
from masa_cli.training.teacher import Teacher
from masa_cli.training.validation import Validation, find_videos, split

logger = logging.getLogger(__name__)


def train(job: TrainJob, progress: RunProgress, listener: Listener) -> TrainSummary:
    """Check everything, then train; in each of the processes of a run.

    Args:
        job: what to do.
        progress: measures the stages, and may ask to stop.
        listener: is told of progress, in the first process.

    Raises:
        MasaError: something is wrong with what was given, or what is written cannot be.
        Interrupted: a stop was asked for; the run can be resumed.
    """
    if job.videos and not any(isinstance(each, MatchingSettings) for each in _settings(job)):
        raise SettingsError(
            "embeddings are what videos are tracked with, but this recipe trains none",
            fix="leave out --videos, or choose another --recipe",
        )
    # Where objects are pasted, an image without any is a background.
    backgrounds = job.cutouts is not None
    regions = RegionSet.joined([read_regions(path, backgrounds=backgrounds) for path in job.data])
    learned, held_out = split(regions, job.recipe.run)
    cutouts = find_cutouts(job.cutouts, regions) if job.cutouts else None
    videos = find_videos(job.videos) if job.videos else []
    size = job.recipe.views.size
    teacher = Teacher(job.teacher, _classes(regions), size) if job.teacher else None
    with limited(job.threads), processes(job.device, job.precision) as own:
        _check(job, own)
        trainer = Trainer(_trainee(job, regions, own, progress), job.recipe, own, progress)
        checkpoints = Checkpoints(job.checkpoints, job.recipe.run.keep)
        state = checkpoints.load() if job.resume else None
        if state is not None:
            refuse_other_settings(state["conditions"], job.conditions())
            _check_steps(job, state["step"])
            trainer.restore(state)
            logger.info("resuming after step %d", trainer.step)
        elif job.resume:
            logger.warning("nothing to resume in %s: starting from the first step", job.folder)
        own.wait()  # nobody writes before all have read
        recorder: RunRecorder | NoRecorder = NoRecorder()
        if own.is_first:
            _make_room(job, checkpoints, fresh=state is None)
            views, results = job.recipe.views, job.folder / "videos"
            validation = Validation(held_out, views, videos, job.videos, results)
            recorder = RunRecorder(job, trainer, checkpoints, validation, listener, state)
        maker = PairMaker(learned, job.recipe.views, job.seed, cutouts, teacher)
        return _run(job, trainer, maker, recorder, own)


def _check(job: TrainJob, own: Processes) -> None:
    """Raise SettingsError or OutputError for what cannot work."""
    run, side = job.recipe.run, find_variant(job.variant).fixed_side
    if side and job.recipe.views.size != side:
        raise SettingsError(
            f"{job.variant} takes images of {side} x {side} pixels only, not of "
            f"{job.recipe.views.size}",
            fix="leave out --set views.size=…",
        )
    if run.batch % own.count:
        raise SettingsError(
            f"a batch of {run.batch} pairs cannot be split over {own.count} processes",
            fix="choose another with --set run.batch=…",
        )
    if job.checkpoints.exists() and not (job.resume or job.overwrite):
        raise OutputError(
            f"{job.folder} holds a run already",
            fix="go on with it with --resume, replace it with --overwrite, or choose another -o",
        )


def _check_steps(job: TrainJob, done: int) -> None:
    """Raise SettingsError if more steps were taken already than the run shall have."""
    if job.recipe.run.steps < done:
        raise SettingsError(
            f"{job.folder} has taken {done} steps already, more than {job.recipe.run.steps}",
            fix="give at least as many with --set run.steps=…",
        )


def _trainee(job: TrainJob, regions: RegionSet, own: Processes, progress: RunProgress) -> Trainee:
    settings = _settings(job)
    objectives = [OBJECTIVES[type(each)] for each in settings]
    parts = initial_weights(
        job.variant,
        objectives,
        _classes(regions),
        start=job.start,
        weights_dir=job.weights_dir,
        seed=job.seed,
        identity_init=job.recipe.identity_init,
    )
    pairs = list(zip(objectives, settings, strict=True))
    trainee = Trainee(find_variant(job.variant), parts, pairs, progress)
    trainee.train().to(own.device)
    if own.device.type == "cpu":
        quicken(trainee.parts)
    return trainee


def _classes(regions: RegionSet) -> tuple[str, ...]:
    """The classes that a detector tells apart; "any object" it knows anyway, as its last score."""
    return tuple(name for name in regions.classes if name != OBJECT) or regions.classes


def _settings(job: TrainJob) -> tuple[Any, ...]:
    """Those of each objective."""
    return tuple(job.recipe.objectives.values())


def _make_room(job: TrainJob, checkpoints: Checkpoints, *, fresh: bool) -> None:
    make_folder(job.folder)
    if fresh:
        checkpoints.clear()
        for path in (job.losses, job.validation, job.curves, job.best, job.last):
            path.unlink(missing_ok=True)
        for folder in (job.folder / "videos", job.tensorboard):
            shutil.rmtree(folder, ignore_errors=True)


def _run(
    job: TrainJob,
    trainer: Trainer,
    maker: PairMaker,
    recorder: RunRecorder | NoRecorder,
    own: Processes,
) -> TrainSummary:
    recorder.begin()
    batches = read_batches(
        maker,
        list(trainer.numbers()),
        workers=job.workers,
        pinned=own.device.type == "cuda",
    )
    with closing(batches):
        for facts in trainer.steps(batches):
            recorder.after(facts)
            if own.any(trainer.progress.stop_requested):
                recorder.save()
                raise Interrupted(
                    f"{facts.step} steps are kept in {job.folder}; add --resume to go on"
                )
    return recorder.conclude()


def quicken(network: nn.Module) -> None:
    """Let the layers of a network take ways that take less time, from now on.

    The functions of the network stay what they are, and so do the names of its weights.

    Args:
        network: to be trained on a CPU.
    """
    network.to(memory_format=torch.channels_last)
    for layer in network.modules():
        # Not by new modules: what holds them, and the names of their weights, would change.
        if type(layer) is nn.Conv2d and _is_depthwise(layer):
            layer.__class__ = _DepthwiseConv
        elif type(layer) is nn.Sequential and _has_pairs(layer):
            layer.__class__ = _FoldedSteps


class _DepthwiseConv(nn.Conv2d):
    """In float32 whatever else is short: backward it takes a tenth of bfloat16's time."""

    def forward(self, x: Tensor) -> Tensor:
        return _convolved(self, x, self.weight, self.bias)


class _FoldedSteps(nn.Sequential):
    """Normalisations that do not learn statistics are parts of the convolutions before them."""

    def forward(self, x: Tensor) -> Tensor:
        layers = list(self)
        while layers:
            layer = layers.pop(0)
            norm = layers[0] if layers else None
            if isinstance(norm, nn.BatchNorm2d) and not norm.training:
                weight, bias = _folded(cast(nn.Conv2d, layer), norm)
                x = _convolved(cast(nn.Conv2d, layer), x, weight, bias)
                layers.pop(0)
            else:
                x = layer(x)
        return x


def _is_depthwise(conv: nn.Conv2d) -> bool:
    return conv.groups == conv.in_channels > 1


def _has_pairs(steps: nn.Sequential) -> bool:
    """Whether each normalisation in it follows a convolution of its own."""
    layers = list(steps)
    norms = [i for i, layer in enumerate(layers) if isinstance(layer, nn.BatchNorm2d)]
    return bool(norms) and all(i and isinstance(layers[i - 1], nn.Conv2d) for i in norms)


def _folded(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Weight and bias of the convolution with its normalisation."""
    scale = norm.weight / (cast(Tensor, norm.running_var) + norm.eps).sqrt()
    shift = norm.bias - cast(Tensor, norm.running_mean) * scale
    if conv.bias is not None:
        shift = shift + conv.bias * scale
    return conv.weight * scale[:, None, None, None], shift


def _convolved(conv: nn.Conv2d, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    short = not (_is_depthwise(conv) and weight.requires_grad)
    with nullcontext() if short else torch.autocast(x.device.type, enabled=False):
        y: Tensor = conv._conv_forward(x if short else x.float(), weight, bias)
    return y
