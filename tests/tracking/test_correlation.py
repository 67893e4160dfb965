"""A patch of texture is found again where it was put."""

import numpy as np
import pytest

from masa_cli.tracking.correlation import Correlation


def scene(corner, scale=1, seed=0):
    """A textured square of 40 pixels, times `scale`, on another texture; image and box."""
    generator = np.random.default_rng(seed)
    image = generator.integers(60, 120, (120, 160, 3), np.uint8)
    patch = np.random.default_rng(7).integers(0, 255, (8, 8, 3), np.uint8)
    patch = np.kron(patch, np.ones((5 * scale, 5 * scale, 1), np.uint8))
    x, y = corner
    size = len(patch)
    image[y : y + size, x : x + size] = patch
    return image, np.array([x, y, x + size, y + size], np.float32)


@pytest.mark.parametrize("shift", [(0, 0), (9, -6), (-12, 4)])
def test_it_is_found_where_it_went(shift):
    image, box = scene((60, 40))
    there, moved = scene((60 + shift[0], 40 + shift[1]))
    match = Correlation(image, box).find(there, box)
    assert np.abs(match.box - moved).max() < 2  # half a cell
    assert match.sharpness > 10


def test_a_flat_image_has_no_sharp_peak():
    image, box = scene((60, 40))
    match = Correlation(image, box).find(np.full_like(image, 90), box)
    assert match.sharpness < 7


def test_what_grows_is_found_larger():
    image, box = scene((60, 40))
    filter_ = Correlation(image, box)
    for size in (42, 44, 46):
        import cv2

        larger = np.random.default_rng(0).integers(60, 120, image.shape, np.uint8)
        x, y = 80 - size // 2, 60 - size // 2
        larger[y : y + size, x : x + size] = cv2.resize(image[40:80, 60:100], (size, size))
        box = filter_.find(larger, box).box
        filter_.learn(larger, box)
    assert box[2] - box[0] > 42


def test_beyond_the_edge_of_the_image_nothing_fails():
    image, box = scene((0, 0))
    match = Correlation(image, box).find(image, np.array([-15, -15, 25, 25], np.float32))
    assert np.isfinite(match.box).all()


def test_a_box_larger_than_the_image_can_be_looked_for():
    image, _ = scene((60, 40))
    whole = np.array([-50, -50, 300, 300], np.float32)
    filter_ = Correlation(image, whole)
    filter_.learn(image, whole)
    assert np.abs(filter_.find(image, whole).box - whole).max() < 20


def test_it_goes_on_from_a_state():
    image, box = scene((60, 40))
    there, _ = scene((64, 43))
    first = Correlation(image, box)
    second = Correlation.restored({name: each.copy() for name, each in first.state().items()})
    for each in (first, second):
        each.learn(image, box)
    assert np.array_equal(first.find(there, box).box, second.find(there, box).box)
