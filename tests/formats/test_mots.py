from contextlib import suppress

import numpy as np
import pytest

from masa_cli.errors import SourceError
from masa_cli.formats.mots import MotsWriter, read_masks


def write_two_frames(path, first_frame):
    with MotsWriter(path, first_frame=first_frame) as writer:
        writer.write(0, np.array([2007, 1001]), np.array([2, 1]), (2, 3), ["033", "33"])
        writer.write(1, np.empty(0, np.int64), np.empty(0, np.int64), (2, 3), [])
        writer.write(2, np.array([1001]), np.array([1]), (2, 3), ["06"])


@pytest.mark.parametrize("first_frame", [0, 1])
def test_what_is_written_reads_as_the_same_masks(tmp_path, first_frame):
    path = tmp_path / "a.txt"
    write_two_frames(path, first_frame)
    rows = read_masks(path, first_frame=first_frame)
    assert rows.frames.tolist() == [0, 0, 2]
    assert rows.ids.tolist() == [2007, 1001, 1001]
    assert rows.classes.tolist() == [2, 1, 1]
    assert rows.sizes.tolist() == [[2, 3]] * 3
    assert rows.masks == ["033", "33", "06"]


def test_columns_stand_in_the_order_of_the_data_set(tmp_path):
    write_two_frames(tmp_path / "a.txt", 1)
    assert (tmp_path / "a.txt").read_text().splitlines()[0] == "1 2007 2 2 3 033"


def test_an_interrupted_file_stays_a_part(tmp_path):
    with suppress(KeyboardInterrupt), MotsWriter(tmp_path / "a.txt"):
        raise KeyboardInterrupt
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt.part"]


def test_an_empty_file_has_no_masks(tmp_path):
    (tmp_path / "a.txt").write_text("")
    assert len(read_masks(tmp_path / "a.txt").ids) == 0


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1 1 2 2 3", "line 2: expected 6 columns .*, got 5"),
        ("1 1 2 2 3 0 33", "line 2: expected 6 columns .*, got 7"),
        ("1 1.5 2 2 3 033", 'line 2: expected whole numbers .*, got 1 1.5 2 2 3: "1 1.5'),
        ("1 1 nan 2 3 033", "line 2: expected whole numbers .*, got 1 1 nan 2 3"),
        ("1 99999999999 2 2 3 033", "line 2: expected whole numbers below"),
        ("0 1 2 2 3 033", "line 2: expected a frame number from 1, got 0"),
        ("1 1 2 0 3 033", "line 2: expected a height from 1, got 0"),
        ("1 1 2 2 4 033", "line 2: expected an RLE of 2 x 4 pixels in column 6, got runs that"),
        ("1 1 2 2 3 03o", "line 2: expected an RLE of 2 x 3 pixels in column 6, got one that is"),
    ],
)
def test_the_first_bad_line_is_named(tmp_path, line, message):
    path = tmp_path / "a.txt"
    path.write_text(f"1 1 2 2 3 033\n{line}\n")
    with pytest.raises(SourceError, match=message):
        read_masks(path)
