"""Masks by a network: where it looks, and where its answers are put."""

from fractions import Fraction

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from segment_anything import SamPredictor
from segment_anything.modeling import Sam
from torch import nn

from masa_cli.errors import WeightsError
from masa_cli.masks import areas, frames_of, unpack
from masa_cli.models import SharedNetworks
from masa_cli.models.features import FrameFeatures, Pyramid
from masa_cli.models.lite_heads import CELLS, FINE, SIDE, MaskHead
from masa_cli.models.sam import SamMasks
from masa_cli.models.variants import find_variant
from masa_cli.segmenters import SegmenterRequest
from masa_cli.segmenters.networks import (
    LearnedSegmenter,
    SamSegmenter,
    build_learned_segmenter,
    points_of,
)
from masa_cli.segmenters.upsampling import WindowSettings
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


class Encoder(nn.Module):
    """Counts how often it is asked."""

    def __init__(self):
        super().__init__()
        self.neck = nn.Conv2d(8, 256, 1)
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        return [torch.zeros(len(x), 8, 64, 64)]


class Decoder(nn.Module):
    """Finds what it is asked for, and remembers it."""

    def __init__(self):
        super().__init__()
        self.prompts = []

    def forward(self, embedding, boxes):
        assert embedding.shape == (1, 256, 64, 64)
        self.prompts.append(boxes)
        logits = torch.full((len(boxes), 256, 256), -1.0)
        for place, (x1, y1, x2, y2) in enumerate((boxes / 4).round().int().tolist()):
            logits[place, y1:y2, x1:x2] = 1
        return logits, torch.ones(len(boxes))


def sam_segmenter(decoder, unpadded=(512, 1024)):
    encoder = Encoder().eval()
    features = FrameFeatures(
        encoder, lambda images: (torch.zeros(len(images), 3, 1024, 1024), unpadded)
    )
    return SamSegmenter(features, decoder, WindowSettings(margin=0.5)), encoder


def frame(index=0, size=(360, 720)):
    return Frame(index, Fraction(index), np.zeros((*size, 3), np.uint8))


def test_boxes_are_asked_for_in_the_coordinates_of_the_picture():
    decoder = Decoder()
    sam, _ = sam_segmenter(decoder)
    [mask] = sam.segment(frame(), np.float32([[90, 45, 180, 90]]))
    scale = 1024 / 720
    expected = np.float32([[90, 45, 180, 90]]) * scale
    np.testing.assert_allclose(decoder.prompts[0], expected, rtol=1e-5)
    assert mask.size == (360, 720)
    assert areas([mask])[0] == pytest.approx(90 * 45, rel=0.05)


def test_many_boxes_go_in_parts_and_come_back_in_order():
    decoder = Decoder()
    sam, encoder = sam_segmenter(decoder)
    sides = np.arange(20, 130, 10)
    boxes = np.float32([[10, 10, 10 + side, 10 + side] for side in sides])
    masks = sam.segment(frame(), boxes)
    assert max(map(len, decoder.prompts)) <= 2
    np.testing.assert_allclose(np.sqrt(areas(masks)), sides, rtol=0.1)
    assert encoder.calls == 1


def test_the_encoder_runs_once_for_a_frame():
    sam, encoder = sam_segmenter(Decoder())
    box = np.float32([[10, 10, 90, 90]])
    for index in (0, 0, 1, 1):
        sam.segment(frame(index), box)
    assert encoder.calls == 2


def test_boxes_outside_the_frame_or_without_area_are_not_asked_for():
    decoder = Decoder()
    sam, encoder = sam_segmenter(decoder)
    boxes = np.float32([[-50, 0, -10, 40], [10, 10, 90, 90], [20, 20, 20, 30]])
    masks = sam.segment(frame(), boxes)
    assert [mask is None for mask in masks] == [True, False, True]
    assert len(decoder.prompts[0]) == 1
    assert sam.segment(frame(1), boxes[:1]) == [None]
    assert encoder.calls == 1


def test_a_box_partly_outside_is_cut_off():
    decoder = Decoder()
    sam, _ = sam_segmenter(decoder)
    sam.segment(frame(), np.float32([[-30, -30, 72, 72]]))
    np.testing.assert_allclose(decoder.prompts[0], [[0, 0, 102.4, 102.4]], rtol=1e-5)


def test_frames_of_another_size_get_masks_of_that_size():
    sam, _ = sam_segmenter(Decoder())
    box = np.float32([[10, 10, 90, 90]])
    assert sam.segment(frame(0), box)[0].size == (360, 720)
    assert sam.segment(frame(1, (100, 200)), box)[0].size == (100, 200)


def test_the_decoder_of_segment_anything_makes_a_map_for_each_box():
    torch.manual_seed(0)
    masks = SamMasks().eval()
    embedding = torch.randn(1, 256, 64, 64)
    boxes = torch.tensor([[100.0, 100.0, 300.0, 200.0], [0.0, 0.0, 1024.0, 1024.0]])
    with torch.inference_mode():
        logits, quality = masks(embedding, boxes)
        alone, _ = masks(embedding, boxes[:1])
    assert logits.shape == (2, 256, 256)
    assert quality.shape == (2,)
    torch.testing.assert_close(alone[0], logits[0], rtol=1e-4, atol=1e-4)


class Noise(nn.Module):
    """Sees noise that is the same every time."""

    img_size = 1024

    def __init__(self):
        super().__init__()
        self.neck = nn.Identity()

    def forward(self, x):
        return [torch.randn(1, 256, 64, 64, generator=torch.Generator().manual_seed(1))]


@pytest.mark.parametrize("size", [(360, 719), (500, 211)], ids=str)
def test_masks_are_those_of_the_predictor_of_segment_anything(size):
    torch.manual_seed(0)
    masks, encoder = SamMasks().eval(), Noise()
    boxes = np.float32([[20.5, 30, 120, 160.25], [100, 80, 210, 200], [0, 0, size[1], size[0]]])
    predictor = SamPredictor(Sam(encoder, masks.prompt_encoder, masks.mask_decoder))
    unpadded = predictor.transform.get_preprocess_shape(*size, 1024)
    predictor.features = encoder(None)[0]
    predictor.original_size, predictor.input_size = size, unpadded
    predictor.is_image_set = True
    prompts = torch.from_numpy(predictor.transform.apply_boxes(boxes, size)).float()
    expected, _, _ = predictor.predict_torch(None, None, prompts, multimask_output=False)

    features = FrameFeatures(encoder, lambda images: (torch.zeros(1, 3, 1024, 1024), unpadded))
    anywhere = WindowSettings(margin=1e3, speck_share=0)
    found = SamSegmenter(features, masks, anywhere).segment(frame(size=size), boxes)
    for mask, pixels in zip(found, expected[:, 0].numpy(), strict=True):
        picture = np.zeros(size, bool)
        window, (x, y) = unpack(mask)
        picture[y : y + window.shape[0], x : x + window.shape[1]] = window
        assert 0.02 < pixels.mean() < 0.98
        assert (picture != pixels).mean() < 1e-4  # where float32 cannot tell the side of 0
