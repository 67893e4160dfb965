"""Where boxes come from: every detector has `classes` and `detect`, nothing else is asked of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from masa_cli.structures import Detections, Frame


class Detector(Protocol):
    """Finds boxes in frames."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names that labels index."""
        ...

    def detect(self, frames: Sequence[Frame]) -> list[Detections]:
        """One Detections per frame, boxes xyxy in source pixels."""
        ...
