import pytest

from masa_cli.formats.mask_json import mask_fields, read_masks
from tests.mask_tracks import square


def test_masks_come_back_and_none_stays_none():
    masks = [square(1, 2, 5, 6), None, square(0, 0, 30, 20)]
    assert read_masks(mask_fields(masks), 3).tolist() == masks


def test_where_there_are_no_masks_all_are_none():
    assert read_masks(None, 2).tolist() == [None, None]
    assert read_masks([], 0).tolist() == []


def test_a_mask_without_a_pixel_is_none():
    assert read_masks([{"size": [20, 30], "counts": "hb0"}], 1).tolist() == [None]


GOOD = mask_fields([square(1, 2, 5, 6)])[0]


@pytest.mark.parametrize(
    "entries",
    [
        [GOOD, GOOD],
        [GOOD | {"size": [20, 31]}],
        [GOOD | {"size": [0, 30]}],
        [GOOD | {"size": [20]}],
        [GOOD | {"size": [20, 1e9]}],
        [GOOD | {"counts": GOOD["counts"][:-1]}],
        [GOOD | {"counts": ""}],
        [GOOD | {"counts": [3, 4]}],
        [GOOD | {"counts": "ü"}],
        [7],
        "mask",
    ],
    ids=str,
)
def test_what_is_no_mask_is_refused(entries):
    with pytest.raises(ValueError, match=r"."):
        read_masks(entries, 1)
