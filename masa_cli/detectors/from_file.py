"""The detector that finds what a file says: any detector's boxes can be tracked."""

from __future__ import annotations

import math
from collections.abc import Sequence

from masa_cli.formats.detection_table import DetectionTable
from masa_cli.structures import Detections, Frame


class FromFile:
    """Gives each frame the detections a table has for it, in the order of the file.

    Args:
        table: detections of the whole video.
        min_score: detections below it are left out; by default none is.
    """

    def __init__(self, table: DetectionTable, *, min_score: float = -math.inf) -> None:
        self._table, _ = table.scored(min_score)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the file's classes."""
        return self._table.classes

    @property
    def has_masks(self) -> bool:
        """Whether the file has any masks."""
        return any(mask is not None for mask in self._table.masks)

    def detect(self, frames: Sequence[Frame]) -> list[Detections]:
        """The detections of these frames; their images are not looked at."""
        return [self._table.of_frame(frame.index) for frame in frames]
