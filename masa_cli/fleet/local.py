"""Tasks on this machine, some at a time."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed

from masa_cli.fleet import Outcome, Task
from masa_cli.fleet.process import run_task

_THREADS = "OMP_NUM_THREADS"


class LocalEngine:
    """Runs so many tasks at a time; they share the cores of this machine between them.

    Args:
        num_jobs: at a time. Memory is that of so many runs.
    """

    def __init__(self, num_jobs: int) -> None:
        self._num_jobs = num_jobs

    def run(self, tasks: Sequence[Task], stop: Callable[[], bool]) -> Iterator[Outcome]:
        """See `Engine`."""
        share = max(1, (os.cpu_count() or 1) // self._num_jobs)
        environment = {} if _THREADS in os.environ else {_THREADS: str(share)}

        def run_one(task: Task) -> Outcome | None:
            return None if stop() else run_task(task, stop, environment=environment)

        with ThreadPoolExecutor(self._num_jobs) as pool:
            for done in as_completed([pool.submit(run_one, task) for task in tasks]):
                if (outcome := done.result()) is not None:
                    yield outcome
