from dataclasses import replace

import pytest
import torch

from masa_cli.training.object_prior import BACKGROUND, UNDECIDED, AssignSettings, assign, sample

SETTINGS = AssignSettings(
    positive_overlap=0.7, negative_overlap=0.3, num_samples=20, positive_share=0.5
)
OBJECTS = torch.tensor([[0.0, 0, 10, 10], [100, 100, 110, 120]])


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_boxes_stand_for_the_object_they_overlap_enough():
    boxes = torch.tensor(
        [
            [0.0, 0, 10, 10],  # IoU 1 with the first
            [0, 0, 10, 7],  # exactly 0.7
            [0, 0, 10, 6.9],  # 0.69
            [0, 0, 10, 3],  # exactly 0.3
            [0, 0, 10, 2.9],  # 0.29
            [100, 100, 110, 118],  # 0.9 with the second
            [500, 500, 600, 600],
        ]
    )
    expected = [0, 0, UNDECIDED, UNDECIDED, BACKGROUND, 1, BACKGROUND]
    assert assign(boxes, OBJECTS, SETTINGS).tolist() == expected


def test_an_objects_best_boxes_are_rescued():
    boxes = torch.tensor([[0.0, 0, 10, 4], [0, 6, 10, 10], [100, 100, 110, 102]])
    plain = assign(boxes, OBJECTS, SETTINGS)
    rescued = assign(boxes, OBJECTS, replace(SETTINGS, rescue_overlap=0.3))
    assert plain.tolist() == [UNDECIDED, UNDECIDED, BACKGROUND]
    # Both boxes of the first are as good; 0.1 with the second is too little.
    assert rescued.tolist() == [0, 0, BACKGROUND]


@pytest.mark.parametrize(("boxes", "objects"), [(0, 2), (3, 0), (0, 0)])
def test_nothing_is_background(boxes, objects):
    assigned = assign(torch.rand(boxes, 4), OBJECTS[:objects], SETTINGS)
    assert assigned.tolist() == [BACKGROUND] * boxes


def test_draws_are_bounded_and_repeatable():
    assigned = torch.tensor([0] * 50 + [BACKGROUND] * 100 + [UNDECIDED] * 5)
    positives, negatives = sample(assigned, SETTINGS, seeded())
    assert len(positives) == len(negatives) == 10
    assert (assigned[positives] == 0).all()
    assert (assigned[negatives] == BACKGROUND).all()
    assert len(set(positives.tolist())) == 10
    again = sample(assigned, SETTINGS, seeded())
    assert torch.equal(positives, again[0])
    assert not torch.equal(positives, sample(assigned, SETTINGS, seeded(1))[0])


def test_background_fills_up_unless_it_is_limited():
    assigned = torch.tensor([0] * 2 + [BACKGROUND] * 100)
    assert len(sample(assigned, SETTINGS, seeded())[1]) == 18
    limited = replace(SETTINGS, max_negatives=3)
    assert len(sample(assigned, limited, seeded())[1]) == 6
    assert len(sample(assigned[2:], limited, seeded())[1]) == 3


def test_balanced_draws_give_every_object_its_turn():
    assigned = torch.tensor([0] * 100 + [1] * 3 + [2] * 50)
    positives, _ = sample(assigned, replace(SETTINGS, balanced=True), seeded())
    counts = torch.bincount(assigned[positives], minlength=3).tolist()
    assert counts[1] == 3
    assert sorted([counts[0], counts[2]]) == [3, 4]
