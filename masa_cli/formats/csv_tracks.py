"""Tracks as comma separated values under a header, for spreadsheets and scripts.

`frame,time,id,x1,y1,x2,y2,score,label,interpolated`: frames from 0, seconds, pixels. Read again,
the columns may be in any order with others between; time, label and interpolated may be missing.
Frames without tracks leave no row.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import numpy as np

from masa_cli.errors import SourceError
from masa_cli.formats.detection_table import NAMELESS
from masa_cli.formats.number_table import check_whole, read_numbers
from masa_cli.formats.part_file import PartFile
from masa_cli.formats.text_file import HELP, TextFile
from masa_cli.formats.track_table import TrackTable
from masa_cli.structures import Frame, Tracks

HEADER = ("frame", "time", "id", "x1", "y1", "x2", "y2", "score", "label", "interpolated")
_NEEDED = ("frame", "id", "x1", "y1", "x2", "y2", "score")
_MARKS = {"": 0.0, "0": 0.0, "false": 0.0, "1": 1.0, "true": 1.0}


class CsvWriter:
    """Writes one row per box.

    Spreadsheets take a name that begins with =, +, - or @ for a formula; such names get an
    apostrophe in front, which `read_tracks` takes off again.

    Args:
        path: replaced at a clean close; until then `<path>.part`.
        classes: names of the labels.
    """

    def __init__(self, path: Path, *, classes: Sequence[str]) -> None:
        self._file = PartFile(path)
        self._names = [harmless(name) for name in classes]
        self._file.write((",".join(HEADER) + "\n").encode())

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

    def __enter__(self) -> CsvWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._file.__exit__(kind, error, traceback)


def read_tracks(path: Path) -> TrackTable:
    """Read the table.

    Raises:
        SourceError: a column is missing, or a line is malformed.
    """
    text = TextFile.read(path)
    fields = [name.strip().lower() for name in next(csv.reader(text.lines[:1]), list(HEADER))]
    missing = [name for name in _NEEDED if name not in fields]
    if missing:
        raise SourceError(
            f"{path} line {text.numbers[0]}: no column {', '.join(missing)} in the header: "
            f"{', '.join(fields)}",
            fix=HELP,
        )
    text = TextFile(path, text.lines[1:], text.numbers[1:])
    classes: dict[str, int] = {}

    def number_of(label: str) -> float:
        return classes.setdefault(_original(label.strip()) or NAMELESS, len(classes))

    def mark_of(text: str) -> float:
        return _MARKS[text.strip().lower()]  # a KeyError becomes the ValueError of numpy

    converters = {"label": number_of, "interpolated": mark_of}
    columns = {name: fields.index(name) for name in HEADER if name in fields and name != "time"}
    rows = read_numbers(
        text, columns, {name: each for name, each in converters.items() if name in columns}
    )
    column = {name: rows[:, place] for place, name in enumerate(columns)}
    check_whole(text, column["frame"], "frame number", least=0)
    check_whole(text, column["id"], "id", least=1)
    none = np.zeros(len(rows))
    tracks = Tracks(
        rows[:, [list(columns).index(name) for name in ("x1", "y1", "x2", "y2")]].astype(
            np.float32
        ),
        column["score"].astype(np.float32),
        column.get("label", none).astype(np.int64),
        column["id"].astype(np.int64),
        column.get("interpolated", none) != 0,
    )
    frames = column["frame"].astype(np.int64)
    return TrackTable.from_rows(path, frames, tracks, tuple(classes) or (NAMELESS,))


def harmless(name: str) -> str:
    """A name as no spreadsheet takes for a formula."""
    return "'" + name if name[:1] in {"=", "+", "-", "@", "'"} else name


def _original(name: str) -> str:
    return name[1:] if name[:1] == "'" and name[1:2] in {"=", "+", "-", "@", "'"} else name
