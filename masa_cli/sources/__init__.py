"""Where frames come from. Opening one is cheap, so bad input is found before a model is loaded.

PyAV and imageio are imported only when a source needs them.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Protocol

from masa_cli.errors import SettingsError, SourceError
from masa_cli.structures import Frame, VideoInfo


class Source(Protocol):
    """A video that can be read as often as wanted."""

    @property
    def info(self) -> VideoInfo:
        """What is known before the first frame is read."""

    def frames(self, start: int = 0) -> Iterator[Frame]:
        """All frames from number `start` on, each read when asked for.

        A generator: closing it closes the file. Raises SourceError where reading cannot go on.
        """


def open_source(path: Path, *, frame_rate: Fraction | None = None) -> Source:
    """The video file or folder of images at `path`.

    Args:
        path: a video file, or a folder that holds images.
        frame_rate: of a folder of images; a video file has its own.

    Raises:
        SourceError: `path` is missing or holds no pictures.
        SettingsError: `frame_rate` is given for a video file.
    """
    if not path.exists():
        raise SourceError(f"{path} does not exist", fix="check the path for a typo")
    if path.is_dir():
        from masa_cli.sources.image_folder import ImageFolder  # noqa: PLC0415 - imports imageio

        return ImageFolder(path, frame_rate)
    if frame_rate is not None:
        raise SettingsError(
            f"{path} is a video with frame times of its own, but a frame rate of {frame_rate} "
            "was given",
            fix="leave the frame rate out: it is for folders of images",
        )
    from masa_cli.sources.video_file import VideoFile  # noqa: PLC0415 - imports PyAV

    return VideoFile(path)
