"""Detectors of transformers: the library's own boxes, from a folder that it wrote itself."""

import json
import shutil
from fractions import Fraction

import numpy as np
import pytest
import torch
import transformers

from masa_cli.detectors.hugging_face import ReadOnce
from masa_cli.detectors.prompt import parse_prompt
from masa_cli.detectors.request import request_prompt
from masa_cli.errors import SettingsError, UsageError, WeightsError
from masa_cli.models import SharedNetworks
from masa_cli.structures import Frame
from tests.tiny_detectors import CLOSED, OPEN, write

SIZE = (90, 160)
ALL = {"min_score": 0.0, "max_overlap": 1.0}
WORDS = "red hat, dog"


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A folder of each kind of model."""
    place = tmp_path_factory.mktemp("models")
    made = {}

    def folder(kind):
        if kind not in made:
            made[kind] = write(kind, place / kind)
        return made[kind]

    yield folder
    shutil.rmtree(place)


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def refuse(*arguments, **named):
        raise AssertionError("something asks the network")

    monkeypatch.setattr("requests.Session.request", refuse)


def frames(count=2, size=SIZE):
    pictures = np.random.default_rng(3).integers(0, 255, (count, *size, 3), np.uint8)
    return [Frame(i, Fraction(i), picture) for i, picture in enumerate(pictures)]


def request(folder, prompt=None, settings=ALL):
    wanted = parse_prompt(prompt) if prompt else None
    return request_prompt(wanted, f"hf:{folder}", settings)


def by_score(boxes, scores, labels):
    order = np.lexsort((labels, boxes[:, 0], -scores))
    return boxes[order], scores[order], labels[order]


def check_same(found, reference):
    boxes, scores, labels = (reference[key].numpy() for key in ("boxes", "scores", "labels"))
    inside = (boxes[:, 0] < SIZE[1]) & (boxes[:, 1] < SIZE[0]) & (boxes[:, 2:] > 0).all(1)
    inside &= (boxes[:, 2:] > boxes[:, :2]).all(1) & (labels < 3)
    expected = by_score(boxes[inside], scores[inside], labels[inside])
    assert len(found)
    for own, other in zip(by_score(found.boxes, found.scores, found.labels), expected, strict=True):
        np.testing.assert_allclose(own, other, atol=1e-3)


@pytest.mark.parametrize("kind", CLOSED)
def test_one_with_classes_gives_the_boxes_of_the_library(kind, folders):
    folder = folders(kind)
    processor = transformers.AutoImageProcessor.from_pretrained(folder)
    model = transformers.AutoModelForObjectDetection.from_pretrained(folder).eval()
    with torch.inference_mode():
        outputs = model(**processor([f.image for f in frames()], return_tensors="pt"))
    expected = processor.post_process_object_detection(
        outputs, threshold=0.0, target_sizes=[SIZE] * 2
    )
    detector = request(folder).build(SharedNetworks())
    assert detector.classes == ("cat", "person", "traffic_light")
    for found, reference in zip(detector.detect(frames()), expected, strict=True):
        check_same(found, reference)


@pytest.mark.parametrize("kind", ["owlvit", "owlv2", "omdet-turbo"])
def test_one_for_words_gives_the_boxes_of_the_library(kind, folders):
    folder = folders(kind)
    processor = transformers.AutoProcessor.from_pretrained(folder)
    model = transformers.AutoModelForZeroShotObjectDetection.from_pretrained(folder).eval()
    images = [f.image for f in frames()]
    inputs = processor(images=images, text=[["red hat", "dog"]] * 2, return_tensors="pt")
    inputs.pop("pixel_mask", None)
    with torch.inference_mode():
        outputs = model(**inputs)
    more = {"nms_threshold": 1.0} if kind == "omdet-turbo" else {}
    expected = processor.post_process_grounded_object_detection(
        outputs, threshold=0.0, target_sizes=[SIZE] * 2, **more
    )
    detector = request(folder, WORDS).build(SharedNetworks())
    assert detector.classes == ("red hat", "dog")
    for found, reference in zip(detector.detect(frames()), expected, strict=True):
        check_same(found, reference)


@pytest.mark.parametrize("kind", ["grounding-dino", "mm-grounding-dino"])
def test_a_phrase_of_a_caption_scores_the_mean_of_its_tokens(kind, folders):
    folder = folders(kind)
    processor = transformers.AutoProcessor.from_pretrained(folder)
    model = transformers.AutoModelForZeroShotObjectDetection.from_pretrained(folder).eval()
    images = [f.image for f in frames(1)]
    inputs = processor(images=images, text=["red hat. dog."], return_tensors="pt")
    assert inputs.input_ids.tolist() == [[2, 6, 7, 5, 8, 5, 3]]
    with torch.inference_mode():
        outputs = model(**inputs)
    chances = outputs.logits[0].sigmoid()
    scores = torch.stack([chances[:, 1:3].mean(1), chances[:, 4]], 1)
    x, y, w, h = (outputs.pred_boxes[0] * torch.tensor([*SIZE[::-1], *SIZE[::-1]])).T
    boxes = torch.stack([x - w / 2, y - h / 2, x + w / 2, y + h / 2], 1)
    expected = {
        "boxes": boxes.repeat_interleave(2, 0),
        "scores": scores.flatten(),
        "labels": torch.tensor([0, 1] * len(boxes)),
    }
    (found,) = request(folder, WORDS).build(SharedNetworks()).detect(frames(1))
    check_same(found, expected)


@pytest.mark.parametrize("kind", OPEN)
def test_words_are_read_once_for_a_prompt(kind, folders, monkeypatch):
    detector = request(folders(kind), WORDS).build(SharedNetworks())
    model = detector._model
    text = next((m.network for m in model.modules() if isinstance(m, ReadOnce)), None)
    text = text or model.language_backbone
    calls = []
    text.register_forward_hook(lambda *arguments: calls.append(1))
    for _ in range(4):
        detector.detect(frames(2))
    # OmDet reads its task beside its classes.
    assert len(calls) == (2 if kind == "omdet-turbo" else 1)


def test_frames_of_several_sizes_come_back_in_order(folders):
    detector = request(folders("rt_detr")).build(SharedNetworks())
    mixed = [*frames(2), *frames(1, (60, 60)), *frames(1)]
    together = detector.detect(mixed)
    for one, found in zip(mixed, together, strict=True):
        np.testing.assert_allclose(detector.detect([one])[0].boxes, found.boxes, atol=1e-3)


def test_a_prompt_chooses_among_the_classes(folders):
    wanted = request(folders("rt_detr"), "people, traffic light")
    assert wanted.classes == ("people", "traffic light")
    assert wanted.queries[-1].meanings == ((1,), (2,))
    with pytest.raises(SettingsError, match='does not know "unicorn"') as caught:
        request(folders("rt_detr"), "unicorn")
    assert caught.value.fix.endswith("cat, person, traffic_light")


def test_one_for_words_needs_words(folders):
    with pytest.raises(UsageError, match="nothing says which objects to track"):
        request(folders("owlvit"))


def test_another_size_is_taken_where_the_model_can(folders):
    detector = request(folders("detr")).build(SharedNetworks(side=64))
    assert detector._size == {"size": {"shortest_edge": 64, "longest_edge": 64}}
    assert len(detector.detect(frames(1))) == 1
    with pytest.raises(SettingsError, match=r"--imgsz 64: .* takes images of one size"):
        request(folders("owlv2"), WORDS).build(SharedNetworks(side=64))


@pytest.fixture
def broken(folders, tmp_path):
    """A copy of a good model, to be damaged."""
    return shutil.copytree(folders("rt_detr"), tmp_path / "model")


def refused(folder, pattern, **asked):
    with pytest.raises(WeightsError, match=pattern) as caught:
        request(folder, **asked).build(SharedNetworks())
    return caught.value.fix


def test_a_model_that_is_not_here_is_told_with_the_way_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    fix = refused("owner/none", "the model owner/none is not on this machine")
    assert "masa weights pull hf:owner/none" in fix
    refused("", "after hf: is not on this machine")


def test_a_folder_that_is_no_model_is_told(tmp_path, broken):
    refused(tmp_path, "has no config.json")
    (broken / "preprocessor_config.json").unlink()
    refused(broken, "lacks preprocessor_config.json")
    (broken / "config.json").write_text("{")
    refused(broken, "cannot be read")


def test_another_family_is_told(broken):
    settings = json.loads((broken / "config.json").read_text())
    (broken / "config.json").write_text(json.dumps(settings | {"model_type": "bert"}))
    fix = refused(broken, 'a model of type "bert", which is no known detector')
    assert "rt_detr" in fix


def test_only_safetensors_are_read(broken):
    (broken / "model.safetensors").rename(broken / "pytorch_model.bin")
    refused(broken, "no weights in safetensors, and others may run code")


def test_damaged_weights_and_those_of_another_model_are_told(broken, folders):
    file = broken / "model.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    refused(broken, "cannot be loaded")
    shutil.copy(folders("yolos") / "model.safetensors", file)
    refused(broken, "lacks .* weights of a rt_detr")
