import pytest

from masa_cli.formats.mots import read_masks
from masa_cli.formats.mots_tracks import MotsTracksWriter, class_numbers
from masa_cli.masks import areas
from masa_cli.structures import Mask
from tests.mask_tracks import CLASSES, SIZE, square, write_three_frames


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
