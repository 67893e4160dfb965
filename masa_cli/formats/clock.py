"""The clock of a container: its times as exact fractions of a second."""

from __future__ import annotations

from fractions import Fraction
from numbers import Rational

from av.container import InputContainer


def exact(number: Rational) -> Fraction:
    """A rational number of FFmpeg as one to calculate with: PyAV 19 made it a type of its own."""
    return Fraction(int(number.numerator), int(number.denominator))


def time_zero(container: InputContainer, tick: Fraction) -> Fraction:
    """When the video starts on the clock of its own packets, in seconds.

    That is the start of its first stream, as players count it, rounded down to a whole `tick` (the
    time base of the pictures) so that times from there stay whole ticks. Pictures and sound both
    count from here, which is what keeps them together.
    """
    starts = [
        stream.start_time * exact(stream.time_base)
        for stream in (*container.streams.video, *container.streams.audio)
        if stream.start_time is not None and stream.time_base is not None
    ]
    return min(starts, default=Fraction(0)) // tick * tick
