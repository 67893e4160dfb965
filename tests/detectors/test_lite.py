"""The detector with fixed classes: what its phrases mean, in which coordinates, and who shares."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from masa_cli.detectors import DETECTORS, BoxSettings, DetectorRequest
from masa_cli.detectors.lite import BoxRefiner, ClassDetector
from masa_cli.detectors.prompt import parse_prompt
from masa_cli.detectors.request import request_objects, request_prompt
from masa_cli.models import SharedNetworks
from masa_cli.models.features import FrameFeatures, Pyramid
from masa_cli.models.lite_heads import ProposalSettings
from masa_cli.models.trained_weights import (
    OBJECTNESS_KEY,
    OBJECTS_ASSOCIATION_KEY,
    describe_trained,
    save_tensors,
)
from masa_cli.structures import Frame
from tests.lite_file import write_lite

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
        return {level: torch.zeros(len(maps[0]), 1, 1, 1) for level in levels}


class Backbone(nn.Module):
    def __init__(self):
        super().__init__()
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        return [x]


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


def test_logits_of_any_object_are_scaled_where_these_are_asked_for():
    plain = detector("thing", [[3]])
    scaled = ClassDetector(
        Network(), plain._pyramid, first_request("thing"), [[3]], objectness=(0.5, -1.0)
    )
    (before,), (after,) = (each.detect([FRAME]) for each in (plain, scaled))
    wanted = (0.5 * torch.tensor(before.scores).logit() - 1).sigmoid().numpy()
    assert after.boxes[: len(before)].tolist() == before.boxes.tolist()
    assert after.scores[: len(before)] == pytest.approx(wanted, abs=1e-5)


def test_the_scale_of_any_object_is_that_of_the_file_and_of_no_prompt(tmp_path):
    plain, scaled = (
        write_lite(tmp_path / f"{name}.safetensors", with_second=True)
        for name in ("plain", "scaled")
    )
    about = {**describe_trained(plain).about, OBJECTNESS_KEY: [2.0, 3.0]}
    about[OBJECTS_ASSOCIATION_KEY] = {"hybrid": ["birth_score=0.2"]}
    save_tensors(scaled, "lite", load_file(plain), about, torch.float32)
    networks, settings = SharedNetworks(device="cpu", runtime="torch"), {"min_score": 0.001}
    image = np.random.default_rng(0).integers(0, 255, (96, 128, 3), np.uint8)

    def scores(request):
        (found,) = request.build(networks).detect([Frame(0, Fraction(0), image)])
        return torch.tensor(found.scores[:10])

    before, after = (scores(request_objects(str(file), settings)) for file in (plain, scaled))
    torch.testing.assert_close(after.logit(), 2 * before.logit() + 3, atol=1e-2, rtol=0)
    prompt = parse_prompt("car")
    assert request_objects(str(scaled)).changes == {"hybrid": ("birth_score=0.2",)}
    assert request_objects(str(plain)).changes == request_prompt(prompt, str(scaled)).changes
    before, after = (
        scores(request_prompt(prompt, str(file), settings)) for file in (plain, scaled)
    )
    torch.testing.assert_close(after, before)


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


class Maps(Backbone):
    """Three maps of a picture of 480 x 640 pixels; the middle one tells where it is read."""

    def forward(self, x):
        columns = torch.arange(40.0).expand(len(x), 1, 30, 40)
        return [torch.zeros(len(x), 1, 60, 80), columns, torch.ones(len(x), 2, 15, 20)]


class Stage(nn.Module):
    """Finds what the first stage does not, a quarter of a box further to the right."""

    def __init__(self):
        super().__init__()
        self.read = []

    def forward(self, read, logits):
        self.read.append((read, logits))
        shifts = torch.tensor([0.25, 0, 0.25, 0]).expand(len(read), 4)
        return torch.cat([-logits[:, :-1], shifts], dim=1)


def with_refiner(text, columns, **settings):
    first, stage = detector(text, columns, Maps()), Stage()
    pyramid = first._pyramid
    refiner = BoxRefiner(
        stage, lambda maps: maps[1:], pyramid, (8, 16, 32), ProposalSettings(**settings)
    )
    return ClassDetector(Network(), pyramid, first_request(text), columns, refiner), stage


def first_request(text):
    prompt = parse_prompt(text)
    return DetectorRequest(DETECTORS["lite"], prompt.classes, BoxSettings(0.0001, 0.5), prompt)


def test_what_is_looked_at_again_has_other_scores_and_another_box():
    found, stage = with_refiner("car, dog", [[0], [2]])
    (seen,) = found.detect([FRAME])
    # Of the four the second is of neither, and the last of nothing at all.
    ((read, logits),) = stage.read
    assert sorted(logits.tolist()) == sorted(LOGITS[[0, 2]].tolist())
    dog, car = sorted(range(2), key=lambda row: logits[row, 0].item())
    surest = {label: seen[seen.labels == label][:1] for label in (0, 1)}
    assert surest[0].boxes.tolist() == [[305, 200, 320, 240]]  # now a car
    assert surest[1].boxes.tolist() == [[8, 0, 40, 24]]
    for own in surest.values():
        assert own.scores == pytest.approx(torch.tensor([9.0]).sigmoid().numpy())
    # In six columns over 64 pixels; of the middle map a cell has 16.
    places = read[car, 2 * 9 :][:9].view(3, 3)
    assert places[0].tolist() == pytest.approx(
        [64 / 6 / 16 - 0.5, 1.5, 320 / 6 / 16 - 0.5], abs=0.1
    )
    assert read[dog, 2 * 9 :][:9].min() > 36


def test_only_boxes_that_may_be_asked_for_are_looked_at_and_the_best_of_them():
    for text, columns, expected in (("dog", [[2]], [2]), ("van", [[0, 1]], [0, 1])):
        found, stage = with_refiner(text, columns)
        found.detect([FRAME])
        logits = stage.read[0][1].tolist()
        assert sorted(logits) == sorted(LOGITS[expected].tolist())
    found, stage = with_refiner("van", [[0, 1]], max_boxes=1)
    found.detect([FRAME])
    assert len(stage.read[0][1]) == 1
    found, stage = with_refiner("thing", [[1]], min_score=0.9)
    assert len(found.detect([FRAME])[0]) == 0
    assert stage.read == []


def test_each_frame_of_a_batch_is_looked_at_again():
    other = Frame(1, Fraction(1), FRAME.image)
    found, stage = with_refiner("car", [[0]])
    first, second = found.detect([FRAME, other])
    assert len(stage.read) == 2
    assert first.boxes.tolist() == second.boxes.tolist()
