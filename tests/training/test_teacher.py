"""A detector that training imitates, and the list of photographs it is asked about."""

import csv
import json
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import openvino
import pytest
import torch
from openvino import opset13 as ops

from masa_cli.detectors.prompt import load_vocabulary
from masa_cli.errors import SettingsError
from masa_cli.models.trained_weights import classes_of
from masa_cli.progress import RunProgress
from masa_cli.training.augmentations import AugmentationSettings, degraded
from masa_cli.training.batches import Instances
from masa_cli.training.detection import DetectionSettings, lesson_losses
from masa_cli.training.pairs import PairMaker, View, reduced, repeat_factors
from masa_cli.training.recipe import TrainJob, find_recipe
from masa_cli.training.recorder import Listener
from masa_cli.training.regions import Regions, RegionSet, box_outline, read_regions
from masa_cli.training.teacher import STRIDES, Lesson, Teacher
from masa_cli.training.training_run import train

COCO = load_vocabulary().classes
SIZE, BINS, SURE = 64, 8, 20.0


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """A network that sees a cat at the cell in row 1, column 2 of stride 8, if there is light.

    Its sides are 1, 2, 3 and 4 strides.
    """
    image = ops.parameter([1, 3, SIZE, SIZE], np.float32, name="image")
    light = ops.reduce_mean(image, [1, 2, 3], keep_dims=False)  # 0 for a view of the mean colour
    is_light = ops.convert(ops.greater(light, ops.constant(np.float32(1))), "f32")
    outputs = []
    for stride in STRIDES:
        count = -(-SIZE // stride)
        scores = np.zeros((1, count**2, len(COCO)), np.float32)
        if stride == STRIDES[0]:
            scores[0, count + 2, COCO.index("cat")] = 0.75
        outputs.append(ops.multiply(ops.constant(scores), is_light))
    for stride in STRIDES:
        count = -(-SIZE // stride)
        bins = np.zeros((1, count**2, 4, BINS), np.float32)
        bins[..., range(4), [1, 2, 3, 4]] = SURE
        flat = ops.constant(bins.reshape(1, count**2, 4 * BINS))
        outputs.append(ops.add(flat, ops.multiply(light, ops.constant(np.float32(0)))))
    path = tmp_path_factory.mktemp("teacher") / "teacher.xml"
    openvino.save_model(openvino.Model(outputs, [image]), path, compress_to_fp16=False)
    return path


def test_it_tells_scores_and_boxes_of_each_cell(file):
    teacher = Teacher(file, ["dog", "cat", "unicorn"], SIZE)
    lesson = pickle.loads(pickle.dumps(teacher))(np.full((SIZE, SIZE, 3), 255, np.uint8))
    cells = sum((-(-SIZE // stride)) ** 2 for stride in STRIDES)
    assert lesson.scores.shape == (cells, 3)
    assert lesson.boxes.shape == (cells, 4)
    cell = SIZE // 8 + 2
    assert np.argwhere(lesson.scores).tolist() == [[cell, 1]]
    assert lesson.scores[cell, 1] == 0.75
    middle = np.array([2.5, 1.5]) * 8
    wanted = [middle[0] - 8, middle[1] - 16, middle[0] + 24, middle[1] + 32]
    assert lesson.boxes[cell].tolist() == pytest.approx(wanted, abs=0.05)


def test_it_sees_what_the_view_shows(file):
    black = np.zeros((SIZE, SIZE, 3), np.uint8)
    assert not Teacher(file, COCO, SIZE)(black).scores.any()


def test_a_file_that_is_no_teacher_is_told(file, tmp_path):
    with pytest.raises(SettingsError, match=r"64 x 64 pixels, the views have 96"):
        Teacher(file, COCO, 96)
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"nothing")
    with pytest.raises(SettingsError, match="cannot be read"):
        Teacher(broken, COCO, SIZE)
    image = ops.parameter([1, 3, SIZE, SIZE], np.float32)
    other = tmp_path / "other.xml"
    openvino.save_model(openvino.Model([ops.relu(image)], [image]), other)
    with pytest.raises(SettingsError, match="outputs of the shapes"):
        Teacher(other, COCO, SIZE)


def test_a_run_learns_from_it_and_keeps_objects_out_of_the_classes(file, tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), np.full((64, 64, 3), 200, np.uint8))
    images = [{"id": n, "file_name": "a.png", "width": 64, "height": 64} for n in (1, 2)]
    rows = [
        {"id": n, "image_id": of, "category_id": category, "bbox": [8, 8, 40, 40], "area": 1600}
        for n, (of, category) in enumerate([(1, 1), (1, 2), (2, 1)])
    ]
    images[1]["file_name"] = "b.png"
    cv2.imwrite(str(tmp_path / "b.png"), np.full((64, 64, 3), 250, np.uint8))
    categories = [{"id": 1, "name": "object"}, {"id": 2, "name": "cat"}]
    content = {"images": images, "annotations": rows, "categories": categories}
    (tmp_path / "regions.json").write_text(json.dumps(content))
    changes = ["views.size=64", "views.mix_chance=0", "run.steps=2", "run.batch=2", "run.part=2"]
    recipe = find_recipe("lite", "lite-detector").changed([*changes, "run.validate_every=2"])
    job = TrainJob((tmp_path,), recipe, tmp_path / "run", device="cpu", teacher=file)
    train(job, RunProgress(), Listener())
    (first, *_) = csv.DictReader(job.losses.open())
    assert float(first["loss lesson score"]) > 0
    assert classes_of(job.last) == ("cat",)


def test_a_reduced_view_is_told_of_the_cells_that_it_has(file):
    image = np.full((SIZE, SIZE, 3), 255, np.uint8)
    lesson = Teacher(file, COCO, SIZE)(image)
    box, label = np.array([[8, 8, 40, 40]], np.float32), np.array([0])
    ignored = np.array([[0, 0, 64, 32]], np.float32)
    view = View(image, box, np.array([1]), label, ignored, label, lesson)
    half = reduced(view, 2)
    assert half.image.shape == (32, 32, 3)
    assert half.boxes.tolist() == [[4, 4, 20, 20]]
    assert half.ignored_boxes.tolist() == [[0, 0, 32, 16]]
    cells = [(-(-32 // stride)) ** 2 for stride in (8, 16, 32)]
    assert len(half.lesson.scores) == len(half.lesson.boxes) == sum(cells)
    # The first cell of stride 16 of the view is the first of stride 8 of its half.
    first = lesson.boxes[(SIZE // 8) ** 2].astype(float)
    assert half.lesson.boxes[0].tolist() == pytest.approx((first / 2).tolist(), abs=0.05)
    assert reduced(view, 1) is view
    without = reduced(replace(view, lesson=Lesson.nothing()), 2)
    assert len(without.lesson.scores) == 0


def taught(scores, boxes):
    nothing, none = torch.empty(0, 4), torch.empty(0, dtype=torch.int64)
    return Instances(nothing, none, none, nothing, none, scores, boxes)


def test_losses_vanish_where_the_network_says_what_the_teacher_says():
    scores = torch.tensor([[0.8, 0.0], [0.0, 0.0]])
    boxes = torch.tensor([[0.0, 0, 10, 10], [5, 5, 9, 9]])
    view = taught(scores, boxes)
    same = torch.logit(torch.tensor([[0.8, 0, 0.8], [0, 0, 0.9], [0.9, 0.9, 0.9]]), eps=1e-6)
    own = torch.cat([boxes, torch.zeros(1, 4)])  # a third cell, which it says nothing about
    good = lesson_losses(same, own, view, DetectionSettings())
    assert float(sum(good.values())) < 1e-3
    moved = lesson_losses(same, own + 4, view, DetectionSettings())
    assert float(moved["lesson place"]) > 0.3
    assert float(moved["lesson score"]) == pytest.approx(float(good["lesson score"]))
    wrong = lesson_losses(-same, own, view, DetectionSettings())
    assert float(wrong["lesson score"]) > 1


def test_any_object_is_learned_only_where_the_teacher_sees_one():
    view = taught(torch.tensor([[0.8], [0.0]]), torch.tensor([[0.0, 0, 8, 8], [0, 0, 8, 8]]))
    logits = torch.zeros(2, 2, requires_grad=True)
    sum(lesson_losses(logits, view.lesson_boxes, view, DetectionSettings()).values()).backward()
    assert logits.grad[0, -1] < 0  # there is one
    assert logits.grad[1, 0] > 0  # none of this class, but
    assert logits.grad[1, -1] == 0  # perhaps of another


def region_set(labels):
    box = np.array([[0, 0, 9, 9]], np.float32)
    images = [
        Regions(Path("a.png"), (10, 10), box, np.array([label]), (box_outline(box[0]),))
        for label in labels
    ]
    return RegionSet.of(images, ["a", "b"])


def test_images_of_rare_classes_are_drawn_more_often():
    regions = region_set([0] * 15 + [1])
    factors = repeat_factors(regions, below=0.25)
    assert factors.tolist() == pytest.approx([1.0] * 15 + [2.0])  # the root of 0.25 / 0.0625
    assert repeat_factors(regions, below=0.0).tolist() == [1.0] * 16
    ignored = region_set([0] * 15 + [~1])
    assert repeat_factors(ignored, below=0.25)[-1] == 1
    maker = PairMaker(regions, AugmentationSettings(repeat_below=0.25), seed=0)
    drawn = [maker._drawn(np.random.default_rng(number)) for number in range(4000)]
    assert np.mean(np.array(drawn) == 15) == pytest.approx(2 / 17, abs=0.02)


def test_views_are_spoiled_as_video_is():
    image = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    same = degraded(image, AugmentationSettings(), np.random.default_rng(0))
    assert np.array_equal(same, image)
    for changes in ({"blur_chance": 1.0}, {"jpeg_chance": 1.0}):
        spoiled = [
            degraded(image, AugmentationSettings(**changes), np.random.default_rng(seed))
            for seed in (0, 0, 1)
        ]
        assert np.array_equal(spoiled[0], spoiled[1])
        assert not np.array_equal(spoiled[0], spoiled[2])
        assert (
            np.diff(spoiled[0].astype(int), axis=0).std() < np.diff(image.astype(int), axis=0).std()
        )
        assert abs(float(spoiled[0].mean()) - float(image.mean())) < 2


@pytest.fixture
def sets(tmp_path):
    categories = [{"id": 3, "name": "car"}, {"id": 7, "name": "dragon"}]

    def write(name, info, images, rows):
        (tmp_path / name).mkdir()
        content = {"info": info, "images": images, "categories": categories, "annotations": rows}
        (tmp_path / name / "annotations.json").write_text(json.dumps(content))
        return tmp_path / name

    def image(number, **more):
        return {"id": number, "file_name": f"{number}.jpg", "width": 50, "height": 40} | more

    def row(number, of, category, **more):
        return {"id": number, "image_id": of, "category_id": category, "bbox": [1, 2, 8, 9]} | more

    whole = write(
        "whole",
        {"complete_for": list(COCO)},
        [image(1), image(2)],
        [row(1, 1, 3), row(2, 1, 7), row(3, 1, 3, iscrowd=1), row(4, 2, 3)],
    )
    partial = write(
        "partial", {}, [image(1, complete_for=["car"]), image(2)], [row(1, 1, 3), row(2, 2, 3)]
    )
    return whole, partial


def test_the_list_says_where_nothing_is_known(sets, tmp_path):
    whole, partial = sets
    out = tmp_path / "list.json"
    script = Path(__file__).parents[2] / "weights/photographs.py"
    command = [sys.executable, script, out, whole, partial, "--hold-out", whole, "2"]
    subprocess.run([*map(str, command)], check=True, capture_output=True)
    regions = read_regions(out)
    assert regions.classes == (*COCO, "object")
    assert [file.resolve() for file in regions.files] == [
        whole / "1.jpg",
        partial / "1.jpg",
        partial / "2.jpg",
    ]
    car, object_ = COCO.index("car"), len(COCO)
    assert sorted(regions[0].labels.tolist()) == sorted([car, object_, ~car])
    first = regions[1]
    ignored = {~label for label in first.labels.tolist() if label < 0}
    assert ignored == set(range(len(COCO) + 1)) - {car}
    assert (first.boxes[first.labels < 0] == (0, 0, 50, 40)).all()
    assert regions[2].labels.tolist() == [car]
