"""How long a slow run will take, told as soon as its first frames are done."""

from __future__ import annotations

import logging

# A run that is quicker needs no warning: its progress can be watched.
SLOW = 1.0  # seconds per frame

logger = logging.getLogger(__name__)


class Forecast:
    """Says once what a frame costs here and what is left, if frames cost more than a second.

    Args:
        num_frames: of the whole video, if that is known.
    """

    def __init__(self, num_frames: int | None) -> None:
        self._num_frames = num_frames
        self._before = 0.0
        self._told = False

    def after(self, done: int, in_batch: int, seconds: float) -> None:
        """Take note of a batch.

        Args:
            done: frames of the video that are finished.
            in_batch: how many of them were in the batch.
            seconds: spent in networks by this run so far.
        """
        each, self._before = (seconds - self._before) / in_batch, seconds
        if self._told or each < SLOW:
            return
        self._told = True
        left = None if self._num_frames is None else max(0, self._num_frames - done)
        logger.info(
            "a frame takes about %s here%s",
            duration(each),
            "" if left is None else f": about {duration(each * left)} for the {left} that are left",
        )


def duration(seconds: float) -> str:
    """Seconds in words, as roughly as one would say it: 8.2 s, 3 min, 2 h 5 min."""
    if seconds < 99.5:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 100:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"
