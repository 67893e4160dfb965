"""A detector of which only some boxes are wanted."""

from __future__ import annotations

from collections.abc import Sequence

from masa_cli.detectors import Detector
from masa_cli.selection import Selection
from masa_cli.structures import Detections, Frame


class Selected:
    """What another detector finds, less what is not wanted; classes keep their numbers.

    Args:
        detector: does the work.
        selection: what is wanted.
    """

    def __init__(self, detector: Detector, selection: Selection) -> None:
        self._detector, self._selection = detector, selection

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the detector's classes."""
        return self._detector.classes

    def detect(self, frames: Sequence[Frame]) -> list[Detections]:
        """The wanted boxes of each frame."""
        return [self._selection.of(found, self.classes) for found in self._detector.detect(frames)]
