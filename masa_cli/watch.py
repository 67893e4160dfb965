"""What a run tells about itself while it goes on, and how it is asked to stop."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from typing import TypeVar

T = TypeVar("T")


class Watch:
    """Measures the stages of a run, reports each finished frame, carries the wish to stop.

    Attributes:
        seconds: spent in each stage; stages in threads of their own overlap.
        stop_requested: set it, and the run stops after the frames in hand.
        on_pass: called when a pass begins, with its name and the number of frames done before.
        on_frame: called after each frame with the number of frames done and of tracks in it.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.stop_requested = False
        self.on_pass: Callable[[str, int], None] = lambda name, done: None
        self.on_frame: Callable[[int, int], None] = lambda done, num_tracks: None

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the time spent inside to a stage."""
        start = time.perf_counter()
        try:
            yield
        finally:
            spent = time.perf_counter() - start
            self.seconds[name] = self.seconds.get(name, 0.0) + spent

    def timed(self, name: str, items: Iterable[T]) -> Generator[T, None, None]:
        """The same items; the time it takes to make them is added to a stage."""
        iterator = iter(items)
        with closing(_Closable(iterator)):
            while True:
                with self.stage(name):
                    try:
                        item = next(iterator)
                    except StopIteration:
                        return
                yield item


class _Closable:
    """An iterator's `close`, where it has one."""

    def __init__(self, iterator: Iterator[object]) -> None:
        self._iterator = iterator

    def close(self) -> None:
        if isinstance(self._iterator, Generator):
            self._iterator.close()
