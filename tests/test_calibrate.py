"""weights/calibrate.py: scores that say how often they are right."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.special import expit, logit

from masa_cli.models.lite_heads import OneStage, SecondStage
from masa_cli.models.variants import find_variant


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


def test_only_logits_of_classes_change_of_whichever_stage_has_the_last_word(script):
    torch.manual_seed(0)
    lite, classes = find_variant("lite"), ("car", "cat", "dog")
    changes = [np.array(each) for each in ((2.0, -1.0), (0.5, 0.0), (1.0, 0.3))]
    scales, offsets = torch.tensor(np.array(changes), dtype=torch.float32).T
    first, second = OneStage(lite, classes), SecondStage(lite, len(classes))
    for stage in (first, second):
        stage.initialise()
    torch.nn.init.normal_(second.trust)
    own = {f"detector.{name}": tensor.clone() for name, tensor in first.state_dict().items()}
    maps = [torch.randn(1, lite.width, 4, 4)]
    with torch.no_grad():
        before, places = first(maps)
        first.load_state_dict(without_part(script.scaled(own, changes)))
        after, again = first(maps)
    torch.testing.assert_close(after[..., :3], before[..., :3] * scales + offsets)
    torch.testing.assert_close(after[..., 3], before[..., 3])  # of any object
    torch.testing.assert_close(again, places)

    own |= {f"second.{name}": tensor.clone() for name, tensor in second.state_dict().items()}
    read, logits = torch.randn(5, second.num_read), torch.randn(5, 4)
    second.eval()
    with torch.no_grad():
        before = second(read, logits)
        changed = script.scaled(own, changes)
        second.load_state_dict(without_part(changed, "second"))
        after = second(read, logits)
    torch.testing.assert_close(after[:, :3], before[:, :3] * scales + offsets)
    torch.testing.assert_close(after[:, 3:], before[:, 3:])
    assert all(changed[name] is own[name] for name in own if name.startswith("detector."))


def without_part(tensors, part="detector"):
    named = ((name.partition("."), tensor) for name, tensor in tensors.items())
    return {name: tensor for (first, _, name), tensor in named if first == part}


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
