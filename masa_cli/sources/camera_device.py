"""A camera of this machine, by its number; through OpenCV, which knows those of every system."""

from __future__ import annotations

import time
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import cv2
import numpy as np

from masa_cli.errors import SourceError
from masa_cli.structures import Frame, Image, VideoInfo

_TICK = Fraction(1, 1000)
_USUAL_FRAME_RATE = Fraction(30)


class CameraDevice:
    """The frames of a camera, as long as it gives any; times are those of this machine's clock.

    Args:
        number: from 0.

    Raises:
        SourceError: there is no such camera, or it gives no picture.
    """

    newest_only = True

    def __init__(self, number: int) -> None:
        self._camera: Any = cv2.VideoCapture(number)
        first = self._read() if self._camera.isOpened() else None
        if first is None:
            raise SourceError(
                f"camera {number} cannot be opened",
                fix="check that it is connected and no other program uses it; 0 is the first one",
            )
        self._first: Image = first
        rate = float(self._camera.get(cv2.CAP_PROP_FPS))
        height, width, _ = first.shape
        self._info = VideoInfo(
            name=f"camera{number}",
            width=width,
            height=height,
            frame_rate=Fraction(rate).limit_denominator(1001) if rate > 1 else _USUAL_FRAME_RATE,
            time_base=_TICK,
        )

    @property
    def info(self) -> VideoInfo:
        """What the camera says of itself."""
        return self._info

    def frames(self, start: int = 0) -> Iterator[Frame]:
        """All frames, until the camera gives no more; then it is released."""
        if start:
            raise ValueError("a camera can be read from now on only")
        began, index, ticks = time.monotonic(), 0, 0
        image: Image | None = self._first
        try:
            while image is not None:
                yield Frame(index, ticks * _TICK, image)
                image = self._read()
                index += 1
                ticks = max(ticks + 1, round((time.monotonic() - began) / _TICK))
        finally:
            self._camera.release()

    def _read(self) -> Image | None:
        is_read, picture = self._camera.read()
        if not is_read:
            return None
        return np.ascontiguousarray(picture[..., ::-1])  # OpenCV's BGR to RGB
