"""A review in progress: tracks as they are now, their log, and what the page is told of them."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from masa_cli import formats
from masa_cli.errors import MasaError, UsageError
from masa_cli.formats.tables import TrackTable
from masa_cli.formats.times import FrameTimes
from masa_cli.review.edits import EditError, SetBox, parse
from masa_cli.review.log import REDO, UNDO, History, LogFile, LogWriter
from masa_cli.review.places import Finder, Place
from masa_cli.review.tracks import Patch, Track, TracksById, digest_of
from masa_cli.review.video import PlayableVideo, known_video, playable
from masa_cli.settings import DEFAULT_FRAME_RATE, parse_time
from masa_cli.sources import open_source, picture_names
from masa_cli.structures import Tracks, VideoInfo

logger = logging.getLogger(__name__)

_INTERPOLATED, _HAS_MASK = 1, 2  # flags of a box
_NUM_SHOWN = 200  # edits that the page lists
_SAME = 1e-6  # seconds, which sums of times differ by


class StaleError(MasaError):
    """An edit was made of tracks that have changed since."""


@dataclass(frozen=True, slots=True)
class Change:
    """What an edit came to.

    Attributes:
        patch: the identities it changed.
        revision: the number of lines of the log after it.
        summary: what the page shows of the history.
    """

    patch: Patch
    revision: int
    summary: Mapping[str, object]


def open_review(
    source: Path,
    tracks: Path,
    log: Path,
    *,
    reads: str = formats.AUTO,
    frame_rate: Fraction | None = None,
    part: Part | None = None,
    tell: Callable[[str, float | None], None] = lambda text, share: None,
    show: Callable[[PlayableVideo], None] = lambda video: None,
) -> Review:
    """Read tracks and their log, and have a video that browsers play.

    Args:
        source: video file or folder of images.
        tracks: the file of tracks.
        log: where edits are kept.
        reads: format of the tracks, or "auto".
        frame_rate: of a folder of images, or instead of that of the file.
        part: of the video that was tracked; None: what the run.json beside the tracks tells.
        tell: is told what is being done, and the share of it that is done where that is known.
        show: is given the video, as soon as there is one.

    Raises:
        MasaError: something cannot be read, or a video cannot be made.
    """
    if log.resolve() == tracks.resolve():
        raise UsageError(f"{tracks} are the tracks, not their edits", fix="name another --edits")
    info = open_source(source, frame_rate=frame_rate).info
    chosen = formats.recognise(tracks) if reads == formats.AUTO else reads
    tell("looking at the video", None)
    video = known_video(source, frame_rate=frame_rate)
    if video:
        show(video)
    tell("reading tracks", None)
    hints = formats.Hints.of(info, picture_names(source))
    table = formats.read_tracks(
        tracks,
        format=chosen,
        hints=hints,
        progress=lambda share: tell("reading tracks", share),
    )
    if video is None:
        text, num_frames = "making a video that browsers play", info.num_frames
        tell(text, None)
        video = playable(
            source,
            frame_rate=frame_rate,
            progress=lambda done: tell(text, min(1, done / num_frames) if num_frames else None),
        )
        show(video)
    tell("sorting tracks", None)
    part = part or part_of(tracks, info)
    # On the clock of the video, as the run took it.
    start = float(part.start // info.time_base * info.time_base)
    table = timed(tracks, table, part.of(video.times) - start)
    return Review(tracks, table, log, video, start)


@dataclass(frozen=True, slots=True)
class Part:
    """The part of a video that tracks are of, as `masa track --start --every` took it.

    Attributes:
        start: seconds; times and frames of the tracks count from there.
        every: of the frames from there on, every so many.
    """

    start: Fraction = Fraction(0)
    every: int = 1

    def of(self, times: NDArray[np.float64]) -> NDArray[np.float64]:
        """(K,) of the (N,) seconds of a video those of its frames that are in the part.

        Raises UsageError: there are none.
        """
        first = int(np.searchsorted(times, float(self.start) - _SAME))
        if first == len(times):
            raise UsageError(
                f"the video ends before {float(self.start):g} s, where the tracks begin",
                fix="give the video that was tracked, or the --start with which it was",
            )
        return times[first :: self.every]


def part_of(tracks: Path, video: VideoInfo) -> Part:
    """As the run.json beside the tracks tells; the whole where no run tells of these tracks.

    Args:
        tracks: the file that the run has written.
        video: that is looked at.
    """
    try:
        told = orjson.loads(tracks.with_name("run.json").read_bytes())
        source = told["source"]
        start = Fraction(source["start"]) - video.start
        every = video.frame_rate / Fraction(source["frame_rate"])
        written = {Path(each).name for each in told["written"]}
        is_part = start > 0 or (every > 1 and every.denominator == 1)
    except (OSError, ValueError, TypeError, KeyError, ZeroDivisionError):
        return Part()
    if tracks.name not in written or not is_part:
        return Part()
    if source.get("name") != video.name:
        logger.warning(
            "%s is of a part of %s, but this is %s: give --start and --every if it is the same",
            tracks,
            source.get("name"),
            video.name,
        )
        return Part()
    begin = max(start, Fraction(0))
    asked = _asked(told)
    if asked is not None and asked // video.time_base * video.time_base == begin:
        begin = asked  # not yet on the clock of the video: the first frame is not before it
    return Part(begin, int(every) if every.denominator == 1 else 1)


def _asked(record: Mapping[str, Any]) -> Fraction | None:
    """The time with which a run was asked to begin, as its record tells the part."""
    facts = record.get("facts")
    text = str(facts.get("part", "")) if isinstance(facts, dict) else ""
    try:
        return parse_time(text.partition(" to ")[0], "--start")
    except UsageError:
        return None


class Review:
    """Tracks and their log; one edit at a time, whoever calls. A context manager.

    Args:
        path: the file of tracks.
        table: what is in it.
        log: where edits are kept; those that are there already are done first.
        video: as browsers play it.
        start: seconds of the video from which the times of the tracks count.

    Raises:
        SourceError: the log is of other tracks, or damaged.
        OutputError: another review writes it.
    """

    def __init__(
        self,
        path: Path,
        table: TrackTable,
        log: Path,
        video: PlayableVideo,
        start: float = 0.0,
    ) -> None:
        self.path, self.log, self.video, self._start = path, log, video, start
        self._lock = threading.Lock()
        self.num_frames = table.num_frames
        self._history = History(TracksById.of(table))
        digest, length = digest_of(table), 0
        self._revision = 0
        if log.exists() and log.stat().st_size:
            earlier = LogFile.read(log)
            earlier.check(path, digest)
            earlier.replay(self._history)
            length, self._revision = earlier.length, len(earlier.records)
        self._writer = LogWriter(log, path, digest, length)
        self._packed: bytes | None = None
        # Of hours it takes longer than to open the page, which asks for them later.
        first = self.tracks if self._revision else None
        self._finder = Finder(lambda: first.table() if first else table)

    @property
    def tracks(self) -> TracksById:
        """As they are now."""
        return self._history.tracks

    def packed(self) -> bytes:
        """All tracks as they are now, see `packed`; kept until the next edit."""
        with self._lock:
            if self._packed is None:
                self._packed = packed(self.tracks)
            return self._packed

    def places(self, seconds: float | None = 0.0) -> list[Place] | None:
        """The suspicious places of the tracks as they are now; None if they are not known yet.

        Args:
            seconds: to wait for them; None: as long as it takes.
        """
        return self._finder.places(seconds)

    @property
    def times(self) -> NDArray[np.float64]:
        """(num_frames,) seconds of the frames."""
        frames = np.arange(self.num_frames)
        told = self._history.tracks.times or FrameTimes.even(DEFAULT_FRAME_RATE)
        return told.at(frames)

    @property
    def video_times(self) -> NDArray[np.float64]:
        """(num_frames,) seconds of the frames in the file that browsers play."""
        seconds: NDArray[np.float64] = self.times + self._start - self.video.times[0]
        return seconds

    @property
    def num_done(self) -> int:
        """Edits in force."""
        return len(self._history.done)

    def edit(self, record: object, revision: int) -> Change:
        """Do an edit, UNDO or REDO, and write it down.

        Raises:
            EditError: it cannot be done; nothing changed.
            StaleError: `revision` is not that of now.
            OutputError: it cannot be written down; nothing changed.
        """
        with self._lock:
            if revision != self._revision:
                raise StaleError(
                    "the tracks were edited in another window", fix="look at them anew"
                )
            earlier = self.tracks
            name = record.get("edit") if isinstance(record, dict) else None
            if name in (UNDO, REDO):
                patch = self._history.step({"edit": name})
                line: object = name
            else:
                edit = parse(record)
                if isinstance(edit, SetBox) and edit.frame >= self.num_frames:
                    raise EditError(
                        f"frame {edit.frame} is past the last, {self.num_frames - 1}",
                        fix="draw within the video",
                    )
                before = list(self._history.undone)
                patch = self._history.do(edit)
                line = edit
            try:
                self._writer.append(line)  # type: ignore[arg-type]
            except MasaError:
                if name == UNDO:
                    self._history.redo()
                else:
                    self._history.undo()
                    if name != REDO:
                        self._history.undone[:] = before
                raise
            self._revision += 1
            self._packed = None
            was = {id_: earlier.tracks.get(id_) for id_ in patch}
            self._finder.edited(was, patch, self.tracks)
            return Change(patch, self._revision, self.summary())

    def summary(self) -> dict[str, object]:
        """What the page shows of the history."""
        history = self._history
        return {
            "revision": self._revision,
            "edits": [edit.text() for edit, _, _ in history.done[-_NUM_SHOWN:]],
            "done": len(history.done),
            "undone": len(history.undone),
            "classes": list(history.tracks.classes),
            "free": history.tracks.free_id,
        }

    def close(self) -> None:
        """Close the log; places that are still looked for are left."""
        self._finder.close()
        self._writer.close()

    def __enter__(self) -> Review:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def packed(tracks: TracksById, *, with_masks: bool = True) -> bytes:
    """All tracks as the page reads them.

    The length of a JSON header (uint32), the header with `ids`, `labels` and `counts` of tracks and
    blanks up to a multiple of 4; then, of all boxes, one track after the other: frames int32,
    boxes float32 (4 each), scores float32, labels uint16, flags uint8 (1 interpolated, 2 with a
    mask). Little-endian.
    """
    kept = list(tracks.sorted_by_id())
    frames, rows = tracks.columns()
    flags = _flags(rows) if with_masks else _flags(rows) & _INTERPOLATED
    header = orjson.dumps(
        {
            "ids": [track.id for track in kept],
            "labels": [track.label for track in kept],
            "counts": [len(track) for track in kept],
        }
    )
    header += b" " * (-len(header) % 4)
    return b"".join(
        [
            np.uint32(len(header)).tobytes(),
            header,
            frames.astype("<i4").tobytes(),
            np.ascontiguousarray(rows.boxes, "<f4").tobytes(),
            np.ascontiguousarray(rows.scores, "<f4").tobytes(),
            rows.labels.astype("<u2").tobytes(),
            flags.tobytes(),
        ]
    )


def unpacked_track(track: Track | None) -> dict[str, object] | None:
    """One track for the page, as JSON; None stays None."""
    if track is None:
        return None
    return {
        "label": track.label,
        "frames": track.frames.tolist(),
        "boxes": np.round(track.rows.boxes.astype(np.float64), 3).ravel().tolist(),
        "scores": np.round(track.rows.scores.astype(np.float64), 4).tolist(),
        "labels": track.rows.labels.tolist(),
        "flags": _flags(track.rows).tolist(),
    }


def masks_of(tracks: TracksById, first: int, count: int) -> dict[str, object]:
    """The masks of some frames for the page: by frame and identity, COCO's run lengths."""
    found: dict[str, dict[str, str]] = {}
    size: Sequence[int] = (0, 0)
    for track in tracks.tracks.values():
        start, stop = np.searchsorted(track.frames, [first, first + count])
        for row in range(int(start), int(stop)):
            mask = track.rows.masks[row]
            if mask is not None:
                size = mask.size
                found.setdefault(str(track.frames[row]), {})[str(track.id)] = mask.counts
    return {"size": list(size), "frames": found}


def timed(path: Path, table: TrackTable, video: NDArray[np.float64]) -> TrackTable:
    """The table with a time for every frame, and as long as the video at least.

    Those that the tracks tell stay; else they are those of the video.

    Args:
        path: the file of tracks, for messages.
        table: the tracks.
        video: (N,) seconds of the frames that could be tracked, at least one, as tracks count them.
    """
    step = float(np.median(np.diff(video))) if len(video) > 1 else float(1 / DEFAULT_FRAME_RATE)
    if table.times is not None:
        # A run of every second frame has half as many frames as its video.
        last = int(np.searchsorted(table.times.at(np.arange(len(video))), video[-1] + step / 2))
        num_frames, times = min(len(video), last), table.times
    else:
        num_frames, times = len(video), FrameTimes(np.arange(len(video)), video)
    if table.num_frames > num_frames:
        logger.warning(
            "%s has boxes up to frame %d, but frame %d is the last of the video",
            path,
            table.num_frames - 1,
            num_frames - 1,
        )
    return replace(table, times=times, num_frames=max(num_frames, table.num_frames))


def _flags(rows: Tracks) -> NDArray[np.uint8]:
    flags = rows.interpolated * _INTERPOLATED + rows.has_mask * _HAS_MASK
    return flags.astype(np.uint8)
