"""Threads of libraries: how many work while masa does, and that nobody notices afterwards.

numpy, scipy and OpenCV each bring an OpenBLAS of their own. Its threads go on spinning after each
small product of association and linking, and take the cores from the network of the next frame;
one thread does such products as fast. These pools belong to the whole process, so whatever is
changed is put back for those who call masa from Python.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Generator, Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar

import cv2
import numpy as np
import scipy.linalg  # noqa: F401 - or its BLAS would be loaded after the limit was set
from threadpoolctl import ThreadpoolController

T = TypeVar("T")

THREADS = "OMP_NUM_THREADS"  # in the environment; torch asks for it, others have to be told

# Whose BLAS does the work of networks, and keeps its threads.
_OF_NETWORKS = ("torch", "torch.libs")


@contextmanager
def limited(threads: int | None = None) -> Iterator[None]:
    """Inside, BLAS works on one thread, whatever the environment says.

    Args:
        threads: of everything else (torch, OpenCV and what asks for `allowed`); None: as many as
            OMP_NUM_THREADS says, or as they have.
    """
    torch = sys.modules.get("torch")  # runs without a network do not load it
    with ExitStack() as stack:
        stack.enter_context(_single_blas)
        if threads and torch:
            stack.callback(torch.set_num_threads, torch.get_num_threads())
            torch.set_num_threads(threads)
        if number := threads or _in_environment():
            stack.callback(cv2.setNumThreads, cv2.getNumThreads())
            cv2.setNumThreads(number)
        yield


def limited_steps(
    items: Generator[T, None, None], threads: int | None = None
) -> Generator[T, None, None]:
    """The same items; each is made inside `limited`, what happens between them is not."""
    with closing(items):
        while True:
            with limited(threads):
                try:
                    item = next(items)
                except StopIteration:
                    return
            yield item


def keep_single_blas() -> None:
    """Let BLAS work on one thread until this process ends, which is one of masa's own."""
    _single_blas.__enter__()


def allowed() -> int:
    """Threads that a library should use that is told so in each call: as many as OpenCV has."""
    return max(1, cv2.getNumThreads())


def num_cores() -> int:
    """Cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _in_environment() -> int | None:
    """Threads that the environment allows, as torch understands it."""
    first = os.environ.get(THREADS, "").partition(",")[0].strip()
    return int(first) if first.isdecimal() and int(first) else None


class _SingleBlas:
    """Inside, all BLAS pools have one thread; entered anew or by several threads, too.

    Only who comes first sees what was there before, and only who leaves last puts it back.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._num_inside = 0
        self._before: list[tuple[Any, int]] = []  # libraries, and their threads

    def __enter__(self) -> None:
        with self._lock:
            self._num_inside += 1
            if self._num_inside > 1:
                return
            for library in _blas():
                self._before.append((library, library.get_num_threads()))
                _set_threads(library, 1)

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._num_inside -= 1
            while self._before and not self._num_inside:
                _set_threads(*self._before.pop())


_single_blas = _SingleBlas()  # one for the process, as the pools are


@cache
def _blas() -> tuple[Any, ...]:
    """The BLAS libraries of numpy, scipy and OpenCV; finding them takes 10 ms.

    One made with OpenMP, or MKL, works with torch's threads or may be torch's own: it stays.
    """
    np.dot(np.ones((1, 1)), np.ones((1, 1)))  # some load theirs with the first product
    return tuple(
        library
        for library in ThreadpoolController().lib_controllers
        if getattr(library, "threading_layer", None) == "pthreads"
        and library.user_api == "blas"
        and not any(part in _OF_NETWORKS for part in Path(library.filepath).parts)
    )


def _set_threads(library: Any, number: int) -> None:  # noqa: ANN401 - threadpoolctl's own
    # Since threadpoolctl 3.8 a library obeys the first thread that set its number, and no other.
    release = getattr(library, "clear_controlling_thread", lambda **_: None)
    release(force=True)
    library.set_num_threads(number)
    release(force=True)
