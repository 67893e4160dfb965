"""Masks by the network of `lite`: where it looks, and where its answers are put."""

from fractions import Fraction

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from masa_cli.errors import WeightsError
from masa_cli.masks import frames_of, unpack
from masa_cli.models import SharedNetworks
from masa_cli.models.features import FrameFeatures, Pyramid
from masa_cli.models.lite_heads import CELLS, FINE, SIDE, MaskHead
from masa_cli.models.variants import find_variant
from masa_cli.segmenters import SegmenterRequest
from masa_cli.segmenters.lite import LearnedSegmenter, build_learned_segmenter, points_of
from masa_cli.structures import Frame
from masa_cli.weights.manifest import look_for_packaged
from tests.lite_file import write_lite

STRIDE = 8


def disc(size=(200, 300), centre=(150, 100), radius=42):
    """A red disc on blue, and which pixels are its."""
    y, x = np.mgrid[: size[0], : size[1]] + 0.5
    truth = np.hypot(x - centre[0], y - centre[1]) < radius
    image = np.where(truth[..., None], (220, 30, 30), (30, 30, 160)).astype(np.uint8)
    return Frame(0, Fraction(0), image), truth


def pixels_of(mask):
    picture = np.zeros(mask.size, bool)
    pixels, (x, y) = unpack(mask)
    picture[y : y + pixels.shape[0], x : x + pixels.shape[1]] = pixels
    return picture


def overlap(first, second):
    return (first & second).sum() / (first | second).sum()


class Redness(nn.Module):
    """Takes for the object what is red, by the colours."""

    def forward(self, cells):
        colours = F.pixel_shuffle(cells[:, -3 * FINE**2 :], FINE)  # (N, 3, 112, 112)
        return colours[:, 0] - colours[:, 2]


class Marked(nn.Module):
    """Takes for the object what the maps mark."""

    def forward(self, cells):
        return F.interpolate(cells[:, :1] - 0.5, size=(SIDE, SIDE), mode="bilinear")[:, 0]


def learned_segmenter(head, marks=None, unpadded=None):
    """On maps with one channel: the share of each cell of 8 x 8 pixels that is marked."""
    calls = []

    def prepare(images):
        calls.append(len(images))
        return torch.zeros(1, 3, 8, 8), unpadded or images[0].shape[:2]

    class Backbone(nn.Module):
        def forward(self, x):
            if marks is None:
                return [torch.zeros(1, 1, 25, 38)]
            return [F.avg_pool2d(torch.from_numpy(marks)[None, None].float(), STRIDE)]

    features = FrameFeatures(Backbone(), prepare)
    return LearnedSegmenter(Pyramid.unfused(features), head, STRIDE), calls


@pytest.fixture(autouse=True)
def plain_pyramid(monkeypatch):
    """The finest fused map is that of the backbone."""
    monkeypatch.setattr(
        Pyramid, "of", lambda self, frames, levels: {0: self.features.of(frames).maps[0]}
    )


@pytest.mark.parametrize("scale", [0.3, 1, 4])
def test_colours_are_looked_at_and_answered_where_they_are(scale):
    size = (round(200 * scale), round(300 * scale))
    centre, radius = (150 * scale, 100 * scale), 42 * scale
    frame, truth = disc(size, centre, radius)
    box = np.float32([[*np.subtract(centre, radius), *np.add(centre, radius)]])
    [mask] = learned_segmenter(Redness())[0].segment(frame, box)
    assert mask.size == size
    assert overlap(pixels_of(mask), truth) > 0.96


def test_maps_are_looked_at_where_the_frame_is():
    frame, truth = disc()
    # The picture is twice as large as the frame.
    marks = np.kron(truth, np.ones((2, 2), bool))
    box = np.float32([[108, 58, 192, 142]])
    [mask] = learned_segmenter(Marked(), marks, (400, 600))[0].segment(frame, box)
    assert overlap(pixels_of(mask), truth) > 0.93


def test_points_are_read_at_their_middles():
    image = np.tile(np.arange(50, dtype=np.uint8) * 5, (50, 1))
    shown = points_of(image, np.float32([8, 8, 36, 36]))
    middles = 8 + (np.arange(SIDE) + 0.5) * 28 / SIDE
    np.testing.assert_allclose(shown[50], 5 * (middles - 0.5), atol=1)


def test_answers_are_put_at_their_middles():
    class RightHalf(nn.Module):
        def forward(self, cells):
            return (torch.arange(SIDE) + 0.5 - SIDE / 2).expand(len(cells), SIDE, SIDE)

    frame, _ = disc((400, 700))
    [mask] = learned_segmenter(RightHalf())[0].segment(frame, np.float32([[100, 40, 500, 340]]))
    expected = np.zeros((400, 700), bool)
    expected[40:340, 300:500] = True
    np.testing.assert_array_equal(pixels_of(mask), expected)


def test_a_mask_never_leaves_its_box():
    frame, _ = disc()
    boxes = np.float32([[130, 80, 170, 120], [100.5, 57.5, 150.2, 143]])
    masks = learned_segmenter(Redness())[0].segment(frame, boxes)
    for [x1, y1, x2, y2], box in zip(frames_of(masks), boxes, strict=True):
        assert x1 >= np.floor(box[0])
        assert y1 >= np.floor(box[1])
        assert x2 <= np.ceil(box[2])
        assert y2 <= np.ceil(box[3])


def test_a_box_partly_outside_the_frame_is_cut_off():
    frame, truth = disc(centre=(0, 100))
    [mask] = learned_segmenter(Redness())[0].segment(frame, np.float32([[-42, 57, 42, 143]]))
    assert overlap(pixels_of(mask), truth) > 0.95


@pytest.mark.parametrize(
    "box", [(-50, 0, -10, 40), (10, 10, 10, 40), (400, 0, 500, 50), (20.5, 20, 20.5, 60)]
)
def test_a_box_without_pixels_of_the_object_has_no_mask(box):
    frame, _ = disc()
    assert learned_segmenter(Redness())[0].segment(frame, np.float32([box])) == [None]


def test_many_boxes_come_back_in_order_and_the_backbone_looks_once():
    frame, _ = disc((600, 900), (450, 300), 250)
    sides = np.arange(10, 110)
    boxes = np.float32([[450 - side, 300 - side, 450 + side, 300 + side] for side in sides])
    own, calls = learned_segmenter(Redness())
    found = frames_of(own.segment(frame, boxes))
    np.testing.assert_allclose(found[:, 2] - found[:, 0], 2 * sides, atol=1)
    assert calls == [1]
    assert own.segment(frame, np.empty((0, 4), np.float32)) == []


def test_specks_and_holes_vanish():
    frame, _ = disc()
    frame.image[95:98, 140:143] = (30, 30, 160)  # a hole
    frame.image[60:63, 110:113] = (220, 30, 30)  # a speck
    [mask] = learned_segmenter(Redness())[0].segment(frame, np.float32([[108, 58, 192, 142]]))
    pixels = pixels_of(mask)
    assert pixels[96, 141]
    assert not pixels[61, 111]


def test_the_network_answers_for_each_point():
    variant = find_variant("lite")
    seen = variant.channels[0] + variant.width + 3 * FINE**2
    head = MaskHead(variant).eval()
    cells = torch.randn(3, seen, CELLS, CELLS)
    with torch.inference_mode():
        logits = head(cells)
        assert logits.shape == (3, SIDE, SIDE)
        # It knows where in the box it is: mirrored cells are not answered as mirrored.
        assert not torch.allclose(head(cells.flip(3)).flip(2), logits, atol=1e-3)


def test_a_file_without_masks_is_refused(tmp_path):
    file = write_lite(tmp_path / "detector.safetensors")
    with pytest.raises(WeightsError, match="masks"):
        build_learned_segmenter(
            SegmenterRequest("lite", file),
            SharedNetworks(device="cpu"),
        )


def test_what_comes_with_masa_finds_a_disc(monkeypatch):
    monkeypatch.undo()  # the real pyramid
    weights = look_for_packaged("lite.safetensors")
    frame, truth = disc()
    box = np.float32([[108, 58, 192, 142]])
    [mask] = build_learned_segmenter(
        SegmenterRequest("lite", weights), SharedNetworks(device="cpu")
    ).segment(frame, box)
    assert overlap(pixels_of(mask), truth) > 0.9
