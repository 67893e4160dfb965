"""The detector with fixed classes: what its phrases mean, in which coordinates, and who shares."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import nn

from masa_cli.detectors import DETECTORS, BoxSettings, DetectorRequest
from masa_cli.detectors.lite import ClassDetector
from masa_cli.detectors.prompt import parse_prompt
from masa_cli.models.features import FrameFeatures, Pyramid
from masa_cli.structures import Frame

FRAME = Frame(0, Fraction(0), np.zeros((240, 320, 3), np.uint8))
FILLED = (480, 640)
# Of car, truck, dog, and of any object, which is not asked for.
LOGITS = torch.tensor([[3.0, -9, -9, 5], [-9, 2, -9, 5], [-9, -9, 1, 5], [-9, -9, -9, 9]])
BOXES = torch.tensor([[0.0, 0, 64, 48], [64, 0, 128, 48], [600, 400, 700, 500], [0, 0, 9, 9]])


class Network(nn.Module):
    def forward(self, maps):
        assert len(maps) == 5
        count = len(maps[0])
        return LOGITS.expand(count, -1, -1), BOXES.expand(count, -1, -1)


class Fusion(nn.Module):
    def forward(self, maps, levels):
        return {level: torch.zeros(len(maps), 1, 1, 1) for level in levels}


class Backbone(nn.Module):
    def __init__(self):
        super().__init__()
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        return x


def detector(text, columns, backbone=None, min_score=0.1, **choice):
    prompt = parse_prompt(text)
    settings = BoxSettings(min_score, 0.5, **choice)
    request = DetectorRequest(DETECTORS["lite"], prompt.classes, settings, prompt)
    features = FrameFeatures(
        backbone or Backbone(), lambda images: (torch.zeros(len(images), 3, 1, 1), FILLED)
    )
    pyramid = Pyramid(features, nn.Identity(), Fusion())
    return ClassDetector(Network(), pyramid, request, columns)


def test_boxes_are_in_source_pixels_and_end_at_the_border():
    (found,) = detector("car, dog", [[0], [2]]).detect([FRAME])
    assert found.boxes.tolist() == [[0, 0, 32, 24], [300, 200, 320, 240]]
    assert found.labels.tolist() == [0, 1]
    assert found.scores == pytest.approx(LOGITS[[0, 2], [0, 2]].sigmoid().numpy())


def test_a_phrase_for_several_classes_has_all_of_them():
    (found,) = detector("van", [[0, 1]]).detect([FRAME])
    assert len(found) == 2
    assert set(found.labels) == {0}


def test_every_phrase_has_its_own_threshold():
    (found,) = detector("car:0.99, truck", [[0], [1]], min_score=0.5).detect([FRAME])
    assert found.labels.tolist() == [1]
    (found,) = detector("car, truck", [[0], [1]], min_score=0.9).detect([FRAME])
    assert found.labels.tolist() == [0]


def test_the_smallest_and_the_many_are_left_out():
    (found,) = detector("thing", [[3]], min_area=200).detect([FRAME])
    assert found.boxes.tolist() == [[0, 0, 32, 24], [32, 0, 64, 24], [300, 200, 320, 240]]
    (found,) = detector("thing", [[3]], max_boxes=2).detect([FRAME])
    assert len(found) == 2
    assert found.scores[0] > found.scores[1]


def test_a_batch_shares_one_look_and_sizes_do_not_mix():
    backbone = Backbone()
    small = Frame(2, Fraction(2), np.zeros((120, 160, 3), np.uint8))
    found = detector("car", [[0]], backbone).detect(
        [FRAME, Frame(1, Fraction(1), FRAME.image), small]
    )
    assert backbone.calls == 2
    assert [each.boxes[0, 2] for each in found] == [32, 32, 16]
