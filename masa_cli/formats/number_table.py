"""Columns of numbers out of comma separated lines, at the speed of C.

A million rows take a second. Only when something is wrong is the file looked at slowly, to name
the line.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from masa_cli.errors import SourceError
from masa_cli.formats.detection_table import LARGEST
from masa_cli.formats.text_file import TextFile


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
        completed: the same lines with what may be missing, read in their place; errors quote what
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
        fields = next(csv.reader([lines[row]]))
        numeric = {name: place for name, place in columns.items() if place not in converters}
        width = max(columns.values()) + 1
        raise _unreadable(text, row, fields, numeric, width) from None
    _check_finite(text, rows, list(columns))
    return rows


def check_whole(text: TextFile, numbers: NDArray[np.float64], name: str, *, least: int) -> None:
    """Raise SourceError unless all numbers, one per line, are whole and at least `least`."""
    bad = np.flatnonzero((numbers != np.floor(numbers)) | (numbers < least))
    if len(bad):
        row = int(bad[0])
        raise text.wrong(row, f"a whole {name} from {least}", f"{numbers[row]:g}")


def _check_finite(text: TextFile, rows: NDArray[np.float64], names: list[str]) -> None:
    # NaN compares false, so it is caught as well.
    bad = np.argwhere(~(np.abs(rows) < LARGEST))
    if len(bad):
        row, column = (int(place) for place in bad[0])
        raise text.wrong(
            row, f"a finite {names[column]} (below {LARGEST:g})", f"{rows[row, column]:g}"
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
            place = f"column {column + 1} ({name})"
            return text.wrong(row, f"a number in {place}", f'"{fields[column].strip()}"')
    return text.wrong(row, "plain numbers", "something else")
