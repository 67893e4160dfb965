import numpy as np
import pytest
from pycocotools import mask as coco

from masa_cli.masks import (
    areas,
    as_array,
    carried,
    frames_of,
    id_map,
    pack,
    run_lengths,
    tightened,
    unpack,
    without_overlaps,
)
from masa_cli.structures import Mask, Tracks


def mask_of(picture):
    return pack(picture, (0, 0), picture.shape)


def whole(mask):
    """(H, W) by pycocotools."""
    return coco.decode({"size": list(mask.size), "counts": mask.counts.encode()}).astype(bool)


def square(x1, y1, x2, y2, size=(20, 30)):
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
    picture = square(7, 3, 12, 9)
    mask = pack(np.ones((6, 5), bool), (7, 3), (20, 30))
    np.testing.assert_array_equal(whole(mask), picture)
    assert unpack(mask)[1] == (7, 3)


@pytest.mark.parametrize("corners", [(0, 0, 30, 20), (0, 0, 1, 1), (29, 19, 30, 20), (3, 0, 9, 20)])
def test_windows_at_the_edges_of_the_frame(corners):
    picture = square(*corners)
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
    masks = [mask_of(square(7, 3, 12, 9)), mask_of(square(0, 0, 30, 20))]
    assert areas(masks).tolist() == [30, 600]
    assert frames_of(masks).tolist() == [[7, 3, 12, 9], [0, 0, 30, 20]]
    assert areas([]).tolist() == []
    assert frames_of([]).shape == (0, 4)


def test_boxes_are_tightened_to_masks_where_there_are_any():
    tracks = tightened(tracks_of(square(7, 3, 12, 9), None))
    assert tracks.boxes.tolist() == [[7, 3, 12, 9], [0, 0, 30, 20]]


def test_the_higher_score_lies_on_top():
    tracks = tracks_of(square(0, 0, 10, 10), square(5, 0, 15, 10), None, scores=[0.9, 0.5, 1])
    picture = id_map(tracks, (20, 30))
    assert (picture == 1).sum() == 100
    assert (picture == 2).sum() == 50
    assert (picture == 3).sum() == 0
    apart = without_overlaps(tracks)
    np.testing.assert_array_equal(whole(apart.masks[0]), square(0, 0, 10, 10))
    np.testing.assert_array_equal(whole(apart.masks[1]), square(10, 0, 15, 10))
    assert apart.masks[2] is None


def test_a_mask_that_is_wholly_covered_is_none():
    tracks = tracks_of(square(2, 2, 4, 4), square(0, 0, 10, 10), scores=[0.1, 0.2])
    assert without_overlaps(tracks).masks[0] is None
    assert len(without_overlaps(Tracks.empty())) == 0


def box(*corners):
    return np.float32(corners)


def test_a_mask_is_carried_along_with_its_box():
    mask = mask_of(square(7, 3, 12, 9))
    moved = carried(mask, box(6, 2, 13, 10), box(16, 7, 23, 15))
    np.testing.assert_array_equal(whole(moved), square(17, 8, 22, 14))
    assert carried(mask, box(6, 2, 13, 10), box(6, 2, 13, 10)) == mask


def test_a_mask_grows_and_shrinks_with_its_box():
    mask = mask_of(square(2, 2, 6, 6))
    grown = carried(mask, box(2, 2, 6, 6), box(2, 2, 14, 10))
    np.testing.assert_array_equal(whole(grown), square(2, 2, 14, 10))
    shrunk = carried(mask, box(2, 2, 6, 6), box(2, 2, 4, 5))
    np.testing.assert_array_equal(whole(shrunk), square(2, 2, 4, 5))


def test_what_leaves_the_frame_is_cut_off():
    mask = mask_of(square(2, 2, 6, 6))
    cut = carried(mask, box(2, 2, 6, 6), box(-2, 18, 2, 22))
    np.testing.assert_array_equal(whole(cut), square(0, 18, 2, 20))
    assert carried(mask, box(2, 2, 6, 6), box(40, 40, 44, 44)) is None
