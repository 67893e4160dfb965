"""Tasks on a Ray cluster: one task per video. Needs ray.

All machines must see the videos and the folder of results under the same paths, and have masa.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from typing import Any

from masa_cli.errors import SettingsError
from masa_cli.fleet import Outcome, Task
from masa_cli.fleet.process import MOST_ATTEMPTS, run_task

_POLL_SECONDS = 0.5


class RayEngine:
    """Runs tasks on the cluster that RAY_ADDRESS names, or on one of this machine alone.

    A worker that is lost takes its process with it; Ray begins the task again elsewhere, and it
    goes on where its results stood.

    Args:
        num_jobs: tasks at a time at most; 0: as many as the cluster has room for.
        cores: that each task needs.

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
            ready, _ = ray.wait(list(running), num_returns=1, timeout=_POLL_SECONDS)
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
