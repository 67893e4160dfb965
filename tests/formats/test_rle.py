import numpy as np
import pytest
from pycocotools import mask as coco

from masa_cli.formats.rle import first_bad


def pixels(*numbers):
    return np.array(numbers, np.int64)


def test_masks_of_the_right_size_are_good():
    # Worked out by hand: "033" is 0 not set, 3 set, 3 not; the run after the third is the
    # difference to the one two before it: "1210" is 1, 2, 1, 2 + 0.
    assert first_bad(["033", "33", "6", "06", "1210"], pixels(6, 6, 6, 6, 6)) is None


def test_no_mask_is_good():
    assert first_bad([], pixels()) is None


@pytest.mark.parametrize(
    ("mask", "reason"),
    [
        ("", "nothing"),
        ("0 3", "other characters"),
        ("0é3", "other characters"),
        ("0p", "other characters"),
        ("03o", "one that is cut off"),
        ("oooooo0", "a run without end"),
        ("032", "runs that are not 6 pixels"),
        ("033O1", "runs that are not 6 pixels"),  # O is -1 before it is added to 3: 0, 3, 3, 2, 4
        ("0O7", "runs that are not 6 pixels"),  # the sum is right, but a run is -1
    ],
)
def test_the_first_bad_mask_is_named(mask, reason):
    assert first_bad(["33", mask, "33", mask], pixels(6, 6, 6, 6)) == (1, reason)


def test_what_pycocotools_writes_is_good_and_its_broken_ends_are_not():
    generator = np.random.default_rng(0)
    masks = []
    for share in np.linspace(0, 1, 40):
        noise = generator.random((37, 53))
        smooth = np.cumsum(np.cumsum(noise - share, 0), 1) > 0
        for picture in (noise < share, smooth):
            masks.append(coco.encode(np.asfortranarray(picture))["counts"].decode())
    sizes = np.full(len(masks), 37 * 53)
    assert first_bad(masks, sizes) is None
    for place, mask in enumerate(masks):
        broken = [*masks[:place], mask + "1", *masks[place + 1 :]]
        found = first_bad(broken, sizes)
        assert found is not None
        assert found[0] == place
