"""Several results of one video in one picture, beside each other or in a grid."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Literal

import cv2
import numpy as np

from masa_cli.render.annotator import Annotator, draw_plate
from masa_cli.structures import Frame, FrameTracks, Tracks, VideoInfo

Layout = Literal["side-by-side", "grid"]

_MAX_SIZE = (3840, 2160)  # pixels, of all panels together; larger frames are reduced
_GREY = 40  # of panels that are left over, and of what divides them
_GAP = 2  # pixels between panels
_PLATE = (30, 30, 30)  # RGB, behind a name


class Panel:
    """One result.

    Args:
        name: shown in its corner.
        frames: of its tracks, in order; those of no frame of the video are passed over.
        classes: gives the names known so far.
        annotator: draws it, and nothing else.
    """

    def __init__(
        self,
        name: str,
        frames: Iterable[FrameTracks],
        classes: Callable[[], Sequence[str]],
        annotator: Annotator,
    ) -> None:
        self.name = name
        self._classes, self._annotator = classes, annotator
        self._remaining: Iterator[FrameTracks] = iter(frames)
        self._next: FrameTracks | None = None

    def draw(self, frame: Frame) -> Frame:
        """The frame with the tracks that this result has in it; frames come in order."""
        while self._next is None or self._next.index < frame.index:
            self._next = next(self._remaining, None)
            if self._next is None:
                return self._annotator.draw(frame, Tracks.empty(), self._classes())
        is_here = self._next.index == frame.index
        tracks = self._next.tracks if is_here else Tracks.empty()
        return self._annotator.draw(frame, tracks, self._classes())


class Panels:
    """Draws all results of a frame, in place of an `Annotator`.

    Args:
        panels: at least one.
        layout: all in one row, or in as many rows as columns, or one row fewer.
        info: of the video.
    """

    def __init__(self, panels: Sequence[Panel], layout: Layout, info: VideoInfo) -> None:
        self._panels = panels
        count = len(panels)
        self._columns = count if layout == "side-by-side" else math.ceil(math.sqrt(count))
        self._rows = math.ceil(count / self._columns)
        room = [
            (most - _GAP * (number - 1)) / number
            for most, number in zip(_MAX_SIZE, (self._columns, self._rows), strict=True)
        ]
        self._scale = min(1.0, room[0] / info.width, room[1] / info.height)
        self._size = tuple(max(1, round(self._scale * side)) for side in (info.width, info.height))
        self.info = replace(
            info,
            width=self._columns * self._size[0] + _GAP * (self._columns - 1),
            height=self._rows * self._size[1] + _GAP * (self._rows - 1),
        )

    def draw(self, frame: Frame, tracks: Tracks, classes: Sequence[str]) -> Frame:
        """All panels of a frame; the tracks given are left out, each panel has its own."""
        whole = np.full((self.info.height, self.info.width, 3), _GREY, np.uint8)
        width, height = self._size
        for number, panel in enumerate(self._panels):
            row, column = divmod(number, self._columns)
            image = panel.draw(frame).image
            if (width, height) != image.shape[1::-1]:
                image = np.asarray(
                    cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), np.uint8
                )
            draw_plate(image, panel.name, _PLATE)
            x, y = column * (width + _GAP), row * (height + _GAP)
            whole[y : y + height, x : x + width] = image
        return Frame(frame.index, frame.time, whole)
