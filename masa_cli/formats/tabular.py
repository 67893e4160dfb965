"""Tables with named columns, for spreadsheets and scripts: CSV, and Parquet with pyarrow.

`frame,time,id,x1,y1,x2,y2,score,label,interpolated`: frames from 0, seconds, pixels. Read again,
the columns may be in any order with others between, and have the names that others give them;
time, label and interpolated may be missing.
Frames without tracks leave no row.
"""

from __future__ import annotations

import csv
import io
import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from masa_cli.errors import SettingsError, SourceError, shortened
from masa_cli.formats.files import (
    HELP,
    FileWriter,
    PartFile,
    TextFile,
    explained,
    part_of,
    unwritable,
)
from masa_cli.formats.headers import (
    BOX_FORMS,
    CORNERS,
    columns_in,
    columns_of_names,
    fields_of,
    missing_in,
    separator_of,
)
from masa_cli.formats.numbering import check_same_video
from masa_cli.formats.tables import (
    LARGEST,
    MAX_ID,
    NAMELESS,
    NO_ID,
    DetectionTable,
    TrackTable,
    numbered,
    whole_ids,
)
from masa_cli.formats.text_columns import check_whole, read_numbers, with_commas
from masa_cli.formats.times import FrameTimes
from masa_cli.structures import Detections, FloatArray, Frame, IntArray, Tracks, VideoInfo

logger = logging.getLogger(__name__)

_HEADER = ("frame", "time", "id", "x1", "y1", "x2", "y2", "score", "label", "interpolated")
_OF_DETECTIONS = ("frame", *CORNERS, "score", "label")
_AS_TEXT = frozenset({"time", "video"})  # columns that may hold anything
_OF_TRACKS = _AS_TEXT | {"id", "interpolated"}
_BOXES = "x1, y1, x2, y2 (or left, top, width, height, or cx, cy, width, height)"
_NO_FRAME = (
    "add a column frame that counts from 0; to supervision's CSVSink, with "
    'sink.append(detections, {"frame_index": index})'
)
_MARKS = {"": 0.0, "0": 0.0, "false": 0.0, "1": 1.0, "true": 1.0}
_ROWS_AT_ONCE = 100_000  # of a row group: what is in memory while writing


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
    header, text = _split_header(TextFile.read(path), ("frame", "id"))
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
        _corners(column),
        _scores(column, len(rows), path),
        column.get("label", none).astype(np.int64),
        whole_ids(text, text.lines, column["id"], columns["id"]),
        column.get("interpolated", none) != 0,
    )
    frames = column["frame"].astype(np.int64)
    times = _times(text, header, frames)
    return TrackTable.from_rows(path, frames, tracks, tuple(classes) or (NAMELESS,), times=times)


class ParquetWriter:
    """Writes a row per box, in groups of some hundred thousand.

    Args:
        path: replaced at a clean close; until then `<path>.part`.
        info: the video.
        classes: names of the labels.
    """

    def __init__(self, path: Path, *, info: VideoInfo, classes: Sequence[str]) -> None:
        self._arrow = _require("pyarrow")
        self._path, self._part = path, part_of(path)
        self._info, self._names = info, np.array(classes, object)
        self._held: list[tuple[int, float, Tracks]] = []
        self._num_held = self._num_frames = 0
        try:
            self._file = _require("pyarrow.parquet").ParquetWriter(str(self._part), self._schema())
        except OSError as error:
            raise unwritable(self._part, str(error)) from error

    def write(self, frame: Frame, tracks: Tracks) -> None:
        """Append one frame."""
        self._held.append((frame.index, float(frame.time), tracks))
        self._num_held += len(tracks)
        self._num_frames = frame.index + 1
        if self._num_held >= _ROWS_AT_ONCE:
            self._write_held()

    def __enter__(self) -> ParquetWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            self._write_held()
            self._file.add_key_value_metadata({"frames": str(self._num_frames)})
            self._file.close()
            if kind is None:
                os.replace(self._part, self._path)
        except OSError as failure:
            if kind is None:
                raise unwritable(self._part, str(failure)) from failure

    def _schema(self) -> Any:  # noqa: ANN401 - pyarrow has no types
        arrow = self._arrow
        return arrow.schema(
            [
                ("frame", arrow.int64()),
                ("time", arrow.float64()),
                ("id", arrow.int64()),
                *((name, arrow.float32()) for name in (*CORNERS, "score")),
                ("label", arrow.string()),
                ("interpolated", arrow.bool_()),
            ],
            metadata={"width": str(self._info.width), "height": str(self._info.height)},
        )

    def _write_held(self) -> None:
        counts = [len(tracks) for _, _, tracks in self._held]
        tracks = Tracks.joined(tracks for _, _, tracks in self._held)
        columns = {
            "frame": np.repeat([index for index, _, _ in self._held], counts),
            "time": np.repeat([time for _, time, _ in self._held], counts),
            "id": tracks.ids,
            **dict(zip(CORNERS, np.ascontiguousarray(tracks.boxes.T), strict=True)),
            "score": tracks.scores,
            "label": self._names[tracks.labels] if len(tracks) else np.empty(0, object),
            "interpolated": tracks.interpolated,
        }
        schema = self._file.schema
        arrays = [self._arrow.array(columns[field.name], type=field.type) for field in schema]
        try:
            self._file.write_table(self._arrow.Table.from_arrays(arrays, schema=schema))
        except OSError as error:
            raise unwritable(self._part, str(error)) from error
        self._held.clear()
        self._num_held = 0


def read_parquet(path: Path) -> TrackTable:
    """Read the table; other columns are ignored, `label` and `interpolated` may be missing.

    Raises:
        SourceError: it is no Parquet file, or a column is missing or of another kind.
        SettingsError: pyarrow is not installed.
    """
    parquet, arrow = _require("pyarrow.parquet"), _require("pyarrow")
    with explained(path):
        path.open("rb").close()
    try:
        table = _renamed(parquet.read_table(str(path)))
        meta = parquet.read_metadata(str(path)).metadata or {}
        if missing := missing_in(table.column_names, ("frame", "id")):
            raise KeyError(f"no column {', '.join(missing)}")
        kept = {"frame", "id", "score"}.union(*BOX_FORMS)
        column = {name: _plain(table, name) for name in table.column_names if name in kept}
        names = table["label"].to_pylist() if "label" in table.column_names else []
        marks = table["interpolated"].to_pylist() if "interpolated" in table.column_names else []
        seconds = _seconds(table, path) if "time" in table.column_names else None
        videos = table["video"].to_pylist() if "video" in table.column_names else []
        width, height, num_frames = (
            int(meta.get(key, b"0")) for key in (b"width", b"height", b"frames")
        )
    except (arrow.ArrowException, KeyError, ValueError, TypeError, OSError) as error:
        raise SourceError(
            f"{path} cannot be read as a Parquet table of tracks: {error}",
            fix=f"it needs columns frame, id and {_BOXES}, all numbers",
        ) from error
    check_same_video(videos, path)
    frames = column["frame"].astype(np.int64)
    labels, classes = numbered([str(name) for name in names or ["object"] * len(table)])
    tracks = Tracks(
        _corners(column),
        _scores(column, len(table), path),
        labels,
        column["id"].astype(np.int64),
        np.array([bool(mark) for mark in marks] or np.zeros(len(table)), np.bool_),
    )
    return TrackTable.from_rows(
        path,
        frames,
        tracks,
        classes or ("object",),
        num_frames=num_frames,
        times=None if seconds is None else FrameTimes.of_rows(path, frames, seconds),
        size=(width, height) if width and height else None,
    )


def read_detections(path: Path) -> DetectionTable:
    """Read the table; classes are numbered as they appear, rows without a label are "object"."""
    header, text = _split_header(TextFile.read(path), ("frame",))
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
        _corners(column),
        _scores(column, len(rows), path),
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
            f"{text.path} line {text.numbers[0]}: no column {', '.join(missing)} in the header: "
            f"{', '.join(name.strip() for name in shortened(header, 200).split(separator))}",
            fix=_fix_of(missing, columns),
        )
    lines = text.lines[1:] if separator == "," else with_commas(text.lines[1:], separator)
    rest = TextFile(text.path, lines, text.numbers[1:])
    if "video" in columns:
        check_same_video(_texts(rest, columns["video"]), text.path)
    return columns, rest


def _fix_of(missing: Sequence[str], columns: Mapping[str, int]) -> str:
    if missing == ["frame"]:
        return _NO_FRAME
    if {"x", "y"} <= columns.keys():
        return "x and y may be of a corner or of the middle: call them left and top, or cx and cy"
    return HELP if {*missing} <= {"frame", "id"} else f"name the columns {_BOXES}"


def _corners(column: Mapping[str, NDArray[np.float64]]) -> FloatArray:
    """(N, 4) float32 xyxy, from the columns of whichever of `BOX_FORMS` is there."""
    form = next(form for form in BOX_FORMS if set(form) <= column.keys())
    start, end = (np.stack([column[name] for name in half], 1) for half in (form[:2], form[2:]))
    if form != CORNERS:
        start = start - end / 2 if form[0] == "cx" else start
        end = start + end
    return np.concatenate([start, end], axis=1).astype(np.float32)


def _scores(column: Mapping[str, NDArray[np.float64]], count: int, path: Path) -> FloatArray:
    """(N,) float32; 1 where there is no column of them, which is said."""
    if "score" not in column and count:
        logger.warning("%s has no column of scores: all are 1", path)
    return column.get("score", np.ones(count)).astype(np.float32)


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


def _renamed(table: Any) -> Any:  # noqa: ANN401 - pyarrow has no types
    """The columns that are read, under our names."""
    columns = columns_of_names(table.column_names)
    return table.select(list(columns.values())).rename_columns(list(columns))


def _seconds(table: Any, path: Path) -> NDArray[np.float64]:  # noqa: ANN401 - no types
    """The column of times; NaN where it holds something else, which is said."""
    try:
        return np.asarray(table["time"].to_numpy(), np.float64)
    except (TypeError, ValueError):
        logger.warning("%s: its column time is not read: it holds no seconds", path)
        return np.full(len(table), np.nan)


def _plain(table: Any, name: str) -> Any:  # noqa: ANN401 - pyarrow has no types
    """A column of finite numbers; ValueError for anything else."""
    values = np.asarray(table[name].to_numpy())
    if name == "id" and values.dtype.kind == "f":
        values = np.where(np.isnan(values), NO_ID, values)
    numbers, limit = values.astype(np.float64), float(MAX_ID) if name == "id" else LARGEST
    if not np.all(np.abs(numbers) < limit):
        raise ValueError(f"column {name} has numbers that are not finite or below {limit:g}")
    if name in {"frame", "id"} and np.any(
        (numbers != np.floor(numbers)) | (numbers < (NO_ID if name == "id" else 0))
    ):
        raise ValueError(f"column {name} has numbers that are not whole and from 0")
    return values if name == "id" else numbers  # float64 does not hold all ids


def _require(module: str) -> Any:  # noqa: ANN401 - pyarrow has no types
    try:
        return import_module(module)
    except ModuleNotFoundError:
        raise SettingsError(
            "Parquet needs pyarrow, which is not installed", fix="pip install 'masa[parquet]'"
        ) from None
