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
masks   for each box {"size":[height,width],"counts":"…"}, COCO's compressed run lengths of the
        whole frame, or null; left out where there are none

Boxes, labels, ids and scores of a line are equally many. Other keys are ignored. Lines may be in
any order where only detections are read, and need neither ids nor time. Numbers are written with
as many digits as bring the same float32 back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import BinaryIO

import numpy as np
import orjson

from masa_cli.errors import OutputError
from masa_cli.formats.detection_table import NAMELESS, DetectionTable
from masa_cli.formats.mask_json import mask_fields
from masa_cli.formats.part_file import PartFile
from masa_cli.formats.track_table import TrackTable, check_frame
from masa_cli.formats.tracks_record import read_records
from masa_cli.structures import Detections, Frame, Tracks


def recognises(first_line: str) -> bool:
    """Whether a line is, or at least begins like, one of ours."""
    return first_line.lstrip().startswith("{") and all(
        key in first_line for key in ('"frame"', '"boxes"')
    )


def read_detections(path: Path) -> DetectionTable:
    """Read all lines, of any order; classes are numbered as they appear."""
    classes: dict[str, int] = {}
    frames, found = [], [Detections.empty()]
    for record in read_records(path):
        found.append(record.detections(classes))
        frames.append(record.frame())
    counts = [len(detections) for detections in found[1:]]
    return DetectionTable.from_rows(
        np.repeat(np.array(frames, np.int64), counts),
        np.concatenate([detections.boxes for detections in found]),
        np.concatenate([detections.scores for detections in found]),
        np.concatenate([detections.labels for detections in found]),
        tuple(classes) or (NAMELESS,),
        np.concatenate([detections.masks for detections in found]),
    )


def read_table(path: Path) -> TrackTable:
    """All tracks at once; see TracksReader for the order of lines."""
    reader = TracksReader(path)
    lines = list(reader)
    num_frames = lines[-1][0] + 1 if lines else 0
    check_frame(path, num_frames - 1)
    times = np.full(num_frames, np.nan)
    indices = np.array([index for index, _, _ in lines], np.int64)
    times[indices] = [time for _, time, _ in lines]
    return TrackTable.from_rows(
        path,
        np.repeat(indices, [len(tracks) for _, _, tracks in lines]),
        Tracks.joined(tracks for _, _, tracks in lines),
        reader.classes or (NAMELESS,),
        num_frames=num_frames,
        times=None if np.isnan(times).any() else times,
    )


class TracksReader:
    """The frames of a tracks.jsonl, read line by line: iterate for (frame index, seconds, Tracks).

    Iterating again starts again. A malformed line raises SourceError when it is reached.

    Args:
        path: the file.
        classes: names to number first; others follow as they appear.
    """

    def __init__(self, path: Path, classes: Sequence[str] = ()) -> None:
        self._path = path
        self._classes = {name: label for label, name in enumerate(classes)}

    @property
    def classes(self) -> tuple[str, ...]:
        """Names that the labels read so far index; it only grows."""
        return tuple(self._classes)

    def __iter__(self) -> Iterator[tuple[int, float, Tracks]]:
        last = -1
        for record in read_records(self._path):
            frame = record.frame()
            if frame <= last:
                raise record.wrong(f"a frame after {last}", str(frame))
            last = frame
            yield frame, record.time(), record.tracks(self._classes)


class TracksWriter:
    """Writes tracks.jsonl, to `<path>.part` until it is closed without an exception.

    Args:
        path: replaced at a clean close.
        classes: names that the labels index.
        resume_at: the `offset` at which to go on with the `.part` file of an earlier run; what
            is behind it is cut off.
    """

    def __init__(self, path: Path, classes: Sequence[str], *, resume_at: int | None = None) -> None:
        self._file = PartFile(path, resume_at=resume_at)
        self._classes = classes

    @property
    def offset(self) -> int:
        """Bytes written so far, none of them waiting in a buffer: a place to resume at."""
        return self._file.offset

    def write(
        self, frame: Frame, tracks: Tracks, more: Mapping[str, object] = MappingProxyType({})
    ) -> None:
        """Append one frame; `more` are further keys and values of its line."""
        self._file.write(line_of(frame, tracks, self._classes, more))

    def close(self) -> None:
        """Close the file, which stays `<path>.part`: there may be more to come."""
        self._file.close()

    def __enter__(self) -> TracksWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._file.__exit__(kind, error, traceback)


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
    if tracks.has_mask.any():
        record["masks"] = mask_fields(tracks.masks)
    record.update(more)
    return orjson.dumps(record, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE)
