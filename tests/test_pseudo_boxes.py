"""weights/pseudo_boxes.py: where it detects, and what it trusts."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("ensemble_boxes", reason="labels are made once: pip install ensemble-boxes")


@pytest.fixture(scope="module")
def script():
    file = Path(__file__).parents[1] / "weights/pseudo_boxes.py"
    spec = importlib.util.spec_from_file_location("pseudo_boxes", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def bright(image):
    """A detector that sees whatever is white, as long as it is a tenth of what it looks at."""
    rows, columns = np.nonzero(image[..., 0] == 255)
    if not len(rows) or np.ptp(columns) + 1 < image.shape[1] / 10:
        return np.empty((0, 4)), np.empty(0), np.empty(0, int)
    box = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    return np.array([box], float), np.array([0.9]), np.array([3])


@pytest.mark.parametrize("place", [(10, 10), (180, 10), (10, 85), (180, 85)])
def test_small_objects_are_seen_from_near_at_their_place(script, place):
    x, y = place
    image = np.zeros((100, 200, 3), np.uint8)
    image[y : y + 8, x : x + 15] = 255
    assert not len(bright(image)[0])
    boxes, scores, labels = script.closer(bright)(image)
    assert boxes == pytest.approx(np.array([[x, y, x + 15, y + 8]]), abs=1e-3)
    assert scores.tolist() == pytest.approx([0.9])
    assert labels.tolist() == [3]


def test_what_the_edge_of_a_part_cuts_off_is_left_to_the_others(script):
    image = np.zeros((100, 200, 3), np.uint8)
    image[40:60, 70:130] = 255  # over the edges of all parts
    boxes, _, _ = script.closer(bright)(image)
    assert boxes == pytest.approx(np.array([[70, 40, 130, 60]]), abs=1e-3)
