"""Finding everything: what is given on, in which coordinates, and how often the network looks."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import nn

from masa_cli.detectors import DETECTORS, BoxSettings
from masa_cli.detectors.class_agnostic import GridDetector, ObjectDetector
from masa_cli.masks import frames_of
from masa_cli.models.adapter import Adapter
from masa_cli.models.features import FrameFeatures, Pyramid
from masa_cli.models.heads import EmbeddingHead
from masa_cli.models.sam import SamMasks
from masa_cli.models.variants import VARIANTS
from masa_cli.structures import Frame

FRAME = Frame(0, Fraction(0), np.zeros((200, 400, 3), np.uint8))
FILLED = (512, 1024)
SETTINGS = DETECTORS["sam-b"].settings


class Encoder(nn.Module):
    img_size = 1024

    def __init__(self):
        super().__init__()
        self.neck = nn.Conv2d(4, 256, 1)
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        generator = torch.Generator().manual_seed(0)
        return [torch.randn(len(x), 4, 64, 64, generator=generator)] * 4


class Fusion(nn.Module):
    calls = 0

    def forward(self, maps, levels):
        self.calls += 1
        sides = (64, 32, 16, 8, 4)
        count = len(maps[0])
        return {level: torch.ones(count, 256, sides[level], sides[level]) for level in levels}


class Finder(nn.Module):
    """Three boxes in the picture, the best first."""

    def forward(self, maps, size):
        assert len(maps) == 5
        assert size == FILLED
        boxes = [[0, 0, 1024, 512], [100, 100, 356, 228], [0, 0, 10, 10]]
        return torch.tensor(boxes, dtype=torch.float32), torch.tensor([0.9, 0.5, 0.4])


def features():
    return FrameFeatures(
        Encoder().eval(), lambda images: (torch.zeros(len(images), 3, 1024, 1024), FILLED)
    )


def pyramid():
    return Pyramid(features(), nn.Identity(), Fusion())


def test_boxes_are_in_source_pixels_the_best_first():
    [found] = ObjectDetector(Finder(), pyramid(), SETTINGS).detect([FRAME])
    np.testing.assert_allclose(found.boxes[0], [0, 0, 400, 200])
    np.testing.assert_allclose(found.boxes[1], np.array([100, 100, 356, 228]) * (400 / 1024))
    np.testing.assert_allclose(found.scores, [0.9, 0.5, 0.4])
    assert found.labels.tolist() == [0, 0, 0]


def test_small_boxes_are_left_out_before_the_best_are_chosen():
    settings = replace(SETTINGS, min_area=20)
    [found] = ObjectDetector(Finder(), pyramid(), settings).detect([FRAME])
    assert len(found) == 2
    [found] = ObjectDetector(Finder(), pyramid(), replace(SETTINGS, max_boxes=1)).detect([FRAME])
    assert found.scores.tolist() == pytest.approx([0.9])


def test_detector_and_adapter_look_at_a_frame_once():
    shared = pyramid()
    head = EmbeddingHead().eval()
    detector = ObjectDetector(Finder(), shared, SETTINGS)
    adapter = Adapter(VARIANTS["sam-b"], shared, head, torch.device("cpu"))
    frames = [Frame(index, Fraction(index), FRAME.image) for index in range(2)]
    found = detector.detect(frames)
    embeddings = adapter.embed(frames, [each.boxes for each in found])
    assert [each.shape for each in embeddings] == [(3, 256)] * 2
    assert shared.features.network.calls == 1
    assert shared._fusion.calls == 1


@pytest.fixture(scope="module")
def decoder():
    torch.manual_seed(0)
    masks = SamMasks().eval()
    with torch.no_grad():  # it thinks well of its masks
        masks.mask_decoder.iou_prediction_head.layers[-1].bias += 1
    return masks


def grid(decoder, **thresholds):
    """The detector with a grid of 3 x 3 points and other thresholds."""
    detector = GridDetector(
        features(), decoder, BoxSettings(min_score=0, max_overlap=1, max_boxes=50)
    )
    generator = detector._generator
    places = np.array([0.2, 0.5, 0.8])
    generator.point_grids = [np.stack(np.meshgrid(places, places), -1).reshape(-1, 2)]
    for name, value in thresholds.items():
        setattr(generator, name, value)
    return detector


def test_the_grid_gives_masks_and_boxes_around_them(decoder):
    detector = grid(decoder, pred_iou_thresh=0, stability_score_thresh=-1)
    [found] = detector.detect([FRAME])
    assert len(found) > 1
    assert found.masks[0].size == (200, 400)
    np.testing.assert_array_equal(frames_of(found.masks), found.boxes)
    assert (np.diff(found.scores) <= 0).all()
    assert detector._predictor._shared.network.calls == 1


def test_the_grid_may_find_nothing(decoder):
    """As in a frame of one colour."""
    [found] = grid(decoder, pred_iou_thresh=10).detect([FRAME])
    assert len(found) == 0
