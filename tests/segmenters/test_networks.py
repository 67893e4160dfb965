"""Masks by Segment Anything: where it looks, and where its answers are put."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from segment_anything import SamPredictor
from segment_anything.modeling import Sam
from torch import nn

from masa_cli.masks import areas, unpack
from masa_cli.models.features import FrameFeatures
from masa_cli.models.sam import SamMasks
from masa_cli.segmenters.networks import (
    SamSegmenter,
)
from masa_cli.segmenters.upsampling import WindowSettings
from masa_cli.structures import Frame


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
