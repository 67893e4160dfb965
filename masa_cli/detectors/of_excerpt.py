"""A detector that knows frames by their numbers in the whole video, for part of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from masa_cli.detectors import Detector
from masa_cli.sources.excerpt import Excerpt
from masa_cli.structures import Detections, Frame


class OfExcerpt:
    """Asks another detector for the frames of the whole video that those of the part are.

    Args:
        detector: of the whole video, such as a file of detections.
        excerpt: the part; its frames are read before they are asked for.
    """

    def __init__(self, detector: Detector, excerpt: Excerpt) -> None:
        self._detector, self._excerpt = detector, excerpt

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the detector's classes."""
        return self._detector.classes

    def detect(self, frames: Sequence[Frame]) -> list[Detections]:
        """One Detections per frame of the part."""
        numbers = [self._excerpt.in_whole(frame.index) for frame in frames]
        return self._detector.detect(
            [replace(frame, index=number) for frame, number in zip(frames, numbers, strict=True)]
        )
