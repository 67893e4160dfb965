import numpy as np
import pytest
from pycocotools import mask as coco

from masa_cli.masks import (
    areas,
    as_array,
    carried,
    first_bad,
    fit_boxes,
    frames_of,
    id_map,
    mask_fields,
    pack,
    read_masks,
    run_lengths,
    unpack,
    without_overlaps,
)
from masa_cli.structures import Mask, Tracks
from tests.mask_tracks import square


def mask_of(picture):
    return pack(picture, (0, 0), picture.shape)


def whole(mask):
    """(H, W) by pycocotools."""
    return coco.decode({"size": list(mask.size), "counts": mask.counts.encode()}).astype(bool)


def square_array(x1, y1, x2, y2, size=(20, 30)):
    picture = np.zeros(size, bool)
    picture[y1:y2, x1:x2] = True
    return picture


def tracks_of(*pictures, scores=None):
    count = len(pictures)
    return Tracks(
        np.tile(np.float32([0, 0, 30, 20]), (count, 1)),
        np.array(scores or np.ones(count), np.float32),
        np.zeros(count, np.int64),
        np.arange(1, count + 1),
        masks=as_array([None if picture is None else mask_of(picture) for picture in pictures]),
    )


@pytest.mark.parametrize("seed", range(30))
def test_packed_pixels_are_those_of_pycocotools_and_come_back(seed):
    generator = np.random.default_rng(seed)
    size = tuple(generator.integers(1, 40, 2).tolist())
    picture = generator.random(size) < generator.choice([0.02, 0.5, 0.98])
    picture[generator.integers(size[0]), generator.integers(size[1])] = True
    mask = mask_of(picture)
    expected = coco.encode(np.asfortranarray(picture.astype(np.uint8)))
    assert mask.counts == expected["counts"].decode()
    pixels, (x, y) = unpack(mask)
    assert all(edge.any() for edge in (pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]))
    again = np.zeros(size, bool)
    again[y : y + pixels.shape[0], x : x + pixels.shape[1]] = pixels
    np.testing.assert_array_equal(again, picture)


def test_a_window_lies_where_its_corner_is():
    picture = square_array(7, 3, 12, 9)
    mask = pack(np.ones((6, 5), bool), (7, 3), (20, 30))
    np.testing.assert_array_equal(whole(mask), picture)
    assert unpack(mask)[1] == (7, 3)


@pytest.mark.parametrize("corners", [(0, 0, 30, 20), (0, 0, 1, 1), (29, 19, 30, 20), (3, 0, 9, 20)])
def test_windows_at_the_edges_of_the_frame(corners):
    picture = square_array(*corners)
    x1, y1, x2, y2 = corners
    mask = pack(np.ones((y2 - y1, x2 - x1), bool), (x1, y1), picture.shape)
    np.testing.assert_array_equal(whole(mask), picture)
    assert mask == mask_of(picture)


def test_no_pixel_is_no_mask():
    assert pack(np.zeros((4, 4), bool), (1, 1), (20, 30)) is None
    assert pack(np.zeros((0, 4), bool), (1, 1), (20, 30)) is None


def test_runs_of_length_zero_are_understood():
    """They are valid, though nobody writes them."""
    packed = coco.frPyObjects({"size": [3, 4], "counts": [2, 1, 0, 2, 7]}, 3, 4)
    pixels, corner = unpack(Mask((3, 4), packed["counts"].decode()))
    assert run_lengths(packed["counts"].decode()).tolist() == [2, 1, 0, 2, 7]
    assert corner == (0, 0)
    assert pixels.tolist() == [[False, True], [False, True], [True, False]]


def test_areas_and_frames():
    masks = [mask_of(square_array(7, 3, 12, 9)), mask_of(square_array(0, 0, 30, 20))]
    assert areas(masks).tolist() == [30, 600]
    assert frames_of(masks).tolist() == [[7, 3, 12, 9], [0, 0, 30, 20]]
    assert areas([]).tolist() == []
    assert frames_of([]).shape == (0, 4)


def test_boxes_are_fitted_to_masks_where_there_are_any():
    tracks = fit_boxes(tracks_of(square_array(7, 3, 12, 9), None))
    assert tracks.boxes.tolist() == [[7, 3, 12, 9], [0, 0, 30, 20]]


def test_the_higher_score_lies_on_top():
    tracks = tracks_of(
        square_array(0, 0, 10, 10), square_array(5, 0, 15, 10), None, scores=[0.9, 0.5, 1]
    )
    picture = id_map(tracks, (20, 30))
    assert (picture == 1).sum() == 100
    assert (picture == 2).sum() == 50
    assert (picture == 3).sum() == 0
    apart = without_overlaps(tracks)
    np.testing.assert_array_equal(whole(apart.masks[0]), square_array(0, 0, 10, 10))
    np.testing.assert_array_equal(whole(apart.masks[1]), square_array(10, 0, 15, 10))
    assert apart.masks[2] is None


def test_a_mask_that_is_wholly_covered_is_none():
    tracks = tracks_of(square_array(2, 2, 4, 4), square_array(0, 0, 10, 10), scores=[0.1, 0.2])
    assert without_overlaps(tracks).masks[0] is None
    assert len(without_overlaps(Tracks.empty())) == 0


def box(*corners):
    return np.float32(corners)


def test_a_mask_is_carried_along_with_its_box():
    mask = mask_of(square_array(7, 3, 12, 9))
    moved = carried(mask, box(6, 2, 13, 10), box(16, 7, 23, 15))
    np.testing.assert_array_equal(whole(moved), square_array(17, 8, 22, 14))
    assert carried(mask, box(6, 2, 13, 10), box(6, 2, 13, 10)) == mask


def test_a_mask_grows_and_shrinks_with_its_box():
    mask = mask_of(square_array(2, 2, 6, 6))
    grown = carried(mask, box(2, 2, 6, 6), box(2, 2, 14, 10))
    np.testing.assert_array_equal(whole(grown), square_array(2, 2, 14, 10))
    shrunk = carried(mask, box(2, 2, 6, 6), box(2, 2, 4, 5))
    np.testing.assert_array_equal(whole(shrunk), square_array(2, 2, 4, 5))


def test_what_leaves_the_frame_is_cut_off():
    mask = mask_of(square_array(2, 2, 6, 6))
    cut = carried(mask, box(2, 2, 6, 6), box(-2, 18, 2, 22))
    np.testing.assert_array_equal(whole(cut), square_array(0, 18, 2, 20))
    assert carried(mask, box(2, 2, 6, 6), box(40, 40, 44, 44)) is None


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
