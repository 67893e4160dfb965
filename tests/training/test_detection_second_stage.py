"""The objective of the second stage."""

import pytest
import torch

from masa_cli.models.lite_heads import SecondStage
from masa_cli.models.variants import find_variant
from masa_cli.training.batches import Instances
from masa_cli.training.detection import (
    Lessons,
    SecondStageLossSettings,
    draw_boxes,
    lessons_of,
    losses_of_boxes,
    second_stage_losses,
)
from masa_cli.training.object_prior import BatchFeatures, ViewFeatures
from tests.training.networks import fitted

LITE, SIZE, CLASSES = find_variant("lite"), 96, 2
NOTHING = torch.empty(0, 4), torch.empty(0, dtype=torch.int64)


def instances(boxes, labels, ignored=NOTHING):
    labels = torch.tensor(labels)
    return Instances(torch.tensor(boxes), torch.arange(len(labels)), labels, *ignored)


def test_objects_of_no_class_that_is_told_apart_teach_nothing():
    boxes = torch.tensor([[0.0, 0, 10, 10], [20, 20, 40, 40]])
    region = torch.tensor([[15.0, 15, 50, 50]]), torch.tensor([CLASSES])
    found = lessons_of(boxes, instances([[0.0, 0, 10, 10]], [CLASSES], region), CLASSES)
    assert found.overlaps.tolist() == [0, 0]
    assert not found.ignored.any()


def test_of_wrong_boxes_the_best_are_drawn_and_some_others():
    settings = SecondStageLossSettings(most_right=2, best_wrong=3, other_wrong=2)
    overlaps = torch.tensor([0.9, 0, 0.1, 0.6, 0, 0.8, 0, 0, 0, 0])
    rows = draw_boxes(overlaps, settings, torch.Generator().manual_seed(0)).tolist()
    assert rows[:5] == [0, 3, 1, 2, 4]
    assert len(rows) == 7
    assert set(rows[5:]) < {6, 7, 8, 9}


def gradient(overlap, ignored=False):
    """Of the loss by the logits of two classes, for a box that overlaps one of the second."""
    logits = torch.zeros(1, 6, requires_grad=True)
    lessons = Lessons(
        torch.tensor([1]),
        torch.tensor([overlap]),
        torch.full((1, 4), 0.1),
        torch.tensor([[ignored, ignored]]),
    )
    sum(losses_of_boxes(logits, lessons, SecondStageLossSettings())).backward()
    return logits.grad[0].tolist()


def test_what_is_right_wrong_doubtful_and_unknown():
    wrong_class, right_class, *sides = gradient(0.9)
    assert wrong_class > 0 > right_class
    assert max(sides) < 0  # they should move
    assert gradient(0.2)[:2] == pytest.approx([0.5**2.5] * 2)
    assert gradient(0.45)[1] == 0  # doubtful: not of that class, but of no other
    assert gradient(0.45)[0] > 0
    assert gradient(0.2, ignored=True) == [0] * 6


def test_a_stage_and_the_maps_below_it_learn_from_boxes_of_the_first():
    torch.manual_seed(0)
    truth = instances([[8.0, 8, 56, 56]], [1])
    backbone = [
        torch.randn(1, width, SIZE // stride, SIZE // stride).requires_grad_()
        for width, stride in zip(LITE.channels, LITE.strides, strict=True)
    ]
    maps = {level: torch.randn(1, LITE.width, 12 >> level, 12 >> level) for level in range(4)}
    cells = torch.tensor([[[-1.0, 2.0, 2.0], [1.0, -1.0, 1.0]]])
    boxes = torch.tensor([[[4.0, 8, 52, 60], [60, 60, 90, 90]]])
    view = ViewFeatures(maps, (truth,), backbone, cells=(cells, boxes))
    batch = BatchFeatures(LITE, SIZE, view, view, (0,))
    stage = SecondStage(LITE, CLASSES)
    settings = SecondStageLossSettings()
    losses = fitted(stage, lambda: second_stage_losses(stage, batch, settings), 60, 1e-3)
    assert losses[-1] < 0.5 * losses[0]
    assert backbone[0].grad is None
    assert all(x.grad.abs().sum() > 0 for x in backbone[1:])


def test_without_a_first_stage_there_is_nothing_to_learn_from():
    view = ViewFeatures({}, (instances([[0.0, 0, 9, 9]], [0]),))
    batch = BatchFeatures(LITE, SIZE, view, view, (0,))
    with pytest.raises(ValueError, match="after a first one"):
        second_stage_losses(SecondStage(LITE, CLASSES), batch, SecondStageLossSettings())
