"""What is written down of a run while it goes on: tables, checkpoints, the best weights."""

from __future__ import annotations

import logging
import os
import pickle
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch

from masa_cli.errors import OutputError, SettingsError
from masa_cli.formats.files import part_of, unwritable
from masa_cli.models.lite_heads import OneStage
from masa_cli.models.trained_weights import CLASSES_KEY, save_trained
from masa_cli.training.curves import STEP, Table, TensorBoard, draw_curves
from masa_cli.training.loop import StepFacts, Trainer
from masa_cli.training.recipe import TrainJob
from masa_cli.training.validation import Validation

logger = logging.getLogger(__name__)
_NAME = re.compile(r"step-(\d{7})\.pt")


class RunRecorder:
    """Writes down what happens, validates, saves."""

    def __init__(
        self,
        job: TrainJob,
        trainer: Trainer,
        checkpoints: Checkpoints,
        validation: Validation,
        listener: Listener,
        state: Mapping[str, Any] | None,
    ) -> None:
        self._job, self._trainer, self._checkpoints = job, trainer, checkpoints
        self._validation, self._listener = validation, listener
        until = trainer.step
        self._losses = Table(job.losses, until)
        self._scores = Table(job.validation, until)
        self._board = TensorBoard(job.tensorboard, until)
        self._best: list[float] = state["best"] if state else []
        self._raw: dict[str, float] = dict(state["raw"]) if state else {}
        self._num_broken: int = state["broken"] if state else 0
        self._said: set[str] = set()

    def begin(self) -> None:
        """Score what is there before the first step."""
        if self._trainer.step == 0:
            if "head" in self._trainer.trainee.parts:
                with self._trainer.progress.stage("validate"):
                    self._raw = self._validation.score_raw()
                self._listener.on_validation(0, {f"raw {n}": v for n, v in self._raw.items()})
            self._validate()
            self.save()

    def after(self, facts: StepFacts) -> None:
        """Take down a step, and do what is due after it."""
        self._losses.append(facts.step, facts.row())
        self._board.write(facts.step, facts.row())
        self._num_broken += len(facts.broken)
        for text in sorted(set(facts.broken) - self._said):
            logger.warning("passed over: %s", text)
            self._said.add(text)
        self._listener.on_step(facts)
        run = self._job.recipe.run
        is_last = facts.step == run.steps
        if facts.step % run.validate_every == 0 or is_last:
            self._validate()
        if facts.step % run.save_every == 0 or is_last:
            self.save()

    def save(self) -> None:
        """Write a checkpoint."""
        with self._trainer.progress.stage("save"):
            facts = {
                "conditions": self._job.conditions(),
                "best": self._best,
                "raw": self._raw,
                "broken": self._num_broken,
            }
            self._checkpoints.save(self._trainer.step, self._trainer.state() | facts)

    def conclude(self) -> TrainSummary:
        """Write the last weights; what the run came to."""
        self._export(self._job.last)
        job = self._job
        files = (job.best, job.last, job.losses, job.validation, job.curves)
        scores = {name: v for name, v in self._scores.rows[-1].items() if name != STEP}
        written = tuple(path for path in files if path.exists())
        return TrainSummary(self._trainer.step, scores, self._best[0], self._num_broken, written)

    def _validate(self) -> None:
        with self._trainer.progress.stage("validate"):
            scores = self._validation.score(self._trainer.result)
        step = self._trainer.step
        self._scores.append(step, scores)
        self._board.write(step, scores)
        self._board.flush()
        ordered = list(scores.values())  # the one that decides comes first, then those for ties
        if ordered > self._best:
            self._best = ordered
            self._export(self._job.best)
        draw_curves(self._job.curves, self._losses, self._scores, self._raw)
        self._listener.on_validation(step, scores)

    def _export(self, file: Path) -> None:
        scores = self._scores.rows[-1]
        about: dict[str, Any] = {"trained": dict(self._job.conditions()), "scores": scores}
        trainee = self._trainer.result
        if "detector" in trainee.parts:
            about[CLASSES_KEY] = list(cast(OneStage, trainee.parts["detector"]).classes)
        save_trained(file, self._job.variant, dict(trainee.parts), about)


class NoRecorder:
    """In place of a `RunRecorder` in all processes but the first: does nothing."""

    def begin(self) -> None:
        """Nothing."""

    def after(self, facts: StepFacts) -> None:
        """Nothing."""

    def save(self) -> None:
        """Nothing."""

    def conclude(self) -> TrainSummary:
        """A summary without files."""
        return TrainSummary(0, {}, 0.0, 0, ())


class Checkpoints:
    """The checkpoints of a run.

    Args:
        folder: for them.
        keep: how many of the latest stay.
    """

    def __init__(self, folder: Path, keep: int) -> None:
        self._folder, self._keep = folder, keep

    def save(self, step: int, state: Mapping[str, Any]) -> None:
        """Write the state after so many steps; only then older ones are removed.

        Raises:
            OutputError: it cannot be written.
        """
        path = self._folder / f"step-{step:07}.pt"
        part = part_of(path)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with part.open("wb") as file:
                torch.save(dict(state), file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, path)
        except (OSError, RuntimeError) as error:  # torch calls a full disk RuntimeError
            raise unwritable(part, getattr(error, "strerror", None) or str(error)) from error
        for old in self._all()[: -self._keep]:
            old.unlink()

    def load(self) -> dict[str, Any] | None:
        """The state of the latest that can be read; None if there is none.

        Raises:
            SettingsError: there are some, but none can be read.
        """
        paths = self._all()
        for path in reversed(paths):
            try:
                state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
            except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
                logger.warning("%s is damaged, an older checkpoint is used: %s", path, error)
            else:
                return state
        if paths:
            raise SettingsError(
                f"none of the {len(paths)} checkpoints in {self._folder} can be read",
                fix="start again with --overwrite",
            )
        return None

    def clear(self) -> None:
        """Remove all."""
        for path in self._all():
            path.unlink()

    def _all(self) -> list[Path]:
        if not self._folder.is_dir():
            return []
        return sorted(path for path in self._folder.iterdir() if _NAME.fullmatch(path.name))


def refuse_other_settings(before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raise OutputError unless a run that is resumed has the version and settings it began with.

    How many steps it takes may change on the way: the learning rate is then what it would be at
    this step of a run of the new number.
    """
    if before["masa"] != now["masa"]:
        raise OutputError(
            f"the run began with masa {before['masa']}, whose checkpoints masa {now['masa']} "
            "cannot resume",
            fix="go on with the version it began with, or start a new one with -o",
        )
    was, new = before["run"]["steps"], now["run"]["steps"]
    if was != new:
        logger.info("the run was of %d steps, and is of %d from here on", was, new)
        before = {**before, "run": {**before["run"], "steps": new}}
    for name in {**before, **now}:
        if before.get(name) != now.get(name):
            raise OutputError(
                f"the run began with another {name}: {before.get(name)}, now it is {now.get(name)}",
                fix="resume it with the options it began with, or start a new one with -o",
            )


@dataclass(slots=True)
class Listener:
    """Is told what happens.

    Attributes:
        on_step: after each step.
        on_validation: after each validation, with the step and the scores.
    """

    on_step: Callable[[StepFacts], None] = lambda facts: None
    on_validation: Callable[[int, Mapping[str, float]], None] = lambda step, scores: None


@dataclass(frozen=True, slots=True)
class TrainSummary:
    """What a run came to.

    Attributes:
        steps: that were taken, over all.
        scores: of the last validation.
        best: the score that decides, of the best weights.
        num_broken: views that could not be made of an image that cannot be read.
        written: files.
    """

    steps: int
    scores: Mapping[str, float]
    best: float
    num_broken: int
    written: tuple[Path, ...]
