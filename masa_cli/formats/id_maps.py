"""Identities as pictures: one 16-bit png per frame, each pixel the id it belongs to, 0 for none."""

from __future__ import annotations

import re
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np

from masa_cli.errors import OutputError
from masa_cli.formats.part_folder import PartFolder
from masa_cli.masks import id_map
from masa_cli.structures import Frame, Tracks, VideoInfo

MOST = 2**16 - 1  # the highest id a pixel can hold
_PICTURE = re.compile(r"\d+\.png")


class IdMapWriter:
    """Writes `<folder>/000001.png` and so on, frames from 1 as MOTChallenge counts them.

    Higher scores lie on top. The folder is `<folder>.part` until it is closed without an exception.

    Args:
        folder: for the pictures. An earlier one is replaced, if it holds nothing but such.
        info: of the video.

    Raises:
        OutputError: there is something else in the folder, or it cannot be made.
    """

    def __init__(self, folder: Path, *, info: VideoInfo) -> None:
        self._folder = PartFolder(folder, lambda name: _PICTURE.fullmatch(name) is not None)
        self._size = info.height, info.width

    def write(self, frame: Frame, tracks: Tracks) -> None:
        """Write one frame."""
        highest = int(tracks.ids.max(initial=0))
        if highest > MOST:
            raise OutputError(
                f"frame {frame.index} has the id {highest}, but the pixels of "
                f"{self._folder.path} hold ids up to {MOST}",
                fix="leave out --masks-png",
            )
        picture = id_map(tracks, self._size).astype(np.uint16)
        _, data = cv2.imencode(".png", picture)
        self._folder.write(f"{frame.index + 1:06d}.png", data.tobytes())

    def __enter__(self) -> IdMapWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._folder.__exit__(kind, error, traceback)
