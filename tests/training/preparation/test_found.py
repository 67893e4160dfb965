import cv2
import numpy as np
import pytest
from pycocotools import mask as coco

from masa_cli.training.preparation.found import FoundRegion, hull_of, of_labels


def test_a_region_of_pixels_is_measured_to_their_edges():
    pixels = np.zeros((10, 12), bool)
    pixels[2:5, 3:9] = True
    region = FoundRegion.of_pixels(pixels)
    assert region.box == (3, 2, 6, 3)
    assert region.area == 18
    packed = {"size": region.mask["size"], "counts": region.mask["counts"].encode()}
    np.testing.assert_array_equal(coco.decode(packed), pixels)
    corners = sorted(map(tuple, region.outline.tolist()))
    assert corners == [(3, 2), (3, 5), (9, 2), (9, 5)]


@pytest.mark.parametrize("seed", range(10))
def test_every_pixel_is_inside_its_hull(seed):
    pixels = np.zeros((40, 50), np.uint8)
    random = np.random.default_rng(seed)
    middle = (int(random.integers(10, 40)), int(random.integers(10, 30)))
    cv2.ellipse(pixels, middle, (9, 4), random.uniform(0, 180), 0, 360, 1, -1)
    hull = hull_of(pixels.astype(bool))
    for y, x in np.argwhere(pixels):
        for corner in ((x, y), (x + 1, y), (x, y + 1), (x + 1, y + 1)):
            assert cv2.pointPolygonTest(hull, (float(corner[0]), float(corner[1])), False) >= 0
    assert cv2.isContourConvex(hull.astype(np.int32))


def test_labels_above_0_are_regions():
    labels = np.array([[0, 0, 3], [7, 7, 3]])
    assert [region.box for region in of_labels(labels)] == [(2, 0, 1, 2), (0, 1, 2, 1)]
    assert FoundRegion.of_pixels(labels > 9) is None
