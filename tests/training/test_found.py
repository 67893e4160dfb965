"""What validation of a detector says."""

import numpy as np
import pytest
import torch

from masa_cli.training.average_precision import average_precisions, rows_of
from masa_cli.training.found import found_in_pairs
from masa_cli.training.pairs import Pair, View

BOX = np.array([[10.0, 10, 30, 40], [40, 10, 60, 40]])


def scored(rows, scores):
    return [row | {"score": score} for row, score in zip(rows, scores, strict=True)]


def test_all_found_and_nothing_else_is_one():
    truth = rows_of(1, BOX, [1, 2])
    assert average_precisions(truth, scored(truth, [0.9, 0.2]), [1]) == pytest.approx({1: 1, 2: 1})


def test_what_is_not_found_or_wrong_costs():
    truth = rows_of(1, BOX, [1, 1])
    half = average_precisions(truth, scored(truth[:1], [0.9]), [1])[1]
    assert half == pytest.approx(0.5, abs=0.01)
    wrong = rows_of(1, BOX[:1] + 30, [1])
    worse = average_precisions(truth, scored([*wrong, *truth], [0.9, 0.8, 0.7]), [1])[1]
    assert half < worse < 1
    assert average_precisions(truth, [], [1]) == {1: 0.0}


def test_what_lies_where_nothing_is_known_costs_nothing():
    truth = rows_of(1, BOX, [1, 1])
    ignored = [truth[0], truth[1] | {"iscrowd": 1}]
    assert average_precisions(ignored, scored(truth, [0.5, 0.9]), [1]) == pytest.approx({1: 1})


def test_a_detector_is_asked_for_both_views():
    none = np.empty((0, 4), np.float32), np.empty(0, np.int64)
    boxes, labels = BOX.astype(np.float32), np.array([0, 1])
    view = View(np.zeros((64, 64, 3), np.uint8), boxes, labels + 1, labels, *none)

    class Network:
        device = torch.device("cpu")

        def look(self, batch):
            views = type("Views", (), {"maps": {0: torch.zeros(1)}})
            key, reference = views(), views()
            key.instances, reference.instances = batch.keys, batch.references
            return type("Seen", (), {"key": key, "reference": reference, "size": 64})()

    def says(first):
        logits = torch.full((1, 2, 3), -9.0)
        logits[0, 0, 0] = 3
        logits[0, 1, 1] = first
        return lambda maps: (logits, torch.tensor(boxes)[None])

    pair = Pair(view, view, 0)
    assert found_in_pairs(Network(), says(3.0), [pair]) == pytest.approx(1)
    assert found_in_pairs(Network(), says(-9.0), [pair]) == pytest.approx(0.5)
