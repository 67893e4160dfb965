"""Detections as comma separated values under a header.

The header names at least frame, x1, y1, x2, y2 and score, and label where boxes have classes; in
any order, with any others between. Frames count from 0, as in our own tracks.jsonl. Fields may be
quoted, but may not go over several lines.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from masa_cli.errors import SourceError
from masa_cli.formats.detection_table import NAMELESS, DetectionTable
from masa_cli.formats.number_table import check_whole, read_numbers
from masa_cli.formats.part_file import PartFile
from masa_cli.formats.text_file import HELP, TextFile
from masa_cli.structures import Detections

NUMBERS = ("frame", "x1", "y1", "x2", "y2", "score")
LABEL = "label"


def recognises(first_line: str) -> bool:
    """Whether a line has a column named frame."""
    return "frame" in _fields(first_line)


def read_detections(path: Path) -> DetectionTable:
    """Read the table; classes are numbered as they appear, rows without a label are "object"."""
    columns, text = _split_header(TextFile.read(path))
    classes: dict[str, int] = {}

    def number_of(label: str) -> float:
        return classes.setdefault(label.strip() or NAMELESS, len(classes))

    if LABEL not in columns:
        number_of(NAMELESS)
    _check_quotes(text)
    rows = read_numbers(text, columns, {LABEL: number_of} if LABEL in columns else {})
    check_whole(text, rows[:, 0], "frame number", least=0)
    return DetectionTable.from_rows(
        rows[:, 0].astype(np.int64),
        rows[:, 1:5].astype(np.float32),
        rows[:, 5].astype(np.float32),
        rows[:, 6].astype(np.int64) if LABEL in columns else np.zeros(len(rows), np.int64),
        tuple(classes),
    )


def write_detections(path: Path, frames: Iterable[Detections], classes: Sequence[str]) -> None:
    """Write the detections of all frames, in order; `path` is replaced once it is complete."""
    with PartFile(path) as file:
        file.write((",".join((*NUMBERS, LABEL)) + "\n").encode())
        for index, found in enumerate(frames):
            text = io.StringIO()
            rows = zip(found.boxes.tolist(), found.scores.tolist(), found.labels, strict=True)
            csv.writer(text, lineterminator="\n").writerows(
                [index, *(f"{number:.9g}" for number in (*box, score)), classes[label]]
                for box, score, label in rows
            )
            file.write(text.getvalue().encode())


def _split_header(text: TextFile) -> tuple[dict[str, int], TextFile]:
    """Where the wanted columns stand, in the order of NUMBERS and LABEL; and the other lines."""
    fields = _fields(text.lines[0]) if text.lines else list(NUMBERS)
    missing = [name for name in NUMBERS if name not in fields]
    if missing:
        raise SourceError(
            f"{text.path} line {text.numbers[0]}: no column {', '.join(missing)} "
            f"in the header: {', '.join(fields)}",
            fix=HELP,
        )
    columns = {name: fields.index(name) for name in (*NUMBERS, LABEL) if name in fields}
    return columns, TextFile(text.path, text.lines[1:], text.numbers[1:])


def _fields(header: str) -> list[str]:
    return [name.strip().lower() for name in next(csv.reader([header]), [])]


def _check_quotes(text: TextFile) -> None:
    """An open quote would swallow the lines after it."""
    for row, line in enumerate(text.lines):
        if line.count('"') % 2:
            raise text.wrong(row, "quotes in pairs", str(line.count('"')))
