"""Columns of numbers out of lines of text; errors name the line and the column."""

from __future__ import annotations

import csv
import io
import logging
import re
from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from masa_cli.errors import SourceError
from masa_cli.formats.files import HELP, TextFile
from masa_cli.formats.headers import BOX_FORMS, CORNERS, fields_of, flat
from masa_cli.formats.json_fields import read_json
from masa_cli.formats.tables import LARGEST
from masa_cli.structures import FloatArray

logger = logging.getLogger(__name__)

BOXES = "x1, y1, x2, y2 (or left, top, width, height, or cx, cy, width, height)"
_DECIMAL_COMMA = re.compile(r"\s*[+-]?\d*,\d+(e[+-]?\d+)?\s*", re.IGNORECASE)
_BEYOND_ID = 2.0**65  # 64 bits, perhaps unsigned


def read_numbers(
    text: TextFile,
    columns: Mapping[str, int],
    convert: Mapping[str, Callable[[str], float]] | None = None,
    completed: list[str] | None = None,
) -> NDArray[np.float64]:
    """The wanted columns of all lines: (N, len(columns)), in the order of `columns`.

    Args:
        text: comma separated lines; fields may be quoted.
        columns: name of each wanted column, for errors, and where it stands, from 0.
        convert: how to read the columns that hold no numbers, by name.
        completed: the same lines with what may be missing, read instead of them; errors quote what
            stands in the file.

    Raises:
        SourceError: a line has too few columns, or something that is no finite number.
    """
    converters: dict[int | str, Callable[[str], float]] = {
        columns[name]: function for name, function in (convert or {}).items()
    }

    def parse(lines: list[str]) -> NDArray[np.float64]:
        return np.loadtxt(
            lines,
            delimiter=",",
            comments=None,
            quotechar='"',
            encoding="utf-8",
            converters=converters,
            usecols=list(columns.values()),
            ndmin=2,
        )

    lines = text.lines if completed is None else completed
    if not lines:
        return np.empty((0, len(columns)))
    try:
        rows = parse(lines)
    except ValueError:
        row = _first_failure(lines, parse)
        fields = fields_of(lines[row])
        numeric = {name: column for name, column in columns.items() if column not in converters}
        width = max(columns.values()) + 1
        raise _unreadable(text, row, fields, numeric, width) from None
    _check_finite(text, rows, list(columns))
    return rows


def with_commas(lines: Sequence[str], separator: str) -> list[str]:
    """The same lines with commas between their fields, and points in their numbers."""
    return _lines_of(
        [each.replace(",", ".") if _DECIMAL_COMMA.fullmatch(each) else each for each in fields]
        for fields in (fields_of(line, separator) for line in lines)
    )


def records_as_lines(path: Path) -> TextFile:
    """The objects of a list in JSON as lines of a table, the names of its columns in front.

    Raises:
        SourceError: the file cannot be read, or has something else than such a list.
    """
    content = read_json(path)
    rows = []
    for number, record in enumerate(content if isinstance(content, list) else [None], start=1):
        if not isinstance(record, dict):
            raise SourceError(f"{path}: row {number} of the list is no object", fix=HELP)
        rows.append(flat(record))
    names = list(dict.fromkeys(chain.from_iterable(rows)))
    lines = _lines_of(
        [
            names,
            *(["" if (x := row.get(name)) is None else str(x) for name in names] for row in rows),
        ]
    )
    return TextFile(path, lines, array("q", range(len(lines))), unit="row")


def _lines_of(rows: Iterable[Sequence[str]]) -> list[str]:
    """Fields between commas, quoted where they must be; a line for each row."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="")
    lines = []
    for row in rows:
        writer.writerow([each.replace("\n", " ") for each in row])
        lines.append(text.getvalue())
        text.seek(0)
        text.truncate()
    return lines


def corners_of(column: Mapping[str, NDArray[np.float64]]) -> FloatArray:
    """(N, 4) float32 xyxy, from the columns of whichever of `BOX_FORMS` is there."""
    form = next(form for form in BOX_FORMS if set(form) <= column.keys())
    start, end = (np.stack([column[name] for name in half], 1) for half in (form[:2], form[2:]))
    if form != CORNERS:
        start = start - end / 2 if form[0] == "cx" else start
        end = start + end
    return np.concatenate([start, end], axis=1).astype(np.float32)


def scores_of(column: Mapping[str, NDArray[np.float64]], count: int, path: Path) -> FloatArray:
    """(N,) float32; 1 where there is no column of them, which is said."""
    if "score" not in column and count:
        logger.warning("%s has no column of scores: all are 1", path)
    return column.get("score", np.ones(count)).astype(np.float32)


def check_whole(text: TextFile, numbers: NDArray[np.float64], name: str, *, minimum: int) -> None:
    """Raise SourceError unless all numbers, one per line, are whole and at least `minimum`."""
    bad = np.flatnonzero((numbers != np.floor(numbers)) | (numbers < minimum))
    if len(bad):
        row = int(bad[0])
        raise text.wrong(row, f"a whole {name} from {minimum}", f"{numbers[row]:g}")


def _check_finite(text: TextFile, rows: NDArray[np.float64], names: list[str]) -> None:
    # NaN compares false, so it is caught as well.
    limits = np.array([_BEYOND_ID if name == "id" else LARGEST for name in names])
    bad = np.argwhere(~(np.abs(rows) < limits))
    if len(bad):
        row, column = (int(index) for index in bad[0])
        raise text.wrong(
            row, f"a finite {names[column]} (below {limits[column]:g})", f"{rows[row, column]:g}"
        )


def _first_failure(lines: list[str], parse: Callable[[list[str]], object]) -> int:
    """The first line that cannot be parsed, in about the time of parsing all of them."""
    low, high = 0, len(lines)  # lines[:low] are good, lines[:high] are not
    while high - low > 1:
        middle = (low + high) // 2
        try:
            parse(lines[low:middle])
            low = middle
        except ValueError:
            high = middle
    return low


def _unreadable(
    text: TextFile, row: int, fields: list[str], columns: Mapping[str, int], width: int
) -> SourceError:
    if len(fields) < width:
        return text.wrong(row, f"at least {width} columns", str(len(fields)))
    for name, column in columns.items():
        try:
            float(fields[column])
        except ValueError:
            where = f"column {column + 1} ({name})"
            return text.wrong(row, f"a number in {where}", f'"{fields[column].strip()}"')
    return text.wrong(row, "plain numbers", "something else")
