"""What becomes of the network's logits and boxes; the network itself is tested with the models."""

from fractions import Fraction

import numpy as np
import pytest
import torch

from masa_cli.detectors import DETECTORS, BoxSettings, Detector, DetectorRequest
from masa_cli.detectors.grounding_dino import TextDetector
from masa_cli.detectors.prompt import Caption, parse_prompt, to_captions
from masa_cli.models.features import Features
from masa_cli.models.grounding_dino_layers import Text
from masa_cli.structures import Frame
from tests.golden import golden
from tests.vocabulary import write_vocabulary

ROW = DETECTORS["gdino"]
OFF, HALF = -1e4, 0.0  # logits of the probabilities 0 and 1/2


def logit(probability):
    return float(np.log(probability / (1 - probability)))


class SaidBefore:
    """A network that answers each caption, by its number, with what it was told."""

    def __init__(self, *answers):
        self.answers = answers
        self.num_read = self.num_run = 0

    def text(self, ids, sentences):
        self.num_read += 1
        return Text(torch.full((1,), self.num_read - 1), torch.empty(0), torch.empty(0))

    def __call__(self, maps, text, *, padded, unpadded):
        self.num_run += 1
        logits, boxes = self.answers[int(text.features)]
        batch = len(maps[0])
        return logits.expand(batch, -1, -1), boxes.expand(batch, -1, -1)


class NoFeatures:
    def of(self, frames):
        return Features([torch.zeros(len(frames), 1, 1, 1)], (32, 32), (32, 32))


def detector(network, prompt, captions, settings=ROW.unfiltered):
    prompt = parse_prompt(prompt)
    request = DetectorRequest(ROW, prompt.classes, settings, prompt, queries=tuple(captions))
    return TextDetector(network, NoFeatures(), request)


def frames(count=1, size=(100, 200)):
    return [Frame(i, Fraction(i), np.zeros((*size, 3), np.uint8)) for i in range(count)]


def answer(*rows):
    """Rows of (logits of the tokens, box)."""
    return torch.tensor([row[0] for row in rows]), torch.tensor([row[1] for row in rows])


MIDDLE = (0.5, 0.5, 0.2, 0.4)
# Tokens: [CLS] a b . c . [SEP], the classes "a b" and "c".
CAPTION = Caption((101, 1, 2, 1012, 3, 1012, 102), (2, 1))


def test_the_score_of_a_class_is_the_mean_over_its_tokens():
    logits = [9, logit(0.2), logit(0.4), 9, logit(0.9), 9, 9]
    found: Detector = detector(SaidBefore(answer((logits, MIDDLE))), "a b, c", [CAPTION])
    (detections,) = found.detect(frames())
    assert found.classes == ("a b", "c")
    np.testing.assert_allclose(detections.scores, [0.9, 0.3], atol=1e-6)
    assert detections.labels.tolist() == [1, 0]  # one query, two classes
    np.testing.assert_allclose(detections.boxes, [[80, 30, 120, 70]] * 2, atol=1e-4)
    assert detections.boxes.dtype == detections.scores.dtype == np.float32


def test_classes_of_several_captions_are_numbered_through():
    first, second = Caption((101, 1, 1012, 102), (1,)), Caption((101, 2, 1012, 102), (1,))
    network = SaidBefore(
        answer(([9, logit(0.3), 9, 9], MIDDLE)), answer(([9, logit(0.6), 9, 9], (0.1, 0.5, 0.2, 1)))
    )
    (detections,) = detector(network, "x, y", [first, second]).detect(frames())
    assert detections.labels.tolist() == [1, 0]
    np.testing.assert_allclose(detections.scores, [0.6, 0.3], atol=1e-6)
    np.testing.assert_allclose(detections.boxes[0], [0, 0, 40, 100], atol=1e-4)


def test_each_class_has_its_threshold():
    logits = [9, logit(0.3), logit(0.3), 9, logit(0.5), 9, 9]
    rows = answer((logits, MIDDLE))
    for prompt, labels in (("a b, c", [1, 0]), ("a b, c:0.6", [0]), ("a b:0.31, c", [1])):
        found = detector(SaidBefore(rows), prompt, [CAPTION]).detect(frames())
        assert found[0].labels.tolist() == labels
    settings = BoxSettings(min_score=0.4)
    assert detector(SaidBefore(rows), "a b, c", [CAPTION], settings).detect(frames())[0].labels == [
        1
    ]


def test_the_weaker_of_two_boxes_in_one_place_is_left_out_on_request():
    none = [9, OFF, OFF, 9, OFF, 9, 9]
    strong, weak = [*none], [*none]
    strong[4], weak[1] = logit(0.8), logit(0.6)
    rows = answer((weak, MIDDLE), (strong, (0.5, 0.5, 0.21, 0.4)), (strong, (0.1, 0.1, 0.1, 0.1)))
    settings = BoxSettings(min_score=0.1, max_overlap=0.7)
    (detections,) = detector(SaidBefore(rows), "a b, c", [CAPTION], settings).detect(frames())
    assert detections.labels.tolist() == [1, 1]
    assert len(detector(SaidBefore(rows), "a b, c", [CAPTION]).detect(frames())[0]) == 3


def test_boxes_are_clipped_and_those_without_area_left_out():
    logits = [9, 0.0, 0.0, 9, OFF, 9, 9]
    rows = answer((logits, (0.0, 0.0, 0.2, 0.2)), (logits, (1.2, 0.5, 0.2, 0.2)))
    (detections,) = detector(SaidBefore(rows), "a b, c", [CAPTION]).detect(frames())
    np.testing.assert_allclose(detections.boxes, [[0, 0, 20, 10]], atol=1e-4)


def test_no_more_than_300_boxes_are_given():
    logits = torch.zeros(900, 7)
    boxes = torch.rand(900, 4, generator=torch.Generator().manual_seed(0)) * 0.3 + 0.2
    (detections,) = detector(SaidBefore((logits, boxes)), "a b, c", [CAPTION]).detect(frames())
    assert len(detections) == 300


def test_the_text_is_read_once_and_frames_of_one_size_share_a_pass():
    network = SaidBefore(answer(([9, HALF, HALF, 9, HALF, 9, 9], MIDDLE)))
    found = detector(network, "a b, c", [CAPTION])
    several = [*frames(2), frames(1, (50, 60))[0], *frames(1)]
    sizes = [len(detections) and detections.boxes[0, 2] for detections in found.detect(several)]
    np.testing.assert_allclose(sizes, [120, 120, 36, 120], atol=1e-4)
    assert (network.num_read, network.num_run) == (1, 2)
    assert found.detect([]) == []


def test_the_official_boxes_come_of_the_official_logits(tmp_path):
    file = golden("full/full_gdino")
    network = SaidBefore(
        (torch.from_numpy(file["gd_logits_last"]), torch.from_numpy(file["gd_boxes_last"]))
    )
    prompt = "car . person . dog. "
    captions = to_captions(parse_prompt(prompt).classes, write_vocabulary(tmp_path / "vocab.txt"))
    found = detector(network, prompt, captions).detect(frames(size=(192, 256)))[0]
    np.testing.assert_allclose(found.scores, file["gd_scores"], atol=1e-6)
    same = found.labels == file["gd_labels"]
    assert same.mean() > 0.98  # equal scores come in any order
    np.testing.assert_allclose(found.boxes[same], file["gd_boxes"][same], atol=2e-3)


@pytest.mark.parametrize("size", [(1, 1), (3, 500)])
def test_small_frames_have_boxes_too(size):
    network = SaidBefore(answer(([9, HALF, HALF, 9, HALF, 9, 9], MIDDLE)))
    assert len(detector(network, "a b, c", [CAPTION]).detect(frames(size=size))[0]) == 2
