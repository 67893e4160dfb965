from array import array
from pathlib import Path

import numpy as np
import pytest

from masa_cli.errors import SourceError
from masa_cli.formats.number_table import check_whole, read_numbers
from masa_cli.formats.text_file import TextFile


def text(*lines: str) -> TextFile:
    """Lines numbered 11, 12, 13, …"""
    return TextFile(Path("t.txt"), list(lines), array("q", range(11, 11 + len(lines))))


def test_wanted_columns_come_in_the_wanted_order():
    rows = read_numbers(text("1,x,3", "4,y,6"), {"last": 2, "first": 0})
    assert rows.tolist() == [[3, 1], [6, 4]]


def test_no_lines_are_no_rows():
    assert read_numbers(text(), {"a": 0, "b": 1}).shape == (0, 2)


def test_a_column_without_numbers_is_converted():
    rows = read_numbers(text('1,"a,b"', "2,c"), {"a": 0, "b": 1}, {"b": len})
    assert rows.tolist() == [[1, 3], [2, 1]]


@pytest.mark.parametrize("count", [1, 2, 7, 8])
def test_the_bad_line_is_found_wherever_it_is(count: int):
    for bad in range(count):
        lines = ["1,2"] * count
        lines[bad:] = ["1,two"] + ["oops"] * (count - bad - 1)
        with pytest.raises(SourceError, match=rf"t.txt line {11 + bad}: .* in column 2 \(b\)"):
            read_numbers(text(*lines), {"a": 0, "b": 1})


@pytest.mark.parametrize("bad", [2.5, 0.0])
def test_numbers_that_are_not_whole_or_too_low_are_named(bad: float):
    with pytest.raises(SourceError, match=f"line 12: expected a whole frame from 1, got {bad:g}"):
        check_whole(text("1", "?", "2"), np.array([1, bad, 2]), "frame", least=1)
