"""A video file as frames: whatever FFmpeg decodes, upright, in RGB, each with its exact time.

PyAV is used directly because OpenCV and imageio hand out neither: their times are floats or absent,
and whether rotation is applied depends on the version.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from numbers import Rational
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from masa_cli.errors import SettingsError, SourceError
from masa_cli.settings import DEFAULT_FRAME_RATE
from masa_cli.sources.excerpt import Wanted
from masa_cli.structures import Frame, Image, VideoInfo
from masa_cli.threads import allowed

log = logging.getLogger(__name__)

_MAX_GAP = Fraction(1, 2)  # seconds by which sound may outlast pictures
# Streams without a container, by FFmpeg's names.
_RAW = frozenset(
    {"h264", "hevc", "vvc", "m4v", "mpegvideo", "mjpeg", "obu", "cavsvideo", "dirac", "vc1"}
)
_DEEP_GREY = "gray(9|1[0-6]|f16|f32)(le|be)"  # pixel formats
_HDR = {16: "PQ", 18: "HLG"}  # transfer functions (ITU-T H.273, table 3)
_FLATTEST = Fraction(1, 8)  # no pixel is that flat; a header that says so is damaged
_UNREADABLE = "check that it plays in a video player; if it does, convert it to mp4 (H.264)"


class VideoFile:
    """The frames of a video file.

    Times count from the start of the file's first stream, pictures or sound. A frame without a
    time follows the frame before by one frame of the frame rate; a frame that is not later than the
    one before follows it by one tick of the time base. Rotation and size are those of the first
    frame: later frames of another size are scaled to it. Pixels that are not square stay so.

    Args:
        path: the file. Its first frame is decoded here, to know the rotation.
        frame_rate: frames per second to count times by, instead of the file's own; then there is
            no sound.
        number: which of its video streams, from 0; None: the first.

    Raises:
        SourceError: it is no video, or not one frame of it can be read.
        SettingsError: it has no stream of that number.
    """

    def __init__(
        self, path: Path, frame_rate: Fraction | None = None, number: int | None = None
    ) -> None:
        self._path, self._frame_rate, self._number = path, frame_rate, number
        with _opened(path, number) as (container, stream):
            self._upright = Upright(next(decoded(path, container, stream)))
            self._info = self._describe(container, stream)
            self._warn(container, stream)

    @property
    def info(self) -> VideoInfo:
        """What the file says of itself, and its first frame."""
        return self._info

    def frames(self, start: int = 0) -> Iterator[Frame]:
        """Every frame from number `start` on that decodes; damage is logged.

        Frames before `start` are decoded as well: only counting them all gives the same numbers
        and times as an earlier reading from 0.
        """
        return self.chosen(lambda index, _: index >= start)

    def chosen(self, wanted: Wanted) -> Iterator[Frame]:
        """Those of all frames that are wanted; of the others no images are made."""
        tick = self._info.time_base
        default_ticks = max(1, round(1 / (self._info.frame_rate * tick)))
        with _opened(self._path, self._number) as (container, stream):
            zero = time_zero(container, tick) // tick
            ticks = -default_ticks  # of the frame before
            for index, picture in enumerate(decoded(self._path, container, stream)):
                if picture.pts is None or self._frame_rate is not None:
                    ticks += default_ticks
                else:
                    ticks = max(ticks + 1, picture.pts - zero, 0)
                if wanted(index, ticks * tick):
                    yield Frame(index, ticks * tick, self._upright.image(picture))

    def _describe(self, container: InputContainer, stream: VideoStream) -> VideoInfo:
        own = frame_rate_of(container, stream)
        frame_rate = self._frame_rate or own
        own_ticks = stream.time_base if self._frame_rate is None else None
        return VideoInfo(
            name=self._path.stem,
            width=self._upright.width,
            height=self._upright.height,
            frame_rate=frame_rate,
            time_base=exact(own_ticks) if own_ticks else 1 / frame_rate,
            num_frames=stream.frames or _expected_frames(container, stream, own),
            has_sound=self._frame_rate is None,
            pixel_aspect=self._upright.pixel_aspect(stream),
        )

    def _warn(self, container: InputContainer, stream: VideoStream) -> None:
        """Say what the file leaves open, and what is not done."""
        streams = moving_pictures(container)
        if self._number is None and len(streams) > 1:
            shown = ", ".join(
                f"{number}: {each.width} x {each.height}" for number, each in enumerate(streams)
            )
            log.warning(
                "%s has %d video streams (%s); stream 0 is read; choose another with --stream",
                self._path,
                len(streams),
                shown,
            )
        if self._frame_rate is None and container.format.name in _RAW and not _own_rate(stream):
            log.warning(
                "%s tells no frame rate: %g frames/s were taken; give it with --fps",
                self._path,
                float(self._info.frame_rate),
            )
        if re.fullmatch(_DEEP_GREY, stream.codec_context.pix_fmt or ""):
            log.warning(
                "%s has more than 8 bits of grey: the upper 8 are read, so pictures of a narrow "
                "range look flat; export it as 16-bit TIFF or PNG, which are stretched",
                self._path,
            )
        transfer = stream.codec_context.color_trc
        if transfer in _HDR:
            log.warning(
                "%s is HDR (%s): its colours are not mapped to those of usual screens, so pictures "
                "look pale and detectors may find less; convert it first (FFmpeg: tonemap)",
                self._path,
                _HDR[transfer],
            )


class Upright:
    """Makes images of pictures: turned as the first one has to be, and of its size.

    Attributes:
        width: of the images, pixels.
        height: of the images, pixels.
    """

    def __init__(self, first: VideoFrame) -> None:
        self._size = first.width, first.height
        self._quarter_turns = round(first.rotation / 90) % 4  # counter-clockwise
        lies_on_its_side = self._quarter_turns % 2 == 1
        self.width, self.height = self._size[::-1] if lies_on_its_side else self._size

    def pixel_aspect(self, stream: VideoStream) -> Fraction:
        """How wide a pixel is shown for its height; 1 where the file does not tell."""
        stated = stream.sample_aspect_ratio
        aspect = exact(stated) if stated else Fraction(0)
        if not _FLATTEST <= aspect <= 1 / _FLATTEST:
            return Fraction(1)
        return 1 / aspect if self._quarter_turns % 2 else aspect

    def image(self, picture: VideoFrame) -> Image:
        """(H, W, 3) uint8 RGB."""
        width, height = self._size
        image = picture.to_ndarray(
            format="rgb24",
            width=width,
            height=height,
            src_color_range=picture.color_range,  # the matrix is the frame's own already
            threads=allowed(),
        )
        return np.ascontiguousarray(np.rot90(image, self._quarter_turns))


def moving_pictures(container: InputContainer) -> list[VideoStream]:
    """Its video streams; the cover of a song is none."""
    return [
        stream
        for stream in container.streams.video
        if not stream.disposition & Disposition.attached_pic
    ]


def picture_stream(
    path: Path | str, container: InputContainer, number: int | None = None
) -> VideoStream:
    """One of the streams of moving pictures, from 0; None: the first.

    Raises:
        SourceError: there is none, or it cannot be decoded.
        SettingsError: there are not so many.
    """
    streams = moving_pictures(container)
    if not streams:
        raise SourceError(
            f"{path} has no pictures, only {container.format.long_name} data",
            fix="give a video file or a folder of images",
        )
    if (number or 0) >= len(streams):
        raise SettingsError(
            f"--stream {number}: {path} has {len(streams)} video streams",
            fix=f"choose one from 0 to {len(streams) - 1}",
        )
    stream = streams[number or 0]
    if stream.codec_context is None:
        raise SourceError(f"{path} has pictures in an unknown codec", fix=_UNREADABLE)
    # With more, the frames around damage are lost or depend on the number of threads.
    stream.codec_context.thread_count = 1
    return stream


def decoded(
    path: Path | str, container: InputContainer, stream: VideoStream
) -> Iterator[VideoFrame]:
    """Every frame that decodes; damage in between is logged when the end is reached.

    Raises SourceError at the end when there was none.
    """
    num_read = num_damaged = 0
    breaks_off = False
    end = Fraction(0)
    for packet in _packets(container, stream):
        if packet is None:
            breaks_off = True
        elif packet.size:
            breaks_off, end = packet.is_corrupt, max(end, _end(packet))
        try:
            pictures = stream.decode(packet)
        except FFmpegError:
            num_damaged += 1
            continue
        yield from pictures
        num_read += len(pictures)
    if num_read == 0:
        raise SourceError(f"{path} has no frame that can be read", fix=_UNREADABLE)
    if num_damaged:
        log.warning("%s: damaged packets skipped: %d", path, num_damaged)
    if breaks_off:
        log.warning("%s is cut short: frame %d is the last that could be read", path, num_read - 1)
    elif (stated := _stated_end(container, stream)) > end + _MAX_GAP:
        message = "%s lasts %.1f s by its header, but frame %d at %.1f s is its last picture"
        log.warning(message, path, stated, num_read - 1, end)


def frame_rate_of(container: InputContainer, stream: VideoStream) -> Fraction:
    """Frames per second, as far as a stream tells; else 30.

    Bare streams tell it in their pictures; FFmpeg itself counts 25 for all of them.
    """
    own = _own_rate(stream) if container.format.name in _RAW else None
    if own:
        return own
    rates = (stream.average_rate, stream.guessed_rate, stream.base_rate)
    return next((exact(rate) for rate in rates if rate and exact(rate) > 0), DEFAULT_FRAME_RATE)


def _own_rate(stream: VideoStream) -> Fraction | None:
    rate = stream.codec_context.framerate
    return exact(rate) if rate and exact(rate) > 0 else None


def exact(number: Rational) -> Fraction:
    """A rational number of FFmpeg as one to calculate with: PyAV 19 made it a type of its own."""
    return Fraction(int(number.numerator), int(number.denominator))


def time_zero(container: InputContainer, tick: Fraction) -> Fraction:
    """When the video starts on the clock of its own packets, in seconds.

    That is the start of its first stream, as players count it, rounded down to a whole `tick` (the
    time base of the pictures) so that times from there stay whole ticks. Pictures and sound both
    count from here, which is what keeps them together.
    """
    starts = [
        stream.start_time * exact(stream.time_base)
        for stream in (*container.streams.video, *container.streams.audio)
        if stream.start_time is not None and stream.time_base is not None
    ]
    return min(starts, default=Fraction(0)) // tick * tick


@contextmanager
def _opened(path: Path, number: int | None) -> Iterator[tuple[InputContainer, VideoStream]]:
    try:
        # A relative "12:30.mp4" would name a protocol, 12.
        container = av.open(str(path.absolute()), metadata_errors="replace")
    except FFmpegError as error:
        if path.is_file() and not path.stat().st_size:
            raise SourceError(
                f"{path} is empty", fix="give a video; was it copied whole?"
            ) from None
        raise SourceError(
            f"{path} cannot be read as a video: {error.strerror}", fix=_UNREADABLE
        ) from error
    with container:
        if container.format.name == "tty":  # FFmpeg paints the letters of a .txt into pictures
            raise SourceError(f"{path} is a text file, not a video", fix=_UNREADABLE)
        yield container, picture_stream(path, container, number)


def _packets(
    container: InputContainer, stream: VideoStream
) -> Iterator[Packet[VideoStream] | None]:
    """The packets of the stream, the last one empty: it asks for what the decoder holds back.

    None in its place means that the container ends in an error, beyond which nothing can be found.
    """
    try:
        yield from container.demux(stream)
    except FFmpegError:
        yield None


def _end(packet: Packet[VideoStream]) -> Fraction:
    start = packet.dts if packet.pts is None else packet.pts
    return ((start or 0) + (packet.duration or 0)) * exact(packet.time_base)


def _stated_end(container: InputContainer, stream: VideoStream) -> Fraction:
    """When the pictures end according to the header; 0 where it does not tell."""
    if stream.duration is not None and stream.time_base is not None:
        return ((stream.start_time or 0) + stream.duration) * exact(stream.time_base)
    return Fraction(container.duration or 0, av.time_base)


def _expected_frames(
    container: InputContainer, stream: VideoStream, frame_rate: Fraction
) -> int | None:
    """The duration in frames; None where the file does not state one (live recordings)."""
    if stream.duration is not None and stream.time_base is not None:
        duration = stream.duration * exact(stream.time_base)
    elif container.duration is not None:
        duration = Fraction(container.duration, av.time_base)
    else:
        return None
    return round(duration * frame_rate)
