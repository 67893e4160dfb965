"""weights/calibrate.py: scores that say how often they are right."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from scipy.special import expit, logit


@pytest.fixture(scope="module")
def script():
    file = Path(__file__).parents[1] / "weights/calibrate.py"
    spec = importlib.util.spec_from_file_location("calibrate", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def boxes():
    """Logits of boxes that are right as often as half of it, less 1, says."""
    random = np.random.default_rng(0)
    logits = random.normal(0, 2, 20_000)
    return logits, (random.random(20_000) < expit(0.5 * logits - 1)).astype(float)


def test_scale_and_offset_are_found(script, boxes):
    found = script.platt(*boxes, np.array([1.0, 0.0]), 0.0)
    assert found == pytest.approx([0.5, -1], abs=0.05)
    logits, right = boxes
    assert script.error(logits, right) > 0.1
    assert script.error(found[0] * logits + found[1], right) < 0.02


def test_a_class_of_few_boxes_follows_all_the_others(script, boxes):
    prior = np.array([2.0, 0.5])
    few = tuple(column[:3] for column in boxes)
    assert script.platt(*few, prior, script.PULL) == pytest.approx(prior, abs=0.15)


def test_boxes_are_judged_by_cocos_rules(script):
    truth = {
        "images": [{"id": 1}],
        "categories": [{"id": 1}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 10, 10], "area": 100}
            | {"iscrowd": 0},
            {"id": 2, "image_id": 1, "category_id": 1, "bbox": [50, 50, 40, 40], "area": 1600}
            | {"iscrowd": 1},
        ],
    }
    places = {0.9: [0, 0, 10, 10], 0.8: [1, 0, 10, 10], 0.7: [30, 0, 9, 9], 0.6: [60, 60, 9, 9]}
    found = [
        {"image_id": 1, "category_id": 1, "bbox": box, "score": score}
        for score, box in places.items()
    ]
    logits, right = script.judged(truth, found)[1]
    assert expit(logits).round(3).tolist() == [0.9, 0.8, 0.7]  # what is in a crowd is left out
    assert right.tolist() == [1, 0, 0]
    assert logit(0.9) == pytest.approx(logits[0])
