"""One task as a process, which ends when this one does, and is begun again when it is killed."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from masa_cli.errors import SettingsError


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


MOST_ATTEMPTS = 3
_PROCESS_POLL_SECONDS = 0.1
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


MASA = (sys.executable, "-m", "masa_cli")


def run_task(
    task: Task,
    stop: Callable[[], bool],
    *,
    environment: Mapping[str, str] | None = None,
    program: Sequence[str] = MASA,
) -> Outcome:
    """Run a task to its end, wherever an earlier run of it stood.

    A process that is killed (by a lack of memory, say) is begun again with --resume.

    Args:
        task: what to run.
        stop: is asked several times a second; then the process is asked, once, to stop.
        environment: variables to add.
        program: what the command belongs to.
    """
    for attempt in range(1, MOST_ATTEMPTS + 1):
        begun = task if attempt == 1 else task.resumed()
        process = subprocess.Popen(
            [*program, *begun.command],
            cwd=task.place,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            errors="replace",
            env={**os.environ, **(environment or {})},
            # In a session of its own, Ctrl-C reaches it through this process alone, and only once.
            start_new_session=True,
            preexec_fn=_die_with_parent if sys.platform == "linux" else None,  # noqa: PLW1509
        )
        printed, messages = _wait(process, stop)
        if process.returncode >= 0 or stop():
            break
    return Outcome(task, process.returncode, _summary(printed), messages.strip(), attempt)


def _wait(process: subprocess.Popen[str], stop: Callable[[], bool]) -> tuple[str, str]:
    """What it printed and said, once it has ended."""
    is_asked = False
    while True:
        try:
            return process.communicate(timeout=_PROCESS_POLL_SECONDS)
        except subprocess.TimeoutExpired:
            if stop() and not is_asked:
                process.send_signal(signal.SIGINT)
                is_asked = True
                time.sleep(_PROCESS_POLL_SECONDS)


def _summary(printed: str) -> dict[str, object]:
    lines = printed.strip().splitlines()
    try:
        summary = json.loads(lines[-1]) if lines else {}
    except ValueError:
        return {}
    return summary if isinstance(summary, dict) else {}


def _die_with_parent() -> None:
    """Ask Linux to kill this process when the thread that made it ends: two must never write."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class LocalEngine:
    """Runs so many tasks at a time; they share the cores of this process between them.

    Args:
        num_jobs: at a time. Memory is that of so many runs.
    """

    def __init__(self, num_jobs: int) -> None:
        self._num_jobs = num_jobs

    def run(self, tasks: Sequence[Task], stop: Callable[[], bool]) -> Iterator[Outcome]:
        """See `Engine`."""
        from masa_cli.threads import THREADS, num_cores  # loads OpenCV, which --help needs not

        # No --threads, with which the encoder gives other bytes than a run alone would.
        share = max(1, num_cores() // self._num_jobs)
        environment = {} if THREADS in os.environ else {THREADS: str(share)}

        def run_one(task: Task) -> Outcome | None:
            return None if stop() else run_task(task, stop, environment=environment)

        with ThreadPoolExecutor(self._num_jobs) as pool:
            for done in as_completed([pool.submit(run_one, task) for task in tasks]):
                if (outcome := done.result()) is not None:
                    yield outcome


_RAY_POLL_SECONDS = 0.5


class RayEngine:
    """Runs tasks on the cluster that RAY_ADDRESS names, or on one of this machine alone.

    A worker that is lost takes its process with it; Ray begins the task again elsewhere, and it
    goes on where its results stood.

    Args:
        num_jobs: tasks at a time at most; 0: as many as the cluster has room for.
        cores: that each task needs; Ray tells the libraries of its process so.

    Raises:
        SettingsError: Ray is not installed.
    """

    def __init__(self, num_jobs: int, cores: int = 1) -> None:
        try:
            self._ray: Any = import_module("ray")
        except ModuleNotFoundError:
            raise SettingsError(
                "Ray is not installed", fix="pip install 'masa[ray]', or use --engine local"
            ) from None
        self._num_jobs, self._cores = num_jobs, cores

    def run(self, tasks: Sequence[Task], stop: Callable[[], bool]) -> Iterator[Outcome]:
        """See `Engine`. Tasks that run when asked to stop are cancelled; they can be resumed."""
        ray = self._ray
        if not ray.is_initialized():
            ray.init(log_to_driver=False, include_dashboard=False)
        begin = ray.remote(num_cpus=self._cores, max_retries=MOST_ATTEMPTS)(_on_worker)
        waiting = list(tasks)
        running: dict[Any, Task] = {}
        while (waiting or running) and not stop():
            while waiting and (not self._num_jobs or len(running) < self._num_jobs):
                task = waiting.pop(0)
                running[begin.remote(task)] = task
            ready, _ = ray.wait(list(running), num_returns=1, timeout=_RAY_POLL_SECONDS)
            for handle in ready:
                yield self._outcome(handle, running.pop(handle))
        for handle in running:
            ray.cancel(handle, force=True)

    def _outcome(self, handle: Any, task: Task) -> Outcome:  # noqa: ANN401 - Ray's own
        try:
            outcome: Outcome = self._ray.get(handle)
        except self._ray.exceptions.RayError as error:
            return Outcome(task, 1, messages=f"error: lost on the cluster: {error}")
        return outcome


def _on_worker(task: Task) -> Outcome:
    """On the machine that got the task: go on, if an earlier worker was lost with it."""
    return run_task(task.resumed() if task.is_begun else task, lambda: False)
