"""Many videos at once: each is a run of its own, in a process of its own, here or on a cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Task:
    """One video to track.

    Attributes:
        name: of its results.
        command: the arguments after `masa`.
        folder: where its results go.
        place: folder that relative paths begin in, on whatever machine it runs.
    """

    name: str
    command: tuple[str, ...]
    folder: Path
    place: Path = field(default_factory=Path.cwd)

    @property
    def is_begun(self) -> bool:
        """Whether an earlier run of it can be gone on with."""
        return (self.place / self.folder / "checkpoint.part").exists()

    def resumed(self) -> Task:
        """The same, going on where an earlier run of it stood."""
        name, *rest = (each for each in self.command if each not in ("--resume", "--overwrite"))
        return replace(self, command=(name, "--resume", *rest))


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a task.

    Attributes:
        task: that was run.
        exit_code: as of `masa`; negative if the process was killed, again and again.
        summary: what `masa track --json` printed; empty unless it went well.
        messages: what it wrote to stderr.
        attempts: how often it was begun.
    """

    task: Task
    exit_code: int
    summary: dict[str, Any] = field(default_factory=dict)
    messages: str = ""
    attempts: int = 1


class Engine(Protocol):
    """Runs tasks."""

    def run(self, tasks: Sequence[Task], stop: Callable[[], bool]) -> Iterator[Outcome]:
        """Outcomes as they come; asked to stop, no task is begun, and those running are asked."""
        ...
