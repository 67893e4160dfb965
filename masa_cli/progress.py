"""What a run tells about itself while it goes on, and how it is asked to stop."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from masa_cli.structures import Frame, Tracks

T = TypeVar("T")

SLOW = 1.0  # seconds per frame; a run that is quicker needs no warning: it can be watched
_IN_NETWORKS = ("embed", "segment")  # stages that take the time of a slow run, beside detection

logger = logging.getLogger(__name__)


class RunProgress:
    """Measures the stages of a run, reports each finished frame, carries the wish to stop.

    Attributes:
        seconds: spent in each stage, without the stages inside it; stages in threads of their own
            overlap.
        stop_requested: set it, and the run stops after the frames in hand.
        num_frames: how many there will be, if that is known.
        on_pass: called when a pass begins, with its name and the number of frames done before.
        on_frame: called after each frame with the number of frames done and of tracks in it.
        on_stage: called after each stage, in its thread, with its name and when it began and ended,
            by `time.perf_counter`.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.stop_requested = False
        self.num_frames: int | None = None
        self.on_pass: Callable[[str, int], None] = lambda name, done: None
        self.on_frame: Callable[[int, int], None] = lambda done, num_tracks: None
        self.on_stage: Callable[[str, float, float], None] = lambda name, start, end: None
        self._in_networks_before = 0.0
        self._lock = threading.Lock()
        self._told_how_slow = False
        self._inside = threading.local()  # seconds of the stages inside the one that a thread is in

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the time spent inside to a stage, less what is spent in stages in there."""
        before = getattr(self._inside, "seconds", 0.0)
        self._inside.seconds = 0.0
        start = time.perf_counter()
        try:
            yield
        finally:
            end = time.perf_counter()
            spent = end - start
            own = spent - self._inside.seconds
            with self._lock:
                self.seconds[name] = self.seconds.get(name, 0.0) + own
            self._inside.seconds = before + spent
            self.on_stage(name, start, end)

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

    def after_batch(self, done: int, in_batch: int) -> None:
        """Say once what a frame costs here and what is left, if frames cost more than a second.

        Args:
            done: frames of the video that are finished.
            in_batch: how many of them were in the last batch.
        """
        # Detection side by side takes less than the sum of what its threads take.
        detection = "wait for boxes" if "wait for boxes" in self.seconds else "detect"
        spent = sum(self.seconds.get(name, 0.0) for name in (detection, *_IN_NETWORKS))
        each, self._in_networks_before = (spent - self._in_networks_before) / in_batch, spent
        if self._told_how_slow or each < SLOW:
            return
        self._told_how_slow = True
        left = None if self.num_frames is None else max(0, self.num_frames - done)
        logger.info(
            "a frame takes about %s here%s",
            duration(each),
            "" if left is None else f": about {duration(each * left)} for the {left} that are left",
        )


class _Closable:
    """An iterator's `close`, where it has one."""

    def __init__(self, iterator: Iterator[object]) -> None:
        self._iterator = iterator

    def close(self) -> None:
        if isinstance(self._iterator, Generator):
            self._iterator.close()


def duration(seconds: float) -> str:
    """Seconds in words, as roughly as one would say it: 8.2 s, 3 min, 2 h 5 min."""
    if seconds < 99.5:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 100:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"


@dataclass(frozen=True, slots=True)
class Summary:
    """What a finished run did.

    Attributes:
        num_frames: of the video.
        num_boxes: with an identity.
        num_tracks: different identities.
        num_masks: boxes with a mask.
        most_in_frame: boxes in the frame that has most of them.
        written: files that are complete.
    """

    num_frames: int
    num_boxes: int
    num_tracks: int
    num_masks: int
    most_in_frame: int
    written: tuple[Path, ...]

    @property
    def boxes_per_frame(self) -> float:
        """On average."""
        return self.num_boxes / max(self.num_frames, 1)


class Tally:
    """A sink that counts."""

    def __init__(self) -> None:
        self._num_frames = 0
        self._num_boxes = self._num_masks = self._most_in_frame = 0
        self._ids: set[int] = set()

    def write(self, frame: Frame, tracks: Tracks) -> None:
        """Count one frame."""
        self._num_frames = frame.index + 1
        self._num_boxes += len(tracks)
        self._num_masks += int(tracks.has_mask.sum())
        self._most_in_frame = max(self._most_in_frame, len(tracks))
        self._ids.update(tracks.ids.tolist())

    def summary(self, written: Sequence[Path]) -> Summary:
        """The counts so far."""
        return Summary(
            self._num_frames,
            self._num_boxes,
            len(self._ids),
            self._num_masks,
            self._most_in_frame,
            tuple(written),
        )
