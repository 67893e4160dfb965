from contextlib import suppress

import cv2
import numpy as np
import pytest

from masa_cli.errors import OutputError, SourceError
from masa_cli.formats.mots import (
    IdMapWriter,
    MotsTracksWriter,
    MotsWriter,
    class_numbers,
    read_masks,
)
from masa_cli.masks import areas
from masa_cli.structures import Mask
from tests.mask_tracks import CLASSES, INFO, SIZE, frame, square, three_frames, write_three_frames


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


def read(path):
    return cv2.imread(str(path), cv2.IMREAD_UNCHANGED)


def test_each_frame_is_an_image_of_ids(tmp_path):
    folder = tmp_path / "street.masks"
    write_three_frames(IdMapWriter(folder, info=INFO))
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["000001.png", "000002.png", "000003.png"]
    first, second, third = (read(folder / name) for name in names)
    expected = np.zeros(SIZE, np.uint16)
    expected[:10, :10] = 7
    expected[:10, 5:15] = 3
    np.testing.assert_array_equal(first, expected, strict=True)
    assert not second.any()
    assert (third == 7).sum() == 100
    assert [path.name for path in tmp_path.iterdir()] == ["street.masks"]


def test_ids_beyond_a_byte_and_up_to_the_last_are_kept(tmp_path):
    tracks = three_frames()[2].renamed(np.array([65535]))
    with IdMapWriter(tmp_path / "a", info=INFO) as writer:
        writer.write(frame(0), tracks)
    assert read(tmp_path / "a" / "000001.png").max() == 65535
    with (
        pytest.raises(OutputError, match="the id 65536"),
        IdMapWriter(tmp_path / "b", info=INFO) as writer,
    ):
        writer.write(frame(0), tracks.renamed(np.array([65536])))


def test_an_interrupted_folder_stays_a_part(tmp_path):
    with suppress(KeyboardInterrupt), IdMapWriter(tmp_path / "a", info=INFO) as writer:
        writer.write(frame(0), three_frames()[0])
        raise KeyboardInterrupt
    assert [path.name for path in tmp_path.iterdir()] == ["a.part"]
    with IdMapWriter(tmp_path / "a", info=INFO) as writer:
        writer.write(frame(0), three_frames()[1])
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_an_earlier_folder_is_replaced_whole(tmp_path):
    folder = tmp_path / "a"
    write_three_frames(IdMapWriter(folder, info=INFO))
    with IdMapWriter(folder, info=INFO) as writer:
        writer.write(frame(0), three_frames()[1])
    assert [path.name for path in folder.iterdir()] == ["000001.png"]


def test_what_else_is_in_the_folder_is_never_lost(tmp_path):
    folder = tmp_path / "a"
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match="holds other things"):
        IdMapWriter(folder, info=INFO)
    assert (folder / "notes.txt").read_text() == "mine"


def test_masks_come_back_without_what_a_higher_score_covers(tmp_path):
    path = tmp_path / "a.txt"
    write_three_frames(MotsTracksWriter(path, classes=CLASSES))
    rows = read_masks(path)
    assert rows.frames.tolist() == [0, 0, 2]
    assert rows.ids.tolist() == [7, 3, 7]
    assert rows.classes.tolist() == [11, 2, 11]
    assert rows.sizes.tolist() == [list(SIZE)] * 3
    assert rows.masks == [
        square(0, 0, 5, 10).counts,
        square(5, 0, 15, 10).counts,
        square(1, 1, 11, 11).counts,
    ]
    assert areas([Mask(SIZE, counts) for counts in rows.masks]).tolist() == [50, 100, 100]


@pytest.mark.parametrize(
    ("classes", "numbers"),
    [(("object",), [2]), (("car", "person"), [1, 2]), (("dog", "pedestrian", "cat"), [11, 2, 13])],
    ids=str,
)
def test_classes_have_the_numbers_of_the_benchmarks(classes, numbers):
    assert class_numbers(classes) == numbers
