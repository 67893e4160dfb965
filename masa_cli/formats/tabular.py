"""Tables with named columns, for spreadsheets and scripts: CSV, and lists of objects in JSON.

`frame,time,id,x1,y1,x2,y2,score,label,interpolated`: frames from 0, seconds, pixels. Read again,
the columns may be in any order with others between, and have the names that others give them;
time, label and interpolated may be missing.
Frames without tracks leave no row.
"""

from __future__ import annotations

import csv
import io
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from masa_cli.errors import SourceError, shortened
from masa_cli.formats.files import (
    HELP,
    FileWriter,
    PartFile,
    TextFile,
)
from masa_cli.formats.headers import (
    CORNERS,
    columns_in,
    fields_of,
    missing_in,
    separator_of,
)
from masa_cli.formats.numbering import check_same_video
from masa_cli.formats.tables import (
    LARGEST,
    NAMELESS,
    NO_ID,
    DetectionTable,
    TrackTable,
    whole_ids,
)
from masa_cli.formats.text_columns import (
    BOXES,
    check_whole,
    corners_of,
    read_numbers,
    records_as_lines,
    scores_of,
    with_commas,
)
from masa_cli.formats.times import FrameTimes
from masa_cli.structures import Detections, Frame, IntArray, Tracks

logger = logging.getLogger(__name__)

_HEADER = ("frame", "time", "id", "x1", "y1", "x2", "y2", "score", "label", "interpolated")
_OF_DETECTIONS = ("frame", *CORNERS, "score", "label")
_AS_TEXT = frozenset({"time", "video"})  # columns that may hold anything
_OF_TRACKS = _AS_TEXT | {"id", "interpolated"}
_NO_FRAME = (
    "add a column frame that counts from 0; to supervision's CSVSink, with "
    'sink.append(detections, {"frame_index": index})'
)
_MARKS = {"": 0.0, "0": 0.0, "false": 0.0, "1": 1.0, "true": 1.0}


class CsvWriter(FileWriter[PartFile]):
    """Writes one row per box.

    Spreadsheets take a name that begins with =, +, - or @ for a formula; such names get an
    apostrophe in front, which `read_csv` takes off again.

    Args:
        path: replaced at a clean close; until then `<path>.part`.
        classes: names of the labels.
    """

    def __init__(self, path: Path, *, classes: Sequence[str]) -> None:
        super().__init__(PartFile(path))
        self._names = [harmless(name) for name in classes]
        self._file.write((",".join(_HEADER) + "\n").encode())

    def write(self, frame: Frame, tracks: Tracks) -> None:
        """Append one frame."""
        text = io.StringIO()
        columns = (tracks.ids, tracks.boxes, tracks.scores, tracks.labels, tracks.interpolated)
        csv.writer(text, lineterminator="\n").writerows(
            [
                frame.index,
                f"{float(frame.time):.9g}",
                id_,
                *(f"{number:.9g}" for number in (*box, score)),
                self._names[label],
                int(mark),
            ]
            for id_, box, score, label, mark in zip(
                *(column.tolist() for column in columns), strict=True
            )
        )
        self._file.write(text.getvalue().encode())


def read_csv(path: Path) -> TrackTable:
    """Read the table; rows without an id, or with -1, are left out among others with one.

    Raises:
        SourceError: a column is missing, a line is malformed, or rows are of two videos.
    """
    return _tracks(TextFile.read(path))


def read_records(path: Path) -> TrackTable:
    """Read the same from JSON with a list of rows, an object each."""
    return _tracks(records_as_lines(path))


def _tracks(table: TextFile) -> TrackTable:
    header, text = _split_header(table, ("frame", "id"))
    path = text.path
    classes: dict[str, int] = {}

    def number_of(label: str) -> float:
        return classes.setdefault(_original(label.strip()) or NAMELESS, len(classes))

    def mark_of(text: str) -> float:
        return _MARKS[text.strip().lower()]  # a KeyError becomes the ValueError of numpy

    converters = {"label": number_of, "interpolated": mark_of}
    columns = {name: at for name, at in header.items() if name not in _AS_TEXT}
    converters = {name: each for name, each in converters.items() if name in columns}
    try:
        rows = read_numbers(text, columns, converters)
    except SourceError:
        if all(field.strip() for field in _texts(text, columns["id"])):
            raise
        rows = read_numbers(text, columns, converters | {"id": lambda id_: float(id_ or NO_ID)})
    column = {name: rows[:, index] for index, name in enumerate(columns)}
    check_whole(text, column["frame"], "frame number", minimum=0)
    check_whole(text, column["id"], "id", minimum=NO_ID)
    none = np.zeros(len(rows))
    tracks = Tracks(
        corners_of(column),
        scores_of(column, len(rows), path),
        column.get("label", none).astype(np.int64),
        whole_ids(text, text.lines, column["id"], columns["id"]),
        column.get("interpolated", none) != 0,
    )
    frames = column["frame"].astype(np.int64)
    times = _times(text, header, frames)
    return TrackTable.from_rows(path, frames, tracks, tuple(classes) or (NAMELESS,), times=times)


def read_detections(path: Path) -> DetectionTable:
    """Read the table; classes are numbered as they appear, rows without a label are "object"."""
    return _detections(TextFile.read(path))


def read_record_detections(path: Path) -> DetectionTable:
    """Read the same from JSON with a list of rows, an object each."""
    return _detections(records_as_lines(path))


def _detections(table: TextFile) -> DetectionTable:
    header, text = _split_header(table, ("frame",))
    columns = {name: at for name, at in header.items() if name not in _OF_TRACKS}
    classes: dict[str, int] = {}

    def number_of(label: str) -> float:
        return classes.setdefault(label.strip() or NAMELESS, len(classes))

    if "label" not in columns:
        number_of(NAMELESS)
    _check_quotes(text)
    rows = read_numbers(text, columns, {"label": number_of} if "label" in columns else {})
    column = {name: rows[:, index] for index, name in enumerate(columns)}
    check_whole(text, column["frame"], "frame number", minimum=0)
    return DetectionTable.from_rows(
        column["frame"].astype(np.int64),
        corners_of(column),
        scores_of(column, len(rows), text.path),
        column.get("label", np.zeros(len(rows))).astype(np.int64),
        tuple(classes),
    )


def write_detections(path: Path, frames: Iterable[Detections], classes: Sequence[str]) -> None:
    """Write the detections of all frames, in order; `path` is replaced once it is complete."""
    with PartFile(path) as file:
        file.write((",".join(_OF_DETECTIONS) + "\n").encode())
        for index, found in enumerate(frames):
            text = io.StringIO()
            rows = zip(found.boxes.tolist(), found.scores.tolist(), found.labels, strict=True)
            csv.writer(text, lineterminator="\n").writerows(
                [index, *(f"{number:.9g}" for number in (*box, score)), classes[label]]
                for box, score, label in rows
            )
            file.write(text.getvalue().encode())


def harmless(name: str) -> str:
    """A name as no spreadsheet takes for a formula."""
    return "'" + name if name[:1] in {"=", "+", "-", "@", "'"} else name


def _original(name: str) -> str:
    return name[1:] if name[:1] == "'" and name[1:2] in {"=", "+", "-", "@", "'"} else name


def _split_header(text: TextFile, needed: Sequence[str]) -> tuple[dict[str, int], TextFile]:
    """Where the columns that are read stand, by our names; and the lines after the header.

    These have commas between their fields whatever the file has.
    """
    header = text.lines[0] if text.lines else ",".join(_HEADER)
    columns, separator = columns_in(header), separator_of(header)
    if missing := missing_in(columns, needed):
        raise SourceError(
            f"{text.path} {text.unit} {text.numbers[0]}: no column {', '.join(missing)} in the "
            "header: "
            f"{', '.join(name.strip() for name in shortened(header, 200).split(separator))}",
            fix=_fix_of(missing, columns),
        )
    lines = text.lines[1:] if separator == "," else with_commas(text.lines[1:], separator)
    rest = replace(text, lines=lines, numbers=text.numbers[1:])
    if "video" in columns:
        check_same_video(_texts(rest, columns["video"]), text.path)
    return columns, rest


def _fix_of(missing: Sequence[str], columns: Mapping[str, int]) -> str:
    if missing == ["frame"]:
        return _NO_FRAME
    if {"x", "y"} <= columns.keys():
        return "x and y may be of a corner or of the middle: call them left and top, or cx and cy"
    return HELP if {*missing} <= {"frame", "id"} else f"name the columns {BOXES}"


def _texts(text: TextFile, column: int) -> list[str]:
    """One field of each line, "" where it is missing."""
    return [fields[column] if column < len(fields) else "" for fields in map(fields_of, text.lines)]


def _times(text: TextFile, columns: Mapping[str, int], frames: IntArray) -> FrameTimes | None:
    """Of frames, from a column of seconds if there is one; said if it holds something else."""
    if "time" not in columns:
        return None
    fields = _texts(text, columns["time"])
    try:
        seconds = np.array([float(field) if field.strip() else np.nan for field in fields])
    except ValueError:
        seconds = np.full(len(fields), np.inf)
    if np.any(np.abs(seconds) >= LARGEST) or len(seconds) != len(frames):
        logger.warning("%s: its column time is not read: it holds no seconds", text.path)
        return None
    return FrameTimes.of_rows(text.path, frames, seconds)


def _check_quotes(text: TextFile) -> None:
    """An open quote would swallow the lines after it."""
    for row, line in enumerate(text.lines):
        if line.count('"') % 2:
            raise text.wrong(row, "quotes in pairs", str(line.count('"')))
