"""Windows of masks against the reference's way: enlarge, cut off the padding, resize, threshold."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from masa_cli.masks import unpack
from masa_cli.segmenters.upsampling import MaskWindows, WindowSettings, without_specks

ANYWHERE = WindowSettings(margin=1e3, speck_share=0)


def blobs(seed, cells=256):
    """(cells, cells) smooth noise, mostly below 0."""
    coarse = torch.randn(1, 1, 12, 12, generator=torch.Generator().manual_seed(seed)) - 0.8
    return F.interpolate(coarse, (cells, cells), mode="bicubic")[0, 0].numpy()


def reference(logits, filled, size):
    """(H, W) logits of the whole frame."""
    x = torch.from_numpy(logits)[None, None]
    x = F.interpolate(x, (1024, 1024), mode="bilinear", align_corners=False)
    x = x[..., : filled[0], : filled[1]]
    return F.interpolate(x, size, mode="bilinear", align_corners=False)[0, 0].numpy()


def pixels_of(mask):
    picture = np.zeros(mask.size, bool)
    pixels, (x, y) = unpack(mask)
    picture[y : y + pixels.shape[0], x : x + pixels.shape[1]] = pixels
    return picture


SIZES = [((576, 1024), (1080, 1920)), ((1024, 577), (300, 169)), ((1024, 1024), (64, 64))]


@pytest.mark.parametrize(("filled", "size"), SIZES, ids=str)
def test_masks_are_those_of_the_reference(filled, size):
    windows = MaskWindows(256, 1024, filled, size, ANYWHERE)
    box = np.float32([0, 0, size[1], size[0]])
    for seed in range(3):
        logits = blobs(seed)
        expected = reference(logits, filled, size)
        whole = windows.enlarged(logits, slice(0, size[0]), slice(0, size[1]))
        np.testing.assert_allclose(whole, expected, atol=2e-5)
        mask = windows.mask(logits, box)
        differs = pixels_of(mask) != (expected > 0)
        # Only where float32 cannot tell on which side of 0 it is.
        assert np.abs(expected[differs]).max(initial=0) < 2e-5


def test_a_window_is_the_same_as_that_part_of_the_whole():
    windows = MaskWindows(256, 1024, (576, 1024), (1080, 1920), ANYWHERE)
    logits = blobs(0)
    whole = windows.enlarged(logits, slice(0, 1080), slice(0, 1920))
    part = windows.enlarged(logits, slice(311, 402), slice(1700, 1920))
    np.testing.assert_allclose(part, whole[311:402, 1700:1920], atol=1e-5)


def test_a_mask_reaches_beyond_its_box_by_a_part_of_its_sides():
    windows = MaskWindows(256, 1024, (1024, 1024), (1024, 1024), WindowSettings(margin=0.25))
    everywhere = np.ones((256, 256), np.float32)
    mask = windows.mask(everywhere, np.float32([400, 400, 480, 440]))
    expected = np.zeros((1024, 1024), bool)
    expected[390:450, 380:500] = True
    np.testing.assert_array_equal(pixels_of(mask), expected)


def test_nothing_near_the_box_is_no_mask():
    windows = MaskWindows(256, 1024, (1024, 1024), (1024, 1024), WindowSettings())
    logits = np.full((256, 256), -1, np.float32)
    assert windows.mask(logits, np.float32([0, 0, 100, 100])) is None
    logits[200:210, 200:210] = 1
    assert windows.mask(logits, np.float32([0, 0, 100, 100])) is None
    assert windows.mask(logits, np.float32([780, 780, 860, 860])) is not None


def test_logits_in_the_padding_are_no_mask():
    windows = MaskWindows(256, 1024, (512, 1024), (512, 1024), ANYWHERE)
    logits = np.full((256, 256), -1, np.float32)
    logits[200:] = 1
    assert windows.mask(logits, np.float32([0, 0, 1024, 512])) is None


@pytest.mark.parametrize("size", [(1, 1), (1, 1024), (4320, 7680)], ids=str)
def test_frames_of_any_size(size):
    longest = max(size)
    filled = tuple(max(1, round(side * 1024 / longest)) for side in size)
    windows = MaskWindows(256, 1024, filled, size, ANYWHERE)
    everywhere = np.ones((256, 256), np.float32)
    corner = np.float32([0, 0, min(size[1], 200), min(size[0], 100)])
    small = MaskWindows(256, 1024, filled, size, WindowSettings(margin=0, speck_share=0))
    assert pixels_of(small.mask(everywhere, corner)).sum() == corner[2] * corner[3]
    assert windows.mask(-everywhere, corner) is None


def test_small_islands_vanish_and_small_holes_are_filled():
    pixels = np.zeros((60, 60), bool)
    pixels[5:45, 5:45] = True
    pixels[10:12, 10:12] = False  # 4 pixels of 1600
    pixels[20:30, 20:30] = False  # 100
    pixels[50:52, 50:52] = True
    clean = without_specks(pixels, 0.02)
    assert clean[10, 10]
    assert not clean[25, 25]
    assert not clean[50, 50]
    assert clean.sum() == 1500


def test_a_bay_at_the_edge_of_the_window_is_no_hole():
    pixels = np.ones((30, 30), bool)
    pixels[0, 4] = pixels[29, 9] = False
    np.testing.assert_array_equal(without_specks(pixels, 0.02), pixels)


def test_equal_halves_both_stay():
    pixels = np.zeros((10, 10), bool)
    pixels[:, :4] = pixels[:, 6:] = True
    np.testing.assert_array_equal(without_specks(pixels, 0.02), pixels)


def test_no_pixel_stays_no_pixel():
    assert not without_specks(np.zeros((4, 4), bool), 0.02).any()
