"""Columns of numbers out of lines of text; errors name the line and the column."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from masa_cli.errors import SourceError
from masa_cli.formats.files import TextFile
from masa_cli.formats.headers import fields_of
from masa_cli.formats.tables import LARGEST

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
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="")
    changed = []
    for line in lines:
        fields = fields_of(line, separator)
        writer.writerow(
            each.replace(",", ".") if _DECIMAL_COMMA.fullmatch(each) else each for each in fields
        )
        changed.append(text.getvalue())
        text.seek(0)
        text.truncate()
    return changed


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
