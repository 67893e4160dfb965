"""The video as browsers play it: the file itself where they do, else one made once in the cache."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.video.stream import VideoStream
from numpy.typing import NDArray

from masa_cli.formats.files import make_folder
from masa_cli.render.video import VideoWriter
from masa_cli.sources import Source, open_source
from masa_cli.structures import Frame

# What all browsers play, by container and codec; pixels of 8 bits in 4:2:0.
_TYPES = {".mp4": "video/mp4", ".m4v": "video/mp4", ".webm": "video/webm"}
_CODECS = {"video/mp4": {"h264", "av1"}, "video/webm": {"vp8", "vp9", "av1"}}
_PIXELS = {"yuv420p", "yuvj420p"}
_KEY_EVERY = 15  # frames: what is sought between two key frames is decoded from the first


@dataclass(frozen=True, slots=True, eq=False)
class PlayableVideo:
    """A file that browsers play, and when its frames are in it.

    Attributes:
        path: of the file.
        type: its media type.
        times: (N,) seconds of the frames, as masa counts them; in the file the first is at 0.
        width: pixels, upright.
        height: pixels, upright.
        keys: (K,) seconds in the file of frames that are coded by themselves, where there are many
            frames between them; else none. Any other frame takes as long as all since then.
    """

    path: Path
    type: str
    times: NDArray[np.float64]
    width: int
    height: int
    keys: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))


def known_video(path: Path, *, frame_rate: Fraction | None = None) -> PlayableVideo | None:
    """The video at `path` if browsers play it as it is, or if it was made for them before.

    Args:
        path: video file or folder of images.
        frame_rate: see `playable`.

    Raises SourceError: it is no video.
    """
    source = open_source(path, frame_rate=frame_rate)
    info = source.info
    if path.is_file() and frame_rate is None:
        found = _if_played(path, source)
        if found is not None:
            kind, (times, keys) = _TYPES[path.suffix.lower()], found
            return PlayableVideo(path, kind, times, info.width, info.height, keys)
    made, listed = _made(path, frame_rate)
    if not (made.exists() and listed.exists()):
        return None
    return PlayableVideo(made, "video/mp4", np.load(listed), info.width, info.height)


def playable(
    path: Path,
    *,
    frame_rate: Fraction | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> PlayableVideo:
    """The video at `path` for a browser.

    Args:
        path: video file or folder of images.
        frame_rate: of a folder of images, or instead of that of the file.
        progress: is told how many frames are done, while a file is made.

    Raises:
        SourceError: it is no video.
        OutputError: the cache cannot be written.
    """
    video = known_video(path, frame_rate=frame_rate)
    if video:
        return video
    made, listed = _made(path, frame_rate)
    make_folder(made.parent)
    source = open_source(path, frame_rate=frame_rate)
    _make(source, made, listed, progress)
    info = source.info
    return PlayableVideo(made, "video/mp4", np.load(listed), info.width, info.height)


def _made(path: Path, frame_rate: Fraction | None) -> tuple[Path, Path]:
    """Where the video for browsers is made, and the times of its frames."""
    made = _cache_folder() / f"{_key(path, frame_rate)}.mp4"
    return made, made.with_suffix(".npy")


def _if_played(
    path: Path, source: Source
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """(N,) times of the frames, and `keys`, if all browsers play the file as it is."""
    kind = _TYPES.get(path.suffix.lower())
    if kind is None or source.info.pixel_aspect != 1:
        return None
    try:
        with av.open(str(path.absolute())) as container:
            stream = container.streams.video[0]
            if not _is_plain(container, stream, kind):
                return None
            unit = float(stream.time_base or 0)  # which is gone once the file is closed
            told = [
                (np.nan if packet.pts is None else packet.pts, packet.is_keyframe)
                for packet in container.demux(stream)
                if packet.size and not packet.is_discard and not packet.is_corrupt
            ]
    except (FFmpegError, OSError):
        return None
    ticks, are_keys = np.array(told, np.float64).reshape(-1, 2).T
    times = np.sort(ticks)
    if not len(times) or times[0] != 0 or not np.all(np.diff(times) > 0):
        return None
    keys = np.sort(ticks[are_keys > 0])
    are_rare = len(keys) and len(times) > 1.5 * _KEY_EVERY * len(keys)
    return times * unit, keys * unit if are_rare else np.empty(0)


def _is_plain(container: InputContainer, stream: VideoStream, kind: str) -> bool:
    """Whether it has one stream of pictures that begins at 0, coded as browsers like it."""
    codec = stream.codec_context
    return (
        len(container.streams.video) == 1
        and codec.codec.canonical_name in _CODECS[kind]
        and codec.pix_fmt in _PIXELS
        and not stream.start_time
        and not container.start_time
    )


def _make(
    source: Source,
    path: Path,
    listed: Path,
    progress: Callable[[int], None],
) -> None:
    info, first = source.info, Fraction(0)
    times: list[float] = []
    with VideoWriter(path, info, key_every=_KEY_EVERY) as writer:
        for frame in source.frames():
            first = first if times else frame.time
            writer.write(Frame(frame.index, frame.time - first, frame.image))
            times.append(float(frame.time))
            progress(len(times))
    new = listed.with_suffix(".new.npy")
    np.save(new, np.array(times))
    os.replace(new, listed)


def _cache_folder() -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "masa" / "review"


def _key(path: Path, frame_rate: Fraction | None) -> str:
    """Of what is at a path now: where it is, how large and how old it and its pictures are."""
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    seen = hashlib.sha256(f"{path.resolve()} {frame_rate}".encode("utf-8", "surrogateescape"))
    for file in files:
        facts = file.stat()
        seen.update(f"{file.name} {facts.st_size} {facts.st_mtime_ns}".encode("utf-8", "replace"))
    return f"{path.stem[:40]}-{seen.hexdigest()[:16]}"
