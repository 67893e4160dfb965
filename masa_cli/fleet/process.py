"""One task as a process, which ends when this one does, and is begun again when it is killed."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence

from masa_cli.fleet import Outcome, Task

MOST_ATTEMPTS = 3
_POLL_SECONDS = 0.1
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
            return process.communicate(timeout=_POLL_SECONDS)
        except subprocess.TimeoutExpired:
            if stop() and not is_asked:
                process.send_signal(signal.SIGINT)
                is_asked = True
                time.sleep(_POLL_SECONDS)


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
