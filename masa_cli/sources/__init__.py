"""Where frames come from. Opening one is cheap, so bad input is found before a model is loaded.

PyAV and Pillow are imported only when a source needs them.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from masa_cli.errors import SettingsError, SourceError
from masa_cli.settings import DEFAULT_FRAME_RATE

if TYPE_CHECKING:
    from masa_cli.sources.stream import RawPictures
    from masa_cli.structures import Frame, VideoInfo

_SCHEMES = frozenset({"rtsp", "rtsps", "rtmp", "http", "https", "udp", "tcp", "srt", "rtp"})


class Source(Protocol):
    """A video that can be read as often as wanted."""

    @property
    def info(self) -> VideoInfo:
        """What is known before the first frame is read."""

    def frames(self, start: int = 0) -> Iterator[Frame]:
        """All frames from number `start` on, each read when asked for.

        A generator: closing it closes the file. Raises SourceError where reading cannot go on.
        """


def open_any(
    location: str,
    *,
    frame_rate: Fraction | None = None,
    patience: float = 60,
    raw: RawPictures | None = None,
    stream: int | None = None,
) -> Source:
    """What a user may name: a file, a folder, "-", the number of a camera, or an address.

    Args:
        location: "-" is standard input; a number that is no file is a camera.
        frame_rate: of a folder of images, or of raw pictures; of a video file instead of its own.
        patience: seconds in which a lost connection of a stream is tried to be made again.
        raw: what pictures on standard input are like, if they come without a container.
        stream: of the video streams of a file, which one, from 0.

    Raises:
        SourceError: there are no pictures.
        SettingsError: `frame_rate` or `raw` is given for something that tells it by itself, or
            `stream` for something that has none.
    """
    if raw is not None:
        return _open_raw(location, raw, frame_rate or DEFAULT_FRAME_RATE)
    scheme = location.partition("://")[0].lower() if "://" in location else ""
    is_camera = location.isascii() and location.isdecimal() and not Path(location).exists()
    if not (scheme in _SCHEMES or is_camera or location == "-"):
        return open_source(Path(location), frame_rate=frame_rate, stream=stream)
    if stream is not None:
        raise _no_streams(location)
    if frame_rate is not None:
        raise SettingsError(
            f"{location} has frame times of its own, but a frame rate of {frame_rate} was given",
            fix="leave the frame rate out: it is for files, folders of images, and raw pictures on "
            "standard input (--video-size)",
        )
    if is_camera:
        from masa_cli.sources.stream import CameraDevice

        return CameraDevice(int(location))
    from masa_cli.sources.stream import LiveVideo, network_stream, standard_input

    return LiveVideo(standard_input() if location == "-" else network_stream(location, patience))


def _open_raw(location: str, raw: RawPictures, frame_rate: Fraction) -> Source:
    if location != "-":
        raise SettingsError(
            f"{location} tells its size by itself, but raw pictures of {raw.size} were announced",
            fix="leave out --video-size and --pixel-format, or pipe raw pictures and name them -",
        )
    from masa_cli.sources.stream import LiveVideo, raw_standard_input

    return LiveVideo(raw_standard_input(raw, frame_rate))


def frame_times(source: Source) -> tuple[Fraction, ...]:
    """Seconds of all frames, whose images are not made where the source need not make them."""
    chosen = getattr(source, "chosen", None)
    if chosen is None:
        return tuple(frame.time for frame in source.frames())
    times: list[Fraction] = []

    def passed_over(index: int, time: Fraction) -> bool:
        times.append(time)
        return False

    for _ in chosen(passed_over):
        pass
    return tuple(times)


def picture_names(location: str | Path | None) -> tuple[str, ...]:
    """File names of the folder of images there, in the order of frames.

    None if it is no folder, or files in it have several pages, whose frames have no names.

    Raises SourceError where the folder cannot be read or has no images.
    """
    if location is None or not Path(location).is_dir():
        return ()
    from masa_cli.sources.image_folder import pages_of

    pages = pages_of(Path(location))
    return () if any(page for _, page in pages) else tuple(file.name for file, _ in pages)


def is_live(source: Source) -> bool:
    """Whether a source can be read only once."""
    return hasattr(source, "newest_only")


def open_source(
    path: Path, *, frame_rate: Fraction | None = None, stream: int | None = None
) -> Source:
    """The video file, folder of images or file of several pages at `path`.

    Args:
        path: a video file, a folder that holds images, or a TIFF or WebP.
        frame_rate: frames per second, instead of what it tells by itself.
        stream: of the video streams of a file, which one, from 0.

    Raises:
        SourceError: `path` is missing or holds no pictures.
        SettingsError: `stream` is given where there are none, or not so many.
    """
    if not path.exists():
        raise SourceError(f"{path} does not exist", fix="check the path for a typo")
    from masa_cli.sources.image_folder import ImageFolder, is_paged

    if path.is_dir() or (path.is_file() and is_paged(path)):
        if stream is not None:
            raise _no_streams(str(path))
        return ImageFolder(path, frame_rate)
    from masa_cli.sources.video_file import VideoFile

    return VideoFile(path, frame_rate, stream)


def _no_streams(location: str) -> SettingsError:
    return SettingsError(
        f"{location} has no video streams to choose among", fix="leave out --stream"
    )
