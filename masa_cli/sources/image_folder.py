"""A folder of images as a video, as MOT, DAVIS and most data sets ship their sequences.

Decoded through imageio's Pillow plugin, which knows EXIF orientation and every common format.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import imageio.v3 as imageio
import numpy as np

from masa_cli.errors import SourceError
from masa_cli.formats.mot import find_sequence
from masa_cli.settings import DEFAULT_FRAME_RATE
from masa_cli.sources.excerpt import Wanted
from masa_cli.structures import Frame, Image, VideoInfo

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp"})
_FINEST = 100_000  # the denominator: 29.97002997003 becomes 30000/1001, which a video can count in


class ImageFolder:
    """The images of a folder in natural order (2 before 10), one frame each.

    Args:
        path: the folder. `<sequence>/img1`, the layout of MOTChallenge, is named <sequence>.
        frame_rate: frames per second; else that of `seqinfo.ini` in the folder or beside it,
            else 30.

    Raises:
        SourceError: there are no images, or the first cannot be read.
    """

    def __init__(self, path: Path, frame_rate: Fraction | None = None) -> None:
        self._files = image_files(path)
        height, width, _ = read_image(self._files[0]).shape
        frame_rate = frame_rate or _stated_frame_rate(self._files[0]) or DEFAULT_FRAME_RATE
        frame_rate = frame_rate.limit_denominator(_FINEST)
        folder = path.resolve()
        self._info = VideoInfo(
            name=folder.parent.name if folder.name == "img1" else folder.name,
            width=width,
            height=height,
            frame_rate=frame_rate,
            time_base=1 / frame_rate,
            num_frames=len(self._files),
        )

    @property
    def info(self) -> VideoInfo:
        """What the folder holds; the size is that of its first image."""
        return self._info

    def frames(self, start: int = 0) -> Iterator[Frame]:
        """The images from number `start` on; SourceError names a broken or deviating one."""
        return self.chosen(lambda index, _: index >= start)

    def chosen(self, wanted: Wanted) -> Iterator[Frame]:
        """The images that are wanted; others are not read."""
        for index, file in enumerate(self._files):
            if not wanted(index, index * self._info.time_base):
                continue
            image = read_image(file)
            height, width, _ = image.shape
            if (width, height) != (self._info.width, self._info.height):
                raise SourceError(
                    f"{file} is {width} x {height} pixels, but the first image of the folder is "
                    f"{self._info.width} x {self._info.height}",
                    fix="export it again at the size of the others, or remove it",
                )
            yield Frame(index, index * self._info.time_base, image)


def image_files(folder: Path) -> list[Path]:
    """The images of a folder in natural order; SourceError if there are none."""
    try:
        files = [
            file
            for file in folder.iterdir()
            if file.suffix.lower() in SUFFIXES and not file.name.startswith(".") and file.is_file()
        ]
    except OSError as error:
        raise SourceError(
            f"{folder} cannot be read: {error.strerror}", fix="ask its owner for permission"
        ) from error
    if not files:
        raise SourceError(
            f"{folder} holds no images ({', '.join(sorted(SUFFIXES))})",
            fix="give the folder that holds the frames themselves, or a video file",
        )
    return sorted(files, key=_natural_order)


def _natural_order(file: Path) -> tuple[list[tuple[str, int]], str]:
    """Digits compare as numbers; the name itself decides between 1.jpg and 01.jpg."""
    parts = re.findall(r"(\D*)(\d*)", file.name)
    return [(text.casefold(), int(digits or 0)) for text, digits in parts], file.name


def read_image(file: Path) -> Image:
    """(H, W, 3) uint8 RGB, upright.

    Raises:
        SourceError: it cannot be read.
    """
    try:
        image_file: Any  # imageio's types know nothing of the plugin's own arguments
        with imageio.imopen(file, "r", plugin="pillow") as image_file:
            # Pillow clips 16-bit grey to 255 when asked for RGB; keep its upper eight bits instead.
            if image_file.metadata(index=0)["mode"].startswith("I"):
                grey = image_file.read(index=0, rotate=True) >> 8
                return np.repeat(grey.astype(np.uint8)[..., None], 3, axis=2)
            return np.asarray(image_file.read(index=0, rotate=True, mode="RGB"))
    except (OSError, SyntaxError, ValueError) as error:  # Pillow calls a broken PNG SyntaxError
        raise SourceError(
            f"{file} cannot be read as an image: {error}", fix="export it again, or remove it"
        ) from error


def _stated_frame_rate(file: Path) -> Fraction | None:
    """The frame rate of the MOTChallenge sequence an image belongs to, if it says so."""
    sequence = find_sequence(file)
    return sequence.frame_rate if sequence else None
