"""tracks.jsonl, our own format: tracks out and in, detections in.

One line of JSON per frame, in the order of the frames, frames without tracks included:

    {"frame":0,"time":0.0,"boxes":[[x1,y1,x2,y2],…],"ids":[…],"labels":["person",…],"scores":[…]}

frame   whole, from 0, increasing
time    seconds since the start of the video
boxes   source pixels; x2 and y2 are exclusive, so width = x2 - x1
ids     whole, from 1, each at most once in a frame
labels  names of the classes; where there are none, all are "object"
scores  any finite number

interpolated    true for boxes that no detector found but that were put into a gap of their track
        afterwards; left out where there are none
margins for each box how much likelier, as a log-likelihood ratio, its identity was than the next
        best assignment, or null where the tracker was sure; left out where it was sure of all
masks   for each box {"size":[height,width],"counts":"…"}, COCO's compressed run lengths of the
        whole frame, or null; left out where there are none

Boxes, labels, ids and scores of a line are equally many. Other keys are ignored. Lines may be in
any order where only detections are read, and need neither ids nor time. Numbers are written with
as many digits as bring the same float32 back.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO

import numpy as np
import orjson
from numpy.typing import NDArray

from masa_cli.errors import OutputError, SourceError, shortened
from masa_cli.formats.columns import Progress, read_at_once, untold
from masa_cli.formats.files import FileWriter, PartFile, data_lines, wrong_line
from masa_cli.formats.tables import (
    LARGEST,
    MAX_ID,
    NAMELESS,
    DetectionTable,
    TrackTable,
    check_frame,
)
from masa_cli.formats.times import FrameTimes
from masa_cli.masks import mask_fields, read_masks
from masa_cli.structures import (
    BoolArray,
    Detections,
    FloatArray,
    Frame,
    FrameTracks,
    IntArray,
    MaskArray,
    Tracks,
)


class TracksReader:
    """The frames of a tracks.jsonl, read line by line: iterate for FrameTracks.

    Iterating again starts again. A malformed line raises SourceError when it is reached.

    Args:
        path: the file.
        classes: names to number first; others follow as they appear.
        first_id: the smallest id that is read.
        progress: is told the share of the file that is read.
    """

    def __init__(
        self,
        path: Path,
        classes: Sequence[str] = (),
        *,
        first_id: int = 1,
        progress: Progress = untold,
    ) -> None:
        self._path, self._first_id, self._progress = path, first_id, progress
        self._classes = {name: label for label, name in enumerate(classes)}

    @property
    def classes(self) -> tuple[str, ...]:
        """Names that the labels read so far index; it only grows."""
        return tuple(self._classes)

    def __iter__(self) -> Iterator[FrameTracks]:
        last, done = -1, 0
        size = max(self._path.stat().st_size, 1) if self._path.exists() else 1
        for record in read_records(self._path):
            done += len(record.line) + 1
            self._progress(min(1.0, done / size))
            frame = record.frame()
            if frame <= last:
                raise record.wrong(f"a frame after {last}", str(frame))
            last = frame
            yield FrameTracks(frame, record.time(), record.tracks(self._classes, self._first_id))


class TracksWriter(FileWriter[PartFile]):
    """Writes tracks.jsonl, to `<path>.part` until it is closed without an exception.

    Args:
        path: replaced at a clean close.
        classes: names that the labels index.
        resume_at: the `offset` at which to go on with the `.part` file of an earlier run; what
            is behind it is cut off.
    """

    def __init__(self, path: Path, classes: Sequence[str], *, resume_at: int | None = None) -> None:
        super().__init__(PartFile(path, resume_at=resume_at))
        self._classes = classes

    @property
    def offset(self) -> int:
        """Bytes written so far, none of them waiting in a buffer: where to resume."""
        return self._file.offset

    def write(
        self, frame: Frame, tracks: Tracks, more: Mapping[str, object] = MappingProxyType({})
    ) -> None:
        """Append one frame; `more` are further keys and values of its line."""
        self._file.write(line_of(frame, tracks, self._classes, more))

    def close(self) -> None:
        """Close the file, which stays `<path>.part`: there may be more to come."""
        self._file.close()


def read_tracks(path: Path, progress: Progress = untold) -> TrackTable:
    """All tracks at once; see TracksReader for the order of lines."""
    return read_at_once(path, progress) or read_by_line(path, progress)


def read_by_line(path: Path, progress: Progress = untold) -> TrackTable:
    """Each line checked by itself, so that the one that is wrong is named."""
    reader = TracksReader(path, first_id=0, progress=progress)
    lines = list(reader)
    num_frames = lines[-1].index + 1 if lines else 0
    check_frame(path, num_frames - 1)
    indices = np.array([line.index for line in lines], np.int64)
    times = np.array([line.time for line in lines])
    return TrackTable.from_rows(
        path,
        np.repeat(indices, [len(line.tracks) for line in lines]),
        Tracks.joined(line.tracks for line in lines),
        reader.classes or (NAMELESS,),
        num_frames=num_frames,
        times=FrameTimes.of_rows(path, indices, times),
    )


def read_detections(path: Path) -> DetectionTable:
    """Read all lines, of any order; classes are numbered as they appear."""
    classes: dict[str, int] = {}
    frames, found = [], [Detections.empty()]
    for record in read_records(path):
        found.append(record.detections(classes))
        frames.append(record.frame())
    runs = Counter(frame for frame, _ in groupby(frames))  # a line per box is none the worse
    for frame, count in runs.items():
        if count > 1:
            raise SourceError(
                f"{path} comes back to frame {frame} after others, as if to another video",
                fix="write what is of one frame together, and a file for each video",
            )
    counts = [len(detections) for detections in found[1:]]
    return DetectionTable.from_rows(
        np.repeat(np.array(frames, np.int64), counts),
        np.concatenate([detections.boxes for detections in found]),
        np.concatenate([detections.scores for detections in found]),
        np.concatenate([detections.labels for detections in found]),
        tuple(classes) or (NAMELESS,),
        np.concatenate([detections.masks for detections in found]),
    )


class LinesOut:
    """Writes the same lines to an open file, such as standard output, each at once.

    Args:
        file: stays open.
        classes: names that the labels index.
        when_closed: called when nobody reads any more, which is no error.
    """

    def __init__(
        self, file: BinaryIO, classes: Sequence[str], when_closed: Callable[[], None]
    ) -> None:
        self._file, self._classes, self._when_closed = file, classes, when_closed
        self._is_closed = False

    def write(self, frame: Frame, tracks: Tracks) -> None:
        """Write one line; OutputError if it cannot be written."""
        if self._is_closed:
            return
        try:
            self._file.write(line_of(frame, tracks, self._classes))
            self._file.flush()
        except BrokenPipeError:
            self._is_closed = True
            self._when_closed()
        except OSError as error:
            raise OutputError(
                f"standard output cannot be written to: {error.strerror}",
                fix="leave out --jsonl -, or let it go elsewhere",
            ) from error


def line_of(
    frame: Frame,
    tracks: Tracks,
    classes: Sequence[str],
    more: Mapping[str, object] = MappingProxyType({}),
) -> bytes:
    """The line of one frame; `more` are further keys and values."""
    record: dict[str, object] = {
        "frame": frame.index,
        "time": float(frame.time),
        "boxes": np.ascontiguousarray(tracks.boxes),
        "ids": np.ascontiguousarray(tracks.ids),
        "labels": [classes[label] for label in tracks.labels],
        "scores": np.ascontiguousarray(tracks.scores),
    }
    if tracks.interpolated.any():
        record["interpolated"] = tracks.interpolated.tolist()
    record |= margin_fields(tracks)
    if tracks.has_mask.any():
        record["masks"] = mask_fields(tracks.masks)
    record.update(more)
    return orjson.dumps(record, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE)


def margin_fields(tracks: Tracks) -> dict[str, object]:
    """The key of margins, where the tracker was not sure of all."""
    if not np.isfinite(tracks.margins).any():
        return {}
    told = tracks.margins.tolist()
    return {"margins": [round(each, 3) if math.isfinite(each) else None for each in told]}


def read_records(path: Path) -> Iterator[Record]:
    """Each line as it stands; SourceError where one is no JSON object."""
    for number, line in data_lines(path):
        try:
            fields = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            raise wrong_line(path, number, "JSON", error.msg, line) from None
        if not isinstance(fields, dict):
            raise wrong_line(path, number, "a JSON object", type(fields).__name__, line)
        yield Record(path, number, line, fields)


@dataclass(frozen=True, slots=True)
class Record:
    """One line, read but not trusted."""

    path: Path
    number: int
    line: str
    fields: dict[str, Any]

    def wrong(self, expected: str, got: str) -> SourceError:
        """What to raise about this line."""
        return wrong_line(self.path, self.number, expected, got, self.line)

    def frame(self) -> int:
        """Its index."""
        return int(self._whole("frame", (), minimum=0))

    def time(self) -> float:
        """Seconds."""
        return float(self._numbers("time", ()))

    def detections(self, classes: dict[str, int]) -> Detections:
        """Boxes, scores and labels; new names are added to `classes`."""
        count = len(self._list("boxes"))
        return Detections(
            self._numbers("boxes", (count, 4)).astype(np.float32),
            self._numbers("scores", (count,)).astype(np.float32),
            self._labels(count, classes),
            self._masks(count),
        )

    def tracks(self, classes: dict[str, int], first_id: int = 1) -> Tracks:
        """Detections with ids, `first_id` or more."""
        found = self.detections(classes)
        ids = self._ids(len(found), first_id)
        if len(np.unique(ids)) < len(ids):
            raise self.wrong("each id once", shortened(str(ids.tolist())))
        named = found.named(ids)
        marks, margins = self._interpolated(len(ids)), self._margins(len(ids))
        return replace(named, interpolated=marks, margins=margins)

    def _ids(self, count: int, first_id: int) -> IntArray:
        values = self._list("ids")
        if len(values) == count and all(
            type(value) is int and first_id <= value <= MAX_ID for value in values
        ):
            return np.array(values, np.int64)
        return self._whole("ids", (count,), minimum=first_id)

    def _interpolated(self, count: int) -> BoolArray:
        marks = self._list("interpolated") if "interpolated" in self.fields else [False] * count
        if len(marks) != count or not all(isinstance(mark, bool) for mark in marks):
            raise self.wrong(f"{count} times true or false as interpolated", shortened(str(marks)))
        return np.array(marks, np.bool_)

    def _margins(self, count: int) -> FloatArray:
        if "margins" not in self.fields:
            return np.full(count, np.inf, np.float32)
        told = [math.inf if each is None else each for each in self._list("margins")]
        if len(told) != count or not all(type(each) in {int, float} for each in told):
            raise self.wrong(f"{count} numbers or null as margins", shortened(str(told)))
        return np.array(told, np.float32)

    def _masks(self, count: int) -> MaskArray:
        try:
            return read_masks(self.fields.get("masks"), count)
        except ValueError as error:
            raise self.wrong(f"{count} masks or null as masks", str(error)) from None

    def _labels(self, count: int, classes: dict[str, int]) -> IntArray:
        names = self._list("labels") if "labels" in self.fields else [NAMELESS] * count
        if len(names) != count or not all(isinstance(name, str) for name in names):
            raise self.wrong(f"{count} names as labels", shortened(str(names)))
        return np.array([classes.setdefault(name, len(classes)) for name in names], np.int64)

    def _list(self, key: str) -> list[Any]:
        value = self._value(key)
        if not isinstance(value, list):
            raise self.wrong(f"a list of {key}", type(value).__name__)
        return value

    def _whole(self, key: str, shape: tuple[int, ...], minimum: int) -> IntArray:
        numbers = self._numbers(key, shape)
        if np.any(numbers != np.floor(numbers)) or np.any(numbers < minimum):
            raise self.wrong(f"{key} whole and from {minimum}", shortened(str(numbers.tolist())))
        return numbers.astype(np.int64)

    def _numbers(self, key: str, shape: tuple[int, ...]) -> NDArray[np.float64]:
        value = self._value(key)
        try:
            numbers = np.asarray(value)
        except ValueError:  # rows of different lengths
            numbers = np.asarray(None)
        if numbers.shape == (0,):
            numbers = np.empty((0, *shape[1:]))  # [] says nothing of its second axis
        # NaN cannot be written in JSON; strings and booleans are kinds of their own.
        plain = numbers.shape == shape and numbers.dtype.kind in "iuf"
        if not plain or np.any(np.abs(numbers) >= LARGEST):
            amount = f"{' x '.join(map(str, shape))} numbers" if shape else "a number"
            raise self.wrong(f"{amount} below {LARGEST:g} as {key}", shortened(str(value)))
        return numbers.astype(np.float64)

    def _value(self, key: str) -> object:
        if key not in self.fields:
            raise self.wrong(f'"{key}"', f"only {', '.join(self.fields) or 'an empty object'}")
        return self.fields[key]
