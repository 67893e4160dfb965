"""Part of a video: from one time to another, or every so many frames; and frames without images.

A source that can leave out frames does not decode what nobody wants.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Protocol, runtime_checkable

from masa_cli.errors import SourceError
from masa_cli.structures import Frame, VideoInfo

# Whether a frame is wanted, by its number and its time in seconds; asked in their order.
Wanted = Callable[[int, Fraction], bool]


@runtime_checkable
class Selectable(Protocol):
    """A source that need not make images of frames that nobody wants."""

    @property
    def info(self) -> VideoInfo:
        """What is known before the first frame is read."""

    def chosen(self, wanted: Wanted) -> Iterator[Frame]:
        """The frames that are wanted, under their own numbers."""


@dataclass(frozen=True, slots=True)
class Span:
    """Which part.

    Attributes:
        start: seconds; the first frame is the first one that is not before.
        end: seconds; frames from here on are left out. None: none is.
        every: of the frames between, every so many.
    """

    start: Fraction = Fraction(0)
    end: Fraction | None = None
    every: int = 1

    def __post_init__(self) -> None:
        if self.start < 0 or self.every < 1 or (self.end is not None and self.end <= self.start):
            raise ValueError(f"start must be before end and every at least 1, got {self}")


class Excerpt:
    """Part of another source. Numbers and times of its frames begin with 0 again.

    Args:
        source: the whole.
        span: which part.
    """

    def __init__(self, source: Selectable, span: Span) -> None:
        self._source, self._span = source, span
        info = source.info
        # On the clock of the whole, so that times from there stay whole ticks.
        self._start = span.start // info.time_base * info.time_base
        self._first = 0  # number, in the whole, of the first frame here
        self._info = replace(
            info,
            frame_rate=info.frame_rate / span.every,
            num_frames=_expected(info, span),
            start=info.start + self._start,
        )

    @property
    def info(self) -> VideoInfo:
        """Of the part."""
        return self._info

    def frames(self, start: int = 0) -> Iterator[Frame]:
        """The frames of the part, from its number `start` on.

        Raises:
            SourceError: the whole cannot be read on, or ends before the part begins.
        """
        span, first = self._span, -1

        def wanted(index: int, time: Fraction) -> bool:
            nonlocal first
            if time < span.start:
                return False
            if first < 0:
                first = self._first = index
            is_past = span.end is not None and time >= span.end
            number, rest = divmod(index - first, span.every)
            return is_past or (rest == 0 and number >= start)

        for frame in self._source.chosen(wanted):
            if span.end is not None and frame.time >= span.end:
                break
            number = (frame.index - first) // span.every
            yield Frame(number, frame.time - self._start, frame.image)
        if first < 0:
            raise SourceError(
                f"{self._info.name} ends before {float(span.start):g} s, where the part begins",
                fix="choose an earlier --start",
            )

    def in_whole(self, index: int) -> int:
        """The number, in the whole, of a frame that has been read."""
        return self._first + index * self._span.every


def _expected(info: VideoInfo, span: Span) -> int | None:
    """About how many frames the part has."""
    ends = [span.end] if span.end is not None else []
    if info.num_frames is not None:
        ends.append(info.num_frames / info.frame_rate)
    if not ends:
        return None
    return max(1, round((min(ends) - span.start) * info.frame_rate / span.every))


class Timeline:
    """A source of frames without pictures: every image is (0, 0, 3), width and height are 0."""

    def __init__(self, name: str, num_frames: int, frame_rate: Fraction) -> None:
        self._num_frames = num_frames
        self._info = VideoInfo(
            name=name,
            width=0,
            height=0,
            frame_rate=frame_rate,
            time_base=1 / frame_rate,
            num_frames=num_frames,
        )

    @property
    def info(self) -> VideoInfo:
        """What the frames will be."""
        return self._info

    def frames(self, start: int = 0) -> Iterator[Frame]:
        """The frames from number `start` on, one every 1 / frame_rate seconds."""
        return self.chosen(lambda index, _: index >= start)

    def chosen(self, wanted: Wanted) -> Iterator[Frame]:
        """The frames that are wanted."""
        for index in range(self._num_frames):
            if wanted(index, index * self._info.time_base):
                yield Frame.without_image(index, index * self._info.time_base)
