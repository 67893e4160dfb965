"""The detector that finds what a file says: any detector's boxes can be tracked."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from masa_cli.detectors import Detector, DetectorRequest
from masa_cli.formats.tables import DetectionTable
from masa_cli.sources.excerpt import Excerpt
from masa_cli.structures import Detections, Frame

if TYPE_CHECKING:
    from masa_cli.models.adapter import SharedNetworks


def build_given(request: DetectorRequest, networks: SharedNetworks) -> Detector:
    """The detector that a request brings along; no network is asked."""
    detector: Detector = request.queries[0]
    return detector


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
