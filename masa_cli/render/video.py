"""Frames into an mp4 that plays everywhere: H.264, each frame at its own exact time, with sound."""

from __future__ import annotations

import logging
import os
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import av
import cv2
import numpy as np
from av.container import OutputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.video.frame import PictureType, VideoFrame
from av.video.stream import VideoStream

from masa_cli.errors import OutputError, SettingsError
from masa_cli.formats.files import part_of, unwritable
from masa_cli.progress import RunProgress
from masa_cli.render.annotator import Annotator, Drawer
from masa_cli.render.soundtrack import Soundtrack
from masa_cli.structures import Frame, Image, Tracks, VideoInfo
from masa_cli.threads import allowed

log = logging.getLogger(__name__)

_BT709 = 1  # for matrix, primaries and transfer alike (ITU-T H.273, tables 2 to 4)
_LIMITED_RANGE = 1  # 16 to 235, what players expect (FFmpeg's AVCOL_RANGE_MPEG)

# Macroblock-tree rate control is left off: x264's AVX-512 code for it reads beyond its rows, so the
# same frames gave one of several files in one run of ten. At the same PSNR it would save a tenth.
_SETTLED = "mbtree=0"
# x264 makes other bytes of the same frames with another number of threads. More of them hold more
# frames (eight 20 MB more of 768x576, 0.5 GB of 3840x2160) and take 4 % more bytes.
_THREADS = 4
_AS_A_WHOLE = {"movflags": "+faststart"}
_IN_FRAGMENTS = {
    "movflags": "+frag_keyframe+empty_moov+default_base_moof",
    "flush_packets": "1",  # a fragment that waits in a buffer would be lost by a kill
}
_FRAGMENT_SECONDS = 2
_FRAMES_BEHIND = 2  # that are drawn and not yet encoded; more cost memory and gain nothing

_TITLE = "masa (q to stop)"
_STOP_KEYS = (ord("q"), 27)  # 27: escape


class VideoWriter:
    """Writes `<path>.part`, which becomes `path` when closed without an exception.

    After an exception the video ends with the last frame written, plays, and stays `<path>.part`.
    The same frames give the same bytes.

    Args:
        path: the mp4; replaced if it exists.
        info: the video the frames come from. An odd width or height grows by one pixel, repeating
            the last: H.264 stores colour for two pixels at a time.
        sound_from: a video whose sound is copied, as far as the pictures go.
        crf: quality of x264; 18 looks lossless, 28 is small.
        fragmented: write pieces of two seconds that can be played at once, and after a kill.
        threads: that x264 works with; other numbers give other bytes. None: 4, on all machines.
        key_every: frames from one that is coded by itself to the next, where frames will be sought;
            None: as x264 likes.
    """

    def __init__(
        self,
        path: Path,
        info: VideoInfo,
        *,
        sound_from: Path | None = None,
        crf: int = 22,
        fragmented: bool = False,
        threads: int | None = None,
        key_every: int | None = None,
    ) -> None:
        if info.width < 1 or info.height < 1:
            raise ValueError(f"frames need pictures to become a video, got {info}")
        self._path = path
        self._part = part_of(path)
        self._info = info
        self._sound_from = sound_from
        self._crf = crf
        self._fragmented = fragmented
        self._threads = threads or _THREADS
        self._key_every = key_every
        self._clock = _ticks_per_second(info.time_base)
        self._default_ticks = max(1, round(self._clock / info.frame_rate))
        self._end = Fraction(0)  # of the last frame written, in seconds
        self._next_fragment = Fraction(0)  # when it begins, in seconds
        self._sound: Soundtrack | None = None

    def __enter__(self) -> VideoWriter:
        with self._explained(), ExitStack() as files:
            self._container = files.enter_context(self._new_container())
            self._pictures = self._new_stream()
            if self._sound_from is not None:
                self._sound = Soundtrack(
                    self._sound_from,
                    self._container,
                    self._info.time_base,
                    start=self._info.start,
                )
                files.callback(self._sound.close)
            self._container.start_encoding()
            self._files = files.pop_all()
        return self

    def write(self, frame: Frame) -> None:
        """Append a frame of the size in `info`, later than the one before."""
        height, width, _ = frame.image.shape
        if (width, height) != (self._info.width, self._info.height):
            raise ValueError(f"expected a frame of the size in {self._info}, got {width}x{height}")
        ticks = frame.time * self._clock
        if ticks.denominator != 1:
            raise ValueError(f"{frame.time} s is no multiple of {self._info.time_base} s")
        picture = VideoFrame.from_ndarray(_even(frame.image), format="rgb24").reformat(
            format="yuv420p",
            dst_colorspace=_BT709,
            dst_color_range=_LIMITED_RANGE,
            threads=allowed(),
        )
        picture.pts = int(ticks)
        picture.time_base = Fraction(1, self._clock)
        if self._fragmented and frame.time >= self._next_fragment:
            # Not by a number of frames: the stated rate may be far from that of the frames.
            picture.pict_type = PictureType.I
            self._next_fragment = frame.time + _FRAGMENT_SECONDS
        with self._explained():
            self._mux(self._pictures.encode(picture))
            if self._sound is not None:
                self._sound.write_until(frame.time)
        self._end = frame.time + Fraction(self._default_ticks, self._clock)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            with self._explained():
                self._finish()
                if kind is None:
                    os.replace(self._part, self._path)
        except OutputError as failure:
            if kind is None:
                raise
            log.warning("%s", failure.problem)  # what stopped the writing is the error to show

    def _new_container(self) -> OutputContainer:
        return av.open(
            str(self._part.absolute()),  # a relative "12:30.mp4" would name a protocol, 12
            "w",
            format="mp4",
            container_options={
                **(_IN_FRAGMENTS if self._fragmented else _AS_A_WHOLE),
                "movie_timescale": str(self._clock),  # of a late start; by default milliseconds
            },
        )

    def _new_stream(self) -> VideoStream:
        stream: VideoStream = self._container.add_stream(
            "libx264",
            rate=self._info.frame_rate,
            options={
                **{"preset": "veryfast", "crf": str(self._crf), "x264-params": _SETTLED},
                **({"bf": "0"} if self._fragmented else {}),
            },
        )
        if self._fragmented:
            stream.gop_size = max(1, round(_FRAGMENT_SECONDS * self._info.frame_rate))
        if self._key_every:
            stream.gop_size = self._key_every
        stream.width = self._info.width + self._info.width % 2
        stream.height = self._info.height + self._info.height % 2
        stream.pix_fmt = "yuv420p"
        stream.thread_type = "AUTO"  # whole frames in parallel; PyAV's default, slices, costs size
        if self._info.pixel_aspect != 1:
            stream.sample_aspect_ratio = self._info.pixel_aspect
        encoder = stream.codec_context
        encoder.thread_count = self._threads
        encoder.time_base = Fraction(1, self._clock)
        encoder.colorspace = encoder.color_primaries = encoder.color_trc = _BT709
        encoder.color_range = _LIMITED_RANGE
        return stream

    def _mux(self, packets: list[Packet[VideoStream]]) -> None:
        for packet in packets:
            packet.duration = self._default_ticks  # counts for the last frame only: it has no next
            self._container.mux(packet)

    def _finish(self) -> None:
        """Write what the encoder holds back, the sound up to the end, and the index."""
        with self._files:
            self._mux(self._pictures.encode(None))
            if self._sound is not None:
                self._sound.write_until(self._end)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (FFmpegError, OSError) as error:
            raise unwritable(self._part, error.strerror) from error


class AnnotatedVideo:
    """A sink of tracks; a context manager, as the writer is.

    A frame is encoded in another thread while the next ones are read and drawn; what goes wrong
    there is raised by one of the next calls, at the latest when it is closed.

    Args:
        writer: takes the drawn frames.
        annotator: draws them.
        classes: gives the names known so far; reading tracks may add some.
        watch: measures drawing and encoding.
    """

    def __init__(
        self,
        writer: VideoWriter,
        annotator: Drawer,
        classes: Callable[[], Sequence[str]],
        watch: RunProgress,
    ) -> None:
        self._writer, self._annotator = writer, annotator
        self._classes, self._watch = classes, watch
        self._encoder = ThreadPoolExecutor(1, "encode")
        self._pending: deque[Future[None]] = deque()

    def __enter__(self) -> AnnotatedVideo:
        self._writer.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        failure: BaseException | None = None
        try:
            self._wait(0)
        except BaseException as found:  # noqa: BLE001 - raised below, where nothing else is
            failure = found
        self._encoder.shutdown()
        with self._watch.stage("encode"):
            if failure is None or kind is not None:
                self._writer.__exit__(kind, error, traceback)
            else:
                self._writer.__exit__(type(failure), failure, failure.__traceback__)
                raise failure

    def write(self, frame: Frame, tracks: Tracks) -> None:
        """Draw and append one frame."""
        with self._watch.stage("draw"):
            drawn = self._annotator.draw(frame, tracks, self._classes())
        self._pending.append(self._encoder.submit(self._encode, drawn))
        self._wait(_FRAMES_BEHIND)

    def _encode(self, drawn: Frame) -> None:
        with self._watch.stage("encode"):
            self._writer.write(drawn)

    def _wait(self, most: int) -> None:
        """Until at most so many frames are still to be encoded."""
        while len(self._pending) > most:
            self._pending.popleft().result()


class Preview:
    """A sink that draws; q, escape or closing the window asks to stop. A context manager.

    Args:
        annotator: draws.
        classes: names that labels index.
        watch: is asked to stop.

    Raises:
        SettingsError: there is no display, or OpenCV is one without windows.
    """

    def __init__(self, annotator: Annotator, classes: Sequence[str], watch: RunProgress) -> None:
        check_display()
        self._annotator, self._classes, self._watch = annotator, classes, watch

    def write(self, frame: Frame, tracks: Tracks) -> None:
        """Show one frame."""
        drawn = self._annotator.draw(frame, tracks, self._classes)
        try:
            cv2.imshow(_TITLE, drawn.image[..., ::-1])
            key = cv2.waitKey(1) & 0xFF
            is_closed = cv2.getWindowProperty(_TITLE, cv2.WND_PROP_VISIBLE) < 1
        except cv2.error as error:
            raise SettingsError(
                f"no window can be opened: {error.err}", fix="leave out --preview"
            ) from error
        if key in _STOP_KEYS or is_closed:
            self._watch.stop_requested = True

    def __enter__(self) -> Preview:
        return self

    def __exit__(self, *error: object) -> None:
        cv2.destroyAllWindows()


def check_display() -> None:
    """Raise SettingsError where no window can be shown; OpenCV itself would end the process."""
    has_display = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    if sys.platform.startswith("linux") and not has_display:
        raise SettingsError(
            "there is no display for a window (DISPLAY and WAYLAND_DISPLAY are not set)",
            fix="leave out --preview, or use a machine with a screen",
        )


def _ticks_per_second(time_base: Fraction) -> int:
    """A clock on which all multiples of `time_base` are whole, fine enough to place the sound."""
    ticks = time_base.denominator
    while ticks < 10_000:
        ticks *= 2
    return ticks


def _even(image: Image) -> Image:
    """The image, its last column and row repeated where their number is odd."""
    height, width, _ = image.shape
    if height % 2 == 0 and width % 2 == 0:
        return image
    return np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
