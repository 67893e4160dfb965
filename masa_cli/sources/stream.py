"""Video that comes as it happens, and only once: cameras, standard input, streams of the network.

Lost connections are made anew; times go on as if they had not been lost.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any
from urllib.parse import urlsplit

import av
import cv2
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.video.frame import VideoFrame

from masa_cli.errors import SourceError
from masa_cli.settings import DEFAULT_FRAME_RATE
from masa_cli.sources.video_file import (
    Upright,
    decoded,
    exact,
    frame_rate_of,
    picture_stream,
    time_zero,
)
from masa_cli.structures import Frame, Image, VideoInfo

log = logging.getLogger(__name__)

# Names of FFmpeg (`-pix_fmt`), of what programs and cameras give. Not all it has: some of them it
# cannot turn into RGB, and ends the program.
PIXEL_FORMATS = (
    *("rgb24", "bgr24", "rgba", "bgra", "argb", "abgr", "rgb0", "bgr0", "gbrp", "rgb48le"),
    *("gray", "gray10le", "gray12le", "gray16le"),
    *("yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "yuv422p10le", "yuv444p10le"),
    *("nv12", "nv21", "p010le", "yuyv422", "uyvy422"),
)

_TICK = Fraction(1, 1000)

_NETWORK_SECONDS = 10.0  # without any data, a connection is given up
_STANDARD_INPUT = "pipe:0"
_FIRST_WAIT, _MAX_WAIT = 1.0, 16.0  # between attempts to connect again, seconds; doubled


@dataclass(frozen=True, slots=True)
class RawPictures:
    """What bare pictures are like.

    Attributes:
        width: pixels.
        height: pixels.
        pixel_format: one of PIXEL_FORMATS.
    """

    width: int
    height: int
    pixel_format: str = "rgb24"

    def __post_init__(self) -> None:
        if self.width < 1 or self.height < 1 or self.pixel_format not in PIXEL_FORMATS:
            raise ValueError(f"expected a size and one of PIXEL_FORMATS, got {self}")

    @property
    def size(self) -> str:
        """As FFmpeg writes it: 640x480."""
        return f"{self.width}x{self.height}"


@dataclass(frozen=True, slots=True)
class Connection:
    """How to get at a stream, and to get at it again.

    Attributes:
        label: what the stream is called in messages; addresses without passwords.
        name: stem for results.
        open: opens it; raises FFmpegError.
        patience: seconds in which a lost connection is tried to be made again; 0: its end is the
            end.
        newest_only: whether frames that nobody had time for are to be left out.
        fix: how to go on where it cannot be read.
    """

    label: str
    name: str
    open: Callable[[], InputContainer]
    patience: float = 0.0
    newest_only: bool = False
    fix: str = "check that it plays in a video player, and is still there"


class LiveVideo:
    """The frames of a stream. The first one is waited for here.

    Times count from the first frame. When the connection had to be made again, they go on after as
    much time as that took.

    Args:
        connection: how to get at it.
        wait: sleeps for so many seconds.

    Raises:
        SourceError: there is no connection, or no picture comes.
    """

    def __init__(self, connection: Connection, wait: Callable[[float], None] = time.sleep) -> None:
        self._connection, self._wait = connection, wait
        self.newest_only = connection.newest_only
        try:
            self._pictures = self._connect()
            first = next(self._pictures)
        except FFmpegError as error:
            raise SourceError(
                f"{connection.label} cannot be read as a video: {error.strerror}",
                fix=connection.fix,
            ) from error
        except SourceError as error:
            raise SourceError(error.problem, fix=connection.fix) from error
        self._first: tuple[Fraction, VideoFrame] | None = first
        self._upright = Upright(first[1])
        self._info = VideoInfo(
            name=connection.name,
            width=self._upright.width,
            height=self._upright.height,
            frame_rate=self._frame_rate,
            time_base=self._tick,
        )

    @property
    def info(self) -> VideoInfo:
        """What the stream says of itself, and its first frame; never its length."""
        return self._info

    def frames(self, start: int = 0) -> Iterator[Frame]:
        """All frames, until the stream ends or is lost for longer than the patience."""
        if start or self._first is None:
            raise ValueError("a live source can be read once, from its beginning on")
        (zero, picture), self._first = self._first, None
        now, index = Fraction(0), 0
        yield Frame(index, now, self._upright.image(picture))
        seen_at = time.monotonic()
        while True:
            for at, picture in self._pictures:
                index, now = index + 1, max(now + self._tick, self._whole(at - zero))
                yield Frame(index, now, self._upright.image(picture))
                seen_at = time.monotonic()
            again = self._connect_again(seen_at)
            if again is None:
                return
            away = Fraction(round(1000 * (time.monotonic() - seen_at)), 1000)
            index, now = index + 1, self._whole(now + away)
            zero = again[0] - now
            yield Frame(index, now, self._upright.image(again[1]))
            seen_at = time.monotonic()

    def _whole(self, seconds: Fraction) -> Fraction:
        """A time as a whole multiple of the time base of the first connection."""
        return round(seconds / self._tick) * self._tick

    def _connect(self) -> Iterator[tuple[Fraction, VideoFrame]]:
        """The pictures of a new connection, each with its time on the stream's own clock."""
        container = self._connection.open()
        stream = picture_stream(self._connection.label, container)
        tick = exact(stream.time_base) if stream.time_base else Fraction(1, 90_000)
        rate = frame_rate_of(container, stream)
        if not hasattr(self, "_tick"):
            self._tick, self._frame_rate = tick, rate
        return self._timed(container, tick, 1 / rate)

    def _timed(
        self, container: InputContainer, tick: Fraction, frame_seconds: Fraction
    ) -> Iterator[tuple[Fraction, VideoFrame]]:
        with container:
            stream = picture_stream(self._connection.label, container)
            at = time_zero(container, tick) - frame_seconds
            for picture in decoded(self._connection.label, container, stream):
                at = at + frame_seconds if picture.pts is None else picture.pts * tick
                yield at, picture

    def _connect_again(self, lost_at: float) -> tuple[Fraction, VideoFrame] | None:
        """The first picture of a new connection; None if it does not come in time."""
        if not self._connection.patience:
            return None
        label, wait = self._connection.label, _FIRST_WAIT
        while time.monotonic() - lost_at < self._connection.patience:
            log.warning("%s is lost; trying again in %.0f s", label, wait)
            self._wait(wait)
            wait = min(2 * wait, _MAX_WAIT)
            try:
                self._pictures = self._connect()
                return next(self._pictures)
            except (FFmpegError, SourceError) as error:
                log.warning("%s: %s", label, str(error).partition("\n")[0])
        log.warning("%s did not come back within %.0f s", label, self._connection.patience)
        return None


def standard_input() -> Connection:
    """Container video on standard input: MPEG-TS, Matroska, NUT, yuv4mpegpipe and the like.

    By FFmpeg's own protocol: Python's buffer would wait until it is full before it gave a frame.
    """
    return Connection(
        "standard input",
        "stdin",
        lambda: av.open(_STANDARD_INPUT, metadata_errors="replace"),
        fix="pipe a container (MPEG-TS, Matroska, NUT, ...); for raw pictures, give their size and "
        "layout: --video-size 640x480 --pixel-format rgb24",
    )


def raw_standard_input(pictures: RawPictures, frame_rate: Fraction) -> Connection:
    """Bare pictures on standard input, so many per second."""
    options = {
        "video_size": pictures.size,
        "pixel_format": pictures.pixel_format,
        "framerate": str(frame_rate),
    }
    return Connection(
        "standard input",
        "stdin",
        lambda: av.open(_STANDARD_INPUT, format="rawvideo", options=options),
        fix=f"check that whole pictures of {pictures.size} pixels in {pictures.pixel_format} come, "
        "as --video-size and --pixel-format tell",
    )


def network_stream(address: str, patience: float) -> Connection:
    """A stream of the network, by its address.

    RTSP goes over TCP: over UDP, lost packets break pictures.
    """
    parts = urlsplit(address)
    options = {"rtsp_transport": "tcp"} if parts.scheme.startswith("rtsp") else {}
    stem = parts.path.rstrip("/").rpartition("/")[2].partition(".")[0]
    return Connection(
        # Addresses of cameras often hold a password, and messages end up in logs.
        label=f"{parts.scheme}://{parts.hostname or ''}{parts.path}",
        name=stem or (parts.hostname or "stream"),
        open=lambda: av.open(
            address, options=options, timeout=_NETWORK_SECONDS, metadata_errors="replace"
        ),
        patience=patience,
        newest_only=parts.scheme.startswith("rtsp"),
    )


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
            frame_rate=Fraction(rate).limit_denominator(1001) if rate > 1 else DEFAULT_FRAME_RATE,
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
