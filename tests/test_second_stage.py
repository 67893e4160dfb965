"""weights/second_stage.py: what it learns from, and the file it makes."""

import importlib.util
import json
import subprocess
import sys
from argparse import Namespace
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from masa_cli.detectors.prompt import parse_prompt
from masa_cli.detectors.request import request_objects, request_prompt
from masa_cli.models import SharedNetworks
from masa_cli.models.lite_heads import SecondStage, read_boxes
from masa_cli.models.trained_weights import classes_of, describe_trained
from masa_cli.models.variants import find_variant
from masa_cli.sources.image_folder import read_image
from masa_cli.structures import Frame
from masa_cli.training.regions import read_regions
from tests.lite_file import write_lite

SCRIPT = Path(__file__).parents[1] / "weights/second_stage.py"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("second_stage", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules["second_stage"] = module  # its dataclasses ask for it
    spec.loader.exec_module(module)
    yield module
    del sys.modules["second_stage"]


@pytest.fixture
def photographs(tmp_path):
    """Three pictures with a red square, a ball, in each."""
    images, rows = [], []
    for number in range(3):
        image = np.full((120, 160, 3), 90, np.uint8)
        left, top = 20 + 20 * number, 30
        image[top : top + 48, left : left + 48] = (30, 30, 220)
        cv2.imwrite(str(tmp_path / f"{number}.png"), image)
        images.append({"id": number, "file_name": f"{number}.png", "height": 120, "width": 160})
        row = {"id": number, "image_id": number, "category_id": 5, "iscrowd": 0}
        rows.append(row | {"bbox": [left, top, 48, 48]})
    rows.append({"id": 8, "image_id": 0, "category_id": 81, "iscrowd": 0, "bbox": [0, 0, 9, 9]})
    rows.append({"id": 9, "image_id": 0, "category_id": 7, "iscrowd": 1, "bbox": [0, 0, 160, 120]})
    categories = [{"id": 5, "name": "sports ball"}, {"id": 7, "name": "dog"}]
    categories.append({"id": 81, "name": "object"})
    content = {"images": images, "annotations": rows, "categories": categories}
    (tmp_path / "list.json").write_text(json.dumps(content))
    return tmp_path / "list.json"


def test_a_view_shows_what_its_labels_say(script, photographs):
    regions = read_regions(photographs)
    numbers = [("dog", "sports ball", "object").index(name) for name in regions.classes]
    numbers = [-1 if number == 2 else number for number in numbers]
    labels = script.labels_of(regions[0], numbers)
    assert [(label.number, label.is_ignored) for label in labels] == [(1, False), (0, True)]
    image, random = read_image(regions.files[0]), np.random.default_rng(0)
    sides = set()
    for _ in range(30):
        view, own = script.drawn(image, labels, random)
        sides.add(max(view.shape))
        for label in own:
            if label.number != 1 or label.is_ignored:
                continue
            # Colours vary, but there is one place where red is far above the rest.
            red = view[..., 0].astype(int) - view[..., 2] > 60
            rows, columns = np.flatnonzero(red.any(1)), np.flatnonzero(red.any(0))
            seen = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
            assert np.abs(label.box - seen).max() < 0.05 * max(view.shape)
    assert min(sides) < 400
    assert max(sides) > 550


def test_a_box_that_is_mostly_outside_a_view_is_neither_right_nor_wrong(script):
    image = np.zeros((100, 200, 3), np.uint8)
    labels = [script.Label(np.float32([0, 0, 200, 4]), 0, False)]
    random = np.random.default_rng(3)
    kinds = {
        len(own) and own[0].is_ignored
        for _, own in (script.drawn(image, labels, random) for _ in range(40))
    }
    assert kinds == {False, True}


class Proposer:
    """Finds three boxes."""

    boxes = torch.tensor([[20.0, 30, 68, 78], [40, 30, 88, 78], [100, 80, 150, 110]])

    def propose(self, image):
        return torch.zeros(3, 4), torch.zeros(3, 3), self.boxes


def test_boxes_learn_the_class_and_the_place_of_what_they_overlap(script):
    truth = script.Label(np.float32([20, 30, 68, 90]), 1, False)
    unknown = script.Label(np.float32([90, 60, 160, 120]), 0, True)
    found = script.examples_of(None, [truth, unknown], Proposer(), torch.Generator())
    lessons = found.lessons
    overlaps = [0.8, 1344 / (2304 + 2880 - 1344), 0]
    assert lessons.overlaps.tolist() == pytest.approx(overlaps, abs=0.01)
    assert lessons.classes[0] == 1
    assert lessons.shifts[0].tolist() == pytest.approx([0, 0, 0, 0.25])
    assert lessons.ignored.tolist() == [[False, False], [False, False], [True, False]]


def test_gathering_goes_on_where_it_was_interrupted(script, photographs, tmp_path, monkeypatch):
    asked = []

    class Interrupted(Proposer):
        def propose(self, image):
            asked.append(image)
            if len(asked) == 4:
                raise KeyboardInterrupt
            return super().propose(image)

    monkeypatch.setattr(script, "Proposer", lambda weights: Interrupted())
    here = nullcontext(SimpleNamespace(map=map))  # in this process, one after the other
    monkeypatch.setattr(script, "ProcessPoolExecutor", lambda *_: here)
    monkeypatch.setattr(script, "PHOTOGRAPHS", 1)
    weights = write_lite(tmp_path / "detector.safetensors")
    options = Namespace(weights=weights, list=photographs, keep=[tmp_path / "kept"])
    options.cutouts, options.views, options.workers = None, 2, 1
    with pytest.raises(KeyboardInterrupt):
        script.gather_all(options)
    assert len(script.kept_in(options.keep[0])) == 1  # the second photograph's is not whole
    script.gather_all(options)
    assert len(asked) == 4 + 4
    assert len(script.kept_in(options.keep[0])) == 3
    options.views = 3
    with pytest.raises(SystemExit, match="other views"):
        script.gather_all(options)
    (options.keep[0] / script.CONDITIONS).unlink()  # as versions before left folders
    with pytest.raises(SystemExit, match="other list and views and weights"):
        script.gather_all(options)


def test_what_learned_on_one_scale_reads_what_is_on_its_own(script):
    torch.manual_seed(0)
    variant, size = find_variant("lite"), (192, 256)
    stage = SecondStage(variant, 3).eval()
    maps = [
        3 * torch.randn(1, width, size[0] // stride, size[1] // stride) + 1
        for width, stride in zip(variant.channels, variant.strides, strict=True)
    ]
    levels = [torch.randn(1, variant.width, 24 // 2**level, 32 // 2**level) for level in range(4)]
    boxes = 60 * torch.rand(40, 4)
    boxes[:, 2:] += boxes[:, :2] + 5
    wide = read_boxes(maps[1:], levels, variant.strides, boxes, size)
    logits = torch.randn(40, 4)
    scales = script.Scales(wide, variant)
    with torch.no_grad():
        on_scale = (wide - scales.middle) / scales.spread
        learned = stage(scales.narrowed(on_scale, stage), logits)
        scales.take_back(stage)
        used = stage(read_boxes(stage.narrow(maps), levels, variant.strides, boxes, size), logits)
    torch.testing.assert_close(learned, used, atol=1e-4, rtol=1e-4)


def test_a_second_stage_is_learned_and_used(photographs, tmp_path):
    weights = write_lite(tmp_path / "detector.safetensors")
    out = tmp_path / "two.safetensors"
    ball = np.full((40, 40, 4), (30, 30, 220, 255), np.uint8)
    (tmp_path / "cutouts/sports ball").mkdir(parents=True)
    cv2.imwrite(str(tmp_path / "cutouts/sports ball/0.png"), ball)
    command = [sys.executable, SCRIPT, weights, out, photographs, "--keep", tmp_path / "kept"]
    command += ["--cutouts", tmp_path / "cutouts"]
    command += ["--views", "2", "--epochs", "80", "--workers", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    before, after = load_file(weights), load_file(out)
    assert all(torch.equal(before[name], after[name]) for name in before)
    stage = SecondStage(find_variant("lite"), len(classes_of(weights)))
    own = {f"second.{name}" for name in stage.state_dict()}
    assert after.keys() - before.keys() == own
    assert describe_trained(out).about == describe_trained(weights).about
    frame = Frame(0, 0, read_image(photographs.parent / "1.png"))
    prompt, settings = parse_prompt("sports ball, dog"), {"min_score": 0.001}

    def best(file):
        (found,) = request_prompt(prompt, str(file), settings).build(networks()).detect([frame])
        return found[:1]

    def networks():
        return SharedNetworks(device="cpu")

    assert best(weights).scores[0] < 0.02
    assert best(out).scores[0] > 0.1
    assert best(out).labels[0] == 0
    # Objects of any class are those of the first stage.
    objects = [
        request_objects(str(file), settings).build(networks()).detect([frame])[0]
        for file in (weights, out)
    ]
    np.testing.assert_array_equal(objects[0].boxes, objects[1].boxes)
    np.testing.assert_array_equal(objects[0].scores, objects[1].scores)
