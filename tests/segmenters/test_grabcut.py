from fractions import Fraction

import cv2
import numpy as np
import pytest

from masa_cli.masks import frames_of, unpack
from masa_cli.segmenters.grabcut import GrabCutSegmenter
from masa_cli.structures import Frame


def frame_of(image):
    return Frame(0, Fraction(0), image)


def disc(height=200, width=300, centre=(150, 100), radius=40):
    """A textured red disc on textured green, and where it is."""
    generator = np.random.default_rng(0)
    image = np.full((height, width, 3), (40, 130, 40), np.uint8)
    mask = np.zeros((height, width), np.uint8)
    cv2.circle(mask, centre, radius, 1, -1)
    image[mask > 0] = (200, 50, 50)
    noise = generator.integers(-15, 15, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8), mask.astype(bool)


def pixels_of(mask, size):
    picture = np.zeros(size, bool)
    pixels, (x, y) = unpack(mask)
    picture[y : y + pixels.shape[0], x : x + pixels.shape[1]] = pixels
    return picture


def overlap(first, second):
    return (first & second).sum() / (first | second).sum()


def test_an_object_of_another_colour_is_found():
    image, truth = disc()
    box = np.float32([[108, 57, 192, 143]])
    [mask] = GrabCutSegmenter().segment(frame_of(image), box)
    assert mask.size == (200, 300)
    # The box itself has 0.70; what is lost is half a pixel of the reduced picture.
    assert overlap(pixels_of(mask, (200, 300)), truth) > 0.95


def test_a_large_object_is_found_on_a_reduced_picture():
    image, truth = disc(1080, 1920, (900, 500), 400)
    [mask] = GrabCutSegmenter().segment(frame_of(image), np.float32([[498, 98, 1302, 902]]))
    assert overlap(pixels_of(mask, (1080, 1920)), truth) > 0.97


def test_a_mask_never_leaves_its_box():
    image, _ = disc()
    boxes = np.float32([[130, 80, 170, 120], [100.5, 57.5, 150.2, 143]])
    for mask, box in zip(GrabCutSegmenter().segment(frame_of(image), boxes), boxes, strict=True):
        [[x1, y1, x2, y2]] = frames_of([mask])
        assert x1 >= np.floor(box[0])
        assert y1 >= np.floor(box[1])
        assert x2 <= np.ceil(box[2])
        assert y2 <= np.ceil(box[3])


def test_a_box_partly_outside_the_frame_is_cut_off():
    image, truth = disc(centre=(0, 100))
    [mask] = GrabCutSegmenter().segment(frame_of(image), np.float32([[-42, 57, 42, 143]]))
    assert overlap(pixels_of(mask, (200, 300)), truth) > 0.9


@pytest.mark.parametrize(
    "box", [(-50, 0, -10, 40), (10, 10, 10, 40), (400, 0, 500, 50)], ids=["left", "empty", "right"]
)
def test_a_box_without_pixels_has_no_mask(box):
    image, _ = disc()
    assert GrabCutSegmenter().segment(frame_of(image), np.float32([box])) == [None]


def test_a_frame_of_one_colour_has_no_masks():
    image = np.full((100, 120, 3), 77, np.uint8)
    boxes = np.float32([[10, 10, 60, 60], [0, 0, 120, 100]])
    assert GrabCutSegmenter().segment(frame_of(image), boxes) == [None, None]


def test_a_box_around_the_whole_frame_has_no_mask():
    """There is nothing around it to tell it from."""
    image, _ = disc()
    assert GrabCutSegmenter().segment(frame_of(image), np.float32([[0, 0, 300, 200]])) == [None]


def test_a_frame_of_one_pixel_has_no_masks():
    image = np.zeros((1, 1, 3), np.uint8)
    assert GrabCutSegmenter().segment(frame_of(image), np.float32([[0, 0, 1, 1]])) == [None]


def test_masks_do_not_depend_on_what_was_looked_at_before():
    # Blobs of noise: where the clusters of colours begin decides.
    coarse = np.random.default_rng(0).integers(0, 255, (12, 18, 3), np.uint8)
    image = cv2.resize(coarse, (300, 200), interpolation=cv2.INTER_CUBIC)
    box, other = np.float32([[108, 57, 192, 143]]), np.float32([[20, 20, 90, 90]])
    segmenter = GrabCutSegmenter()
    first = segmenter.segment(frame_of(image), box)
    for _ in range(4):
        segmenter.segment(frame_of(image), other)
        assert segmenter.segment(frame_of(image), box) == first


def test_no_boxes_no_masks():
    image, _ = disc()
    assert list(GrabCutSegmenter().segment(frame_of(image), np.empty((0, 4), np.float32))) == []
