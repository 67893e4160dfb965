"""When frames are, as far as files of tracks tell: columns of seconds, lists of them, rates."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from masa_cli.settings import DEFAULT_FRAME_RATE
from masa_cli.structures import Frame, IntArray

logger = logging.getLogger(__name__)

_LONGEST = 1e9  # seconds; larger ones are dates, or damage
_TOLERANCE = Fraction(1, 1000)  # seconds; containers round frame times to as much
_FINEST = 1001  # the denominator of a frame rate: 29.97002997 becomes 30000/1001


@dataclass(frozen=True, slots=True, eq=False)
class FrameTimes:
    """When frames are, as far as a file tells; between and around these, time goes evenly.

    Attributes:
        frames: (K,) int64, increasing, at least one.
        seconds: (K,) of each, increasing.
    """

    frames: IntArray
    seconds: NDArray[np.float64]

    def __post_init__(self) -> None:
        if not len(self.frames) or self.frames.shape != self.seconds.shape:
            raise ValueError(f"frames and seconds must be (K,), got {self.frames}, {self.seconds}")

    @staticmethod
    def of_rows(path: Path, frames: IntArray, seconds: NDArray[np.float64]) -> FrameTimes | None:
        """Of rows in any order, several of a frame; None where times are none, which is said.

        Args:
            path: the file, for messages.
            frames: (M,) from 0; rows below are left out.
            seconds: (M,); NaN where a row tells none.
        """
        told = np.flatnonzero(~np.isnan(seconds) & (frames >= 0))
        if not len(told):
            return None
        distinct, first, rows = np.unique(frames[told], return_index=True, return_inverse=True)
        times = FrameTimes(distinct, seconds[told][first])
        same = times.seconds[rows] == seconds[told]
        is_known = np.all(np.abs(times.seconds) < _LONGEST) and same.all()
        if not is_known or np.any(np.diff(times.seconds) <= 0):
            logger.warning(
                "%s: its times are not read: they do not grow from frame to frame, differ within "
                "one, or are beyond %g s",
                path,
                _LONGEST,
            )
            return None
        return times

    @staticmethod
    def even(frame_rate: Fraction) -> FrameTimes:
        """Of frames that come at that rate, the first at 0."""
        return FrameTimes(np.array([0, 1]), np.array([0.0, float(1 / frame_rate)]))

    @property
    def step(self) -> float:
        """Seconds from frame to frame, on average; one frame alone has come evenly from 0."""
        if len(self.frames) > 1:
            return float(np.ptp(self.seconds) / np.ptp(self.frames))
        frame, seconds = int(self.frames[0]), float(self.seconds[0])
        return seconds / frame if frame and seconds > 0 else float(1 / DEFAULT_FRAME_RATE)

    def at(self, frames: IntArray) -> NDArray[np.float64]:
        """(N,) seconds of these frames."""
        steps = np.diff(self.seconds) / np.diff(self.frames)
        usual = float(np.median(steps)) if len(steps) else self.step  # a picture held is not
        inside = np.interp(frames, self.frames, self.seconds)
        before = np.minimum(frames - self.frames[0], 0) * usual
        after = np.maximum(frames - self.frames[-1], 0) * usual
        seconds: NDArray[np.float64] = inside + before + after
        return np.maximum(seconds, min(0.0, float(self.seconds[0])))


class EvenRate:
    """Notices whether all frames that are seen come at one rate, the first at 0."""

    def __init__(self) -> None:
        self._times: list[tuple[int, Fraction]] = []  # the first and the last, for the rate
        self._bounds: tuple[Fraction, Fraction] | None = None  # of the seconds per frame

    def see(self, frame: Frame) -> None:
        """Take the next frame."""
        if self._bounds is None:
            self._bounds = Fraction(0), Fraction(10**9)
        low, high = self._bounds
        if frame.index:
            low = max(low, (frame.time - _TOLERANCE) / frame.index)
            high = min(high, (frame.time + _TOLERANCE) / frame.index)
        elif abs(frame.time) > _TOLERANCE:
            high = low - 1
        self._bounds = low, high
        self._times = [*self._times[:1], (frame.index, frame.time)]

    @property
    def rate(self) -> Fraction | None:
        """Frames per second; None if there is no such rate, or less than two frames were seen."""
        if len(self._times) < 2 or self._bounds is None:
            return None
        low, high = self._bounds
        index, time = self._times[-1]
        is_even = low <= time / index <= high
        return rate_of(float(time / index)) if is_even else None


def rate_of(step: float) -> Fraction:
    """The frame rate of a time between frames: a simple number or thousandths, as 30000/1001."""
    return Fraction(1 / step).limit_denominator(_FINEST)


def tell_assumed_rate(path: Path) -> None:
    """Warn that a file tells no times, and what is taken."""
    logger.warning(
        "%s tells no times: %d frames/s are assumed; give --fps if it is another rate",
        path,
        DEFAULT_FRAME_RATE,
    )
