import numpy as np

from masa_cli.mask_drawing import TINT, draw_mask
from masa_cli.masks import pack

COLOUR = (200, 100, 50)


def test_pixels_are_tinted_and_outlined_and_others_stay():
    image = np.full((40, 60, 3), 100, np.uint8)
    mask = pack(np.ones((20, 30), bool), (10, 5), (40, 60))
    draw_mask(image, mask, COLOUR, 1)
    inside = [round(100 * (1 - TINT) + part * TINT) for part in COLOUR]
    np.testing.assert_array_equal(image[15, 25], inside)
    np.testing.assert_array_equal(image[5, 10], COLOUR)
    assert (image[4] == 100).all()
    assert (image[:, 41:] == 100).all()


def test_a_smaller_image_gets_the_part_of_the_mask_it_shows():
    image = np.full((20, 20, 3), 100, np.uint8)
    draw_mask(image, pack(np.ones((20, 30), bool), (10, 5), (40, 60)), COLOUR, 1)
    assert (image[12, 15] != 100).any()
    beyond = np.full((4, 4, 3), 100, np.uint8)
    draw_mask(beyond, pack(np.ones((20, 30), bool), (10, 5), (40, 60)), COLOUR, 1)
    assert (beyond == 100).all()
