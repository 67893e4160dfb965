"""Work done ahead in another thread, so that reading frames and using them overlap in time."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, suppress
from itertools import islice
from queue import Empty, Queue, SimpleQueue
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")

_POLL_SECONDS = 0.1


def prefetch(items: Iterable[T], depth: int) -> Generator[T, None, None]:
    """The same items in the same order, up to `depth` of them made ahead in a background thread.

    Whatever `items` raises is raised here, after the items before it. When this generator is
    closed, `items` is closed in its own thread and the thread has ended on return.
    """
    if depth < 1:
        raise ValueError(f"depth must be at least 1, got {depth}")
    return _consume(_Producer(items, depth))


def done_ahead(
    function: Callable[[T], R], items: Generator[T, None, None], number: int
) -> Generator[R, None, None]:
    """What a function makes of each item, in order; items are closed at the end.

    While one is used, the function is at the next ones, each in a thread of its own; but the first
    is done alone and here, as it may make ready what all of them need. Whatever the function or
    `items` raises is raised here, after what was made of the items before.

    Args:
        function: may be called by several threads at a time.
        items: are taken in the thread that asks.
        number: of threads; 0: everything is done when it is asked for.
    """
    with closing(items):
        if not number:
            yield from map(function, items)
            return
        first = [function(item) for item in islice(items, 1)]
        pool = ThreadPoolExecutor(number, "ahead")
        try:
            yield from _in_order(first, pool, function, items, number)
        finally:
            pool.shutdown(cancel_futures=True)


def _in_order(
    first: list[R],
    pool: ThreadPoolExecutor,
    function: Callable[[T], R],
    items: Iterator[T],
    number: int,
) -> Generator[R, None, None]:
    """What is there already, then the rest: `number` of them are begun before one is given."""
    waiting: deque[Future[R]] = deque()

    def take() -> None:
        try:
            waiting.append(pool.submit(function, next(items)))
        except StopIteration:
            pass
        except Exception as error:  # noqa: BLE001 - raised in its turn
            failed: Future[R] = Future()
            failed.set_exception(error)
            waiting.append(failed)

    for _ in range(number):
        take()
    yield from first
    while waiting:
        done = waiting.popleft().result()
        take()
        yield done


def live(
    items: Iterable[T], depth: int, *, newest_only: bool, stop: Callable[[], bool]
) -> Generator[T, None, None]:
    """The same items made ahead in a background thread, for sources that may keep silent for ever.

    Asked to stop, this ends at once, even while no item comes; then the thread is left to end with
    the process.

    Args:
        items: each made when asked for.
        depth: at most so many are made ahead.
        newest_only: of items that wait, only the newest is given, and the source never waits.
        stop: is asked several times a second.
    """
    # A queue that is full makes the source wait; one of a single place is emptied instead.
    waiting: Queue[tuple[T] | BaseException] = Queue(1 if newest_only else depth)

    def put(item: tuple[T] | BaseException) -> None:
        with suppress(Empty):
            if newest_only and isinstance(item, tuple):
                waiting.get_nowait()
        waiting.put(item)

    def run() -> None:
        try:
            for item in items:
                put((item,))
            put(StopIteration())
        except BaseException as error:  # noqa: BLE001 - raised at the consumer
            put(error)

    threading.Thread(target=run, name="live", daemon=True).start()
    while not stop():
        try:
            found = waiting.get(timeout=_POLL_SECONDS)
        except Empty:
            continue
        match found:
            case (item,):
                yield item
            case StopIteration():
                return
            case error:
                raise error


class _Producer(Generic[T]):
    """Iterates in its own thread: first a free slot, then an item, so `depth` is never exceeded."""

    def __init__(self, items: Iterable[T], depth: int) -> None:
        self.slots = threading.Semaphore(depth)
        self.results: SimpleQueue[tuple[T] | BaseException] = SimpleQueue()
        self._items = items
        self._stopped = False
        # A daemon: a source that hangs must not keep the interpreter from exiting.
        self._thread = threading.Thread(target=self._run, name="prefetch", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End the thread after the item it is at, and wait for it."""
        self._stopped = True
        self.slots.release()  # it may be waiting for a free slot
        self._thread.join()

    def _run(self) -> None:
        try:
            source = iter(self._items)
            try:
                while self._may_go_on():
                    self.results.put((next(source),))
            finally:
                if close := getattr(source, "close", None):
                    close()
        except BaseException as error:  # noqa: BLE001 - StopIteration too: raised at the consumer
            self.results.put(error)

    def _may_go_on(self) -> bool:
        self.slots.acquire()
        return not self._stopped


def _consume(producer: _Producer[T]) -> Generator[T, None, None]:
    producer.start()
    try:
        while True:
            match producer.results.get():
                case (item,):
                    producer.slots.release()
                    yield item
                case StopIteration():
                    return
                case error:
                    raise error
    finally:
        producer.stop()
