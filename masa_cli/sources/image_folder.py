"""A folder of images as a video, as MOT, DAVIS and most data sets ship their sequences.

Also one file of several pages: a TIFF of a microscope, an animated WebP. Pictures of more than 8
bits a value (thermal cameras, microscopes) are stretched alike, by what the whole sequence shows.
"""

from __future__ import annotations

import logging
import re
import struct
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageOps

from masa_cli.errors import SourceError
from masa_cli.formats.mot_sequence import find_sequence
from masa_cli.settings import DEFAULT_FRAME_RATE
from masa_cli.sources.excerpt import Wanted
from masa_cli.structures import Frame, Image, VideoInfo

logger = logging.getLogger(__name__)

_WITH_PAGES = frozenset({".tif", ".tiff", ".gif", ".webp"})
SUFFIXES = _WITH_PAGES | {
    *(".jpg", ".jpeg", ".png", ".bmp", ".jp2", ".j2k"),
    *(".ppm", ".pgm", ".pnm"),
}
_FINEST = 100_000  # the denominator: 29.97002997003 becomes 30000/1001, which a video can count in
_MILLISECOND = Fraction(1, 1000)

_ORIENTATION = 0x0112  # Exif 2.3
_SUBFILE_TYPE, _REDUCED = 254, 1  # of a page of a TIFF: a smaller copy of another (TIFF 6.0)
_SHARES = (0.5, 99.5)  # percentiles of the values that become black and white
_MAX_SAMPLES = 32  # pictures that are looked at for them
_MAX_VALUES = 250_000  # of each of these

# What Pillow raises at what it cannot read: it calls a broken PNG SyntaxError, and of a broken TIFF
# it may miss a tag or find one of another kind.
_UNREADABLE = (
    *(OSError, SyntaxError, ValueError, EOFError, Pillow.DecompressionBombError),
    *(LookupError, TypeError, ArithmeticError, AttributeError, struct.error, MemoryError),
)


@dataclass(frozen=True, slots=True)
class Levels:
    """The values of deep pictures that become black and white."""

    black: float
    white: float


class ImageFolder:
    """The images of a folder in natural order (2 before 10), one frame each.

    Where files have several pages, each page is a frame; smaller copies of others are none.

    Args:
        path: the folder, or one file of several pages. `<sequence>/img1`, the layout of
            MOTChallenge, is named <sequence>.
        frame_rate: frames per second; else what an animation tells, that of `seqinfo.ini` in the
            folder or beside it, or 30.

    Raises:
        SourceError: there are no images, or the first cannot be read.
    """

    def __init__(self, path: Path, frame_rate: Fraction | None = None) -> None:
        self._pages = pages_of(path)
        self._levels = _levels_of(path, self._pages)
        first, _ = self._pages[0]
        with closing(_PageReader(self._levels)) as reader:
            height, width, _ = reader.image(*self._pages[0]).shape
        self._times = None if path.is_dir() or frame_rate else _times_in(path)
        if self._times:
            frame_rate = (len(self._times) - 1) / self._times[-1]
        frame_rate = frame_rate or _stated_frame_rate(first)
        if frame_rate is None:
            frame_rate = DEFAULT_FRAME_RATE
            message = "%s: %d frames/s are assumed; give --fps if it is another rate"
            logger.info(message, path, frame_rate)
        frame_rate = frame_rate.limit_denominator(_FINEST)
        folder = path.resolve()
        name = folder.parent.name if folder.name == "img1" else folder.name
        self._info = VideoInfo(
            name=name if path.is_dir() else path.stem,
            width=width,
            height=height,
            frame_rate=frame_rate,
            time_base=_MILLISECOND if self._times else 1 / frame_rate,
            num_frames=len(self._pages),
            has_sound=False,
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
        with closing(_PageReader(self._levels)) as reader:
            for index, (file, page) in enumerate(self._pages):
                time = self._times[index] if self._times else index * self._info.time_base
                if not wanted(index, time):
                    continue
                image = reader.image(file, page)
                height, width, _ = image.shape
                if (width, height) != (self._info.width, self._info.height):
                    raise SourceError(
                        f"{_called(file, page)} is {width} x {height} pixels, but the first image "
                        f"of {'the folder' if file != self._pages[0][0] else 'the file'} is "
                        f"{self._info.width} x {self._info.height}",
                        fix="export it again at the size of the others, or remove it",
                    )
                yield Frame(index, time, image)


def is_paged(path: Path) -> bool:
    """Whether a file is of a kind that may have pages of which FFmpeg reads the first: TIFF, WebP.

    Raises:
        SourceError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            head = file.read(12)
    except OSError as error:
        raise SourceError(
            f"{path} cannot be read: {error.strerror}", fix="ask its owner for permission"
        ) from error
    is_webp = head[:4] == b"RIFF" and head[8:] == b"WEBP"
    return is_webp or head[:4] in {b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"}


def read_image(file: Path) -> Image:
    """(H, W, 3) uint8 RGB, upright; the first page, stretched by its own values where it is deep.

    Raises:
        SourceError: it cannot be read.
    """
    with closing(_PageReader(None)) as reader:
        return reader.image(file, 0)


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


def pages_of(path: Path) -> list[tuple[Path, int]]:
    """The file and the page, from 0, of each frame; SourceError if a folder has no images."""
    files = image_files(path) if path.is_dir() else [path]
    return [
        (file, page)
        for file in files
        for page in (_pages_in(file) if _may_have_pages(file) or file == path else [0])
    ]


class _PageReader:
    """Reads pages; the file of the page before stays open, for to find a page takes those before.

    Args:
        levels: of deep pictures; None: each by itself.
    """

    def __init__(self, levels: Levels | None) -> None:
        self._levels = levels
        self._file: Path | None = None
        self._opened: Any = None  # of Pillow

    def image(self, file: Path, page: int) -> Image:
        """(H, W, 3) uint8 RGB, upright; raises SourceError where it cannot be read."""
        values = self.values(file, page, deep=False)
        if values.ndim == 3:
            return np.asarray(values, np.uint8)
        levels = self._levels or _levels_between([values])
        return np.repeat(_stretched(values, levels)[..., None], 3, axis=2)

    def values(self, file: Path, page: int, *, deep: bool) -> NDArray[Any]:
        """(H, W) of a deep picture, else (H, W, 3) uint8 RGB, or nothing if `deep` is wanted."""
        try:
            if file != self._file:
                self.close()
                self._opened, self._file = Pillow.open(file), file
            self._opened.seek(page)
            is_deep = self._opened.mode[:1] in {"I", "F"}
            if deep and not is_deep:
                return np.empty((0, 0))
            upright = self._opened
            if upright.getexif().get(_ORIENTATION, 1) != 1:
                upright = ImageOps.exif_transpose(upright)
            return np.asarray(upright if is_deep else upright.convert("RGB"))
        except _UNREADABLE as error:
            raise SourceError(
                f"{_called(file, page)} cannot be read as an image: {error}",
                fix="export it again, or remove it",
            ) from error

    def close(self) -> None:
        """Close the file that is open."""
        if self._opened is not None:
            self._opened.close()
        self._opened = self._file = None


def _may_have_pages(file: Path) -> bool:
    return file.suffix.lower() in _WITH_PAGES


def _pages_in(file: Path) -> list[int]:
    """The numbers of its pages that are frames; of a file that cannot be read: its first."""
    try:
        with Pillow.open(file) as opened:
            count = getattr(opened, "n_frames", 1)
            return [page for page in range(count) if count == 1 or not _is_reduced(opened, page)]
    except _UNREADABLE:
        return [0]  # reading it will tell


def _is_reduced(opened: Any, page: int) -> bool:  # noqa: ANN401 - of Pillow
    if opened.format != "TIFF":
        return False
    opened.seek(page)
    return bool(int(opened.tag_v2.get(_SUBFILE_TYPE, 0)) & _REDUCED)


def _times_in(file: Path) -> list[Fraction] | None:
    """When each page of an animation begins, seconds; None where it is none."""
    times = [Fraction(0)]
    try:
        with Pillow.open(file) as opened:
            for page in range(getattr(opened, "n_frames", 1)):
                opened.seek(page)
                opened.load()  # WebP tells how long a page stays only then
                times.append(times[-1] + int(opened.info.get("duration", 0)) * _MILLISECOND)
    except _UNREADABLE:
        return None
    is_growing = all(before < after for before, after in pairwise(times))
    return times[:-1] if is_growing and len(times) > 2 else None


def _levels_of(path: Path, pages: Sequence[tuple[Path, int]]) -> Levels | None:
    """Of the deep pictures of a sequence, which are told; None if the first is none."""
    with closing(_PageReader(None)) as reader:
        if not reader.values(*pages[0], deep=True).size:
            return None
        chosen = np.linspace(0, len(pages) - 1, min(len(pages), _MAX_SAMPLES)).astype(int)
        levels = _levels_between([reader.values(*pages[at], deep=True) for at in chosen])
    logger.warning(
        "%s: pictures of more than 8 bits: values from %g to %g, all but 1%% of what the sequence "
        "shows, were stretched to 0 to 255",
        path,
        levels.black,
        levels.white,
    )
    return levels


def _levels_between(pictures: Sequence[NDArray[Any]]) -> Levels:
    parts = [each.ravel()[:: max(1, each.size // _MAX_VALUES)] for each in pictures]
    values = np.concatenate(parts).astype(np.float64)
    values = values[np.isfinite(values)]
    if not len(values):
        return Levels(0.0, 1.0)
    black, white = np.percentile(values, _SHARES).tolist()
    if black == white:  # nearly all of it is one value
        black, white = float(values.min()), float(values.max())
    return Levels(black, white)


def _stretched(values: NDArray[Any], levels: Levels) -> NDArray[np.uint8]:
    """(H, W) from 0, what is as dark as black, to 255."""
    span = (levels.white - levels.black) or 1.0
    shares = np.nan_to_num((values.astype(np.float64) - levels.black) / span)
    return np.round(np.clip(shares, 0, 1) * 255).astype(np.uint8)


def _called(file: Path, page: int) -> str:
    return f"{file} page {page + 1}" if page else str(file)


def _natural_order(file: Path) -> tuple[list[tuple[str, int]], str]:
    """Digits compare as numbers; the name itself decides between 1.jpg and 01.jpg."""
    parts = re.findall(r"(\D*)(\d*)", file.name)
    return [(text.casefold(), int(digits or 0)) for text, digits in parts], file.name


def _stated_frame_rate(file: Path) -> Fraction | None:
    """The frame rate of the MOTChallenge sequence an image belongs to, if it says so."""
    sequence = find_sequence(file)
    return sequence.frame_rate if sequence else None
