import pytest

from masa_cli.errors import SourceError
from masa_cli.formats.mot import read_tracks, read_truth


def file(folder, text):
    path = folder / "a.txt"
    path.write_text(text)
    return path


def test_tracks_keep_the_order_and_all_digits_of_the_file(tmp_path):
    rows = read_tracks(file(tmp_path, "3,7,0.1,0.2,30.3,40.4,0.123456789012\n1,2,1,1,1,1,1\n"))
    assert rows.frames.tolist() == [2, 0]
    assert rows.ids.tolist() == [7, 2]
    assert rows.boxes[0].tolist() == [0.1, 0.2, 0.1 + 30.3, 0.2 + 40.4]
    assert rows.scores.tolist() == [0.123456789012, 1]


def test_tracks_may_have_any_columns_after_the_seventh(tmp_path):
    text = "1,1,0,0,1,1,1\n1,2,0,0,1,1,1,-1,-1,-1,5,5\n1,3,0,0,1,1,1,1\n"
    assert read_tracks(file(tmp_path, text)).classes.tolist() == [-1, -1, 1]


@pytest.mark.parametrize(
    ("tail", "classes"),
    [
        ("", None),
        (",-1,-1,-1", None),
        (",4.48,5.5,0", None),  # MOT15: the place in the world
        (",-1,-1", None),
        (",3,0.5", [3]),
        (",13", [13]),
    ],
)
def test_truth_has_classes_where_column_8_is_not_the_world(tmp_path, tail, classes):
    rows = read_truth(file(tmp_path, f"1,1,0,0,1,1,0{tail}\n"))
    assert (None if rows.classes is None else rows.classes.tolist()) == classes
    assert rows.scores.tolist() == [0]


def test_an_empty_file_has_no_rows(tmp_path):
    assert len(read_truth(file(tmp_path, "")).ids) == 0
    assert read_tracks(file(tmp_path, "")).boxes.shape == (0, 4)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1,1,0,0,1,1,1,14,1", "line 2: expected a class from 1 to 13, got 14"),
        ("1,1,0,0,1,1,1,-1,1", "line 2: expected a whole class number from 1, got -1"),
        ("1,1,0,0,1,1,1,1", "line 2: expected 9 columns as in the lines before, got 8"),
        ("1,-1,0,0,1,1,1,1,1", "line 2: expected a whole id from 0, got -1"),
        ("1,1,0,0,nan,1,1,1,1", "line 2: expected a finite width"),
        ("0,1,0,0,1,1,1,1,1", "line 2: expected a whole frame number from 1, got 0"),
    ],
)
def test_bad_truth_is_refused_by_line(tmp_path, line, message):
    with pytest.raises(SourceError, match=message):
        read_truth(file(tmp_path, f"1,9,0,0,1,1,1,2,1\n{line}\n"))
