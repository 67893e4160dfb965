"""The objective of the one-stage detector."""

import numpy as np
import torch

from masa_cli.models.lite_heads import OneStage, OneStageSettings, postprocess
from masa_cli.models.variants import find_variant
from masa_cli.training.augmentations import boxes_in_view, draw_canvas, framed, render
from masa_cli.training.batches import Instances
from masa_cli.training.detection import (
    BACKGROUND,
    AlignmentSettings,
    DetectionSettings,
    align,
    detection_losses,
)
from masa_cli.training.object_prior import BatchFeatures, ViewFeatures
from masa_cli.training.recipe import find_recipe
from tests.training.networks import fitted

LITE = find_variant("lite")
SIZE, CLASSES = 96, ("car", "cat", "dog")
NO_BOXES, NO_LABELS = torch.empty(0, 4), torch.empty(0, dtype=torch.int64)


def instances(boxes, labels, ignored_boxes=NO_BOXES, ignored_labels=NO_LABELS):
    boxes = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    ids = torch.arange(1, len(boxes) + 1)
    labels = torch.tensor(labels, dtype=torch.int64)
    return Instances(boxes, ids, labels, ignored_boxes, ignored_labels)


def maps_of(found):
    """Maps in which cells inside a box tell its class and where its sides are."""
    generator = torch.Generator().manual_seed(0)
    maps = {}
    for level in range(5):
        stride = LITE.strides[0] * 2**level
        side = max(1, -(-SIZE // stride))
        x = 0.1 * torch.randn(1, LITE.width, side, side, generator=generator)
        middles = torch.arange(side) * stride + stride / 2
        for (left, top, right, bottom), label in zip(
            found.boxes.tolist(), found.labels.tolist(), strict=True
        ):
            across = (middles > left) & (middles < right)
            inside = ((middles > top) & (middles < bottom))[:, None] & across
            x[0, label, inside] += 3
            for channel, distance in enumerate(
                (middles - left, middles - top, right - middles, bottom - middles)
            ):
                plane = distance[None] if channel % 2 == 0 else distance[:, None]
                plane = (plane.expand(side, side) / stride).clamp(min=0.1).log()
                x[0, 10 + channel, inside] += plane[inside]
        maps[level] = x
    return maps


def seen(found):
    view = ViewFeatures(maps_of(found), (found,))
    return BatchFeatures(LITE, SIZE, view, view, (0,))


def detector():
    torch.manual_seed(0)
    made = OneStage(LITE, CLASSES)
    made.initialise()
    return made


def test_a_detector_learns_what_the_maps_tell():
    found = instances([[8, 8, 40, 56], [50, 30, 90, 80]], [0, 2])
    batch, made = seen(found), detector()
    losses = fitted(made, lambda: detection_losses(made, batch, DetectionSettings()), 150, 3e-3)
    assert losses[-1] < 0.3 * losses[0]
    with torch.inference_mode():
        logits, boxes = made([batch.key.maps[level] for level in range(5)])
        shown, scores, labels = postprocess(
            logits[0, :, :-1], boxes[0], (SIZE, SIZE), OneStageSettings(min_score=0.3)
        )
        objects, _, _ = postprocess(
            logits[0, :, -1:], boxes[0], (SIZE, SIZE), OneStageSettings(0.3)
        )
    assert sorted(labels.tolist()) == [0, 2]
    assert len(objects) == 2
    order = labels.argsort()
    assert (shown[order] - found.boxes).abs().max() < 6
    assert (scores > 0.3).all()


def gradient_at(found, channel):
    """Gradient of the losses by the bias of a score."""
    made = detector()
    sum(detection_losses(made, seen(found), DetectionSettings()).values()).backward()
    return float(made.scores.bias.grad[channel])


def test_nothing_is_learned_where_there_may_be_more():
    """With the whole view ignored for class 1, its scores have no reason to change."""
    whole = torch.tensor([[0.0, 0, SIZE, SIZE]]).mul(2) - SIZE / 2
    known = instances([[8, 8, 40, 56]], [0], whole, torch.tensor([1]))
    assert gradient_at(known, 1) == 0
    assert gradient_at(known, 0) != 0
    assert gradient_at(known, 2) > 0  # of background: it should become less
    assert gradient_at(instances([[8, 8, 40, 56]], [0]), 1) > 0


def test_a_view_in_which_nothing_is_left_is_background():
    losses = detection_losses(detector(), seen(instances([], [])), DetectionSettings())
    assert losses["detection place"].item() == 0
    assert losses["detection score"].item() > 0


def test_boxes_are_cut_at_the_border_and_the_weaker_of_two_is_dropped():
    boxes = torch.tensor([[-10.0, 5, 50, 60], [-9, 5, 50, 60], [60, 60, 90, 90]])
    logits = torch.tensor([[2.0, -9], [1, -9], [-9, 0]])
    shown, scores, labels = postprocess(logits, boxes, (50, 80), OneStageSettings())
    torch.testing.assert_close(shown, torch.tensor([[0.0, 5, 50, 50], [60, 50, 80, 50]]))
    assert labels.tolist() == [0, 1]
    assert scores.tolist() == torch.tensor([2.0, 0]).sigmoid().tolist()


def test_a_dropped_box_has_a_say_where_the_better_one_is():
    """By its score and by how much the two overlap; boxes of other classes and places have none."""
    boxes = torch.tensor([[0.0, 0, 40, 40], [0, 0, 40, 36], [0, 0, 40, 20], [60, 0, 90, 40]])
    logits = torch.tensor([[2.0, -9], [1, -9], [-9, 1], [1.5, -9]])
    settings = OneStageSettings(max_overlap=0.5, vote_spread=0.05)
    shown, scores, _ = postprocess(logits, boxes, (50, 100), settings)
    better, weaker = torch.tensor([2.0, 1]).sigmoid().tolist()
    say = float(weaker * np.exp(-(0.1**2) / 0.05))
    bottom = (better * 40 + say * 36) / (better + say)
    expected = torch.tensor([[0, 0, 40, bottom], [60, 0, 90, 40], [0, 0, 40, 20]])
    torch.testing.assert_close(shown, expected.float())
    assert scores.tolist() == torch.tensor([2.0, 1.5, 1]).sigmoid().tolist()


def test_two_classes_may_share_a_place():
    boxes, logits = torch.tensor([[0.0, 0, 40, 40]]), torch.tensor([[1.0, 2.0]])
    _, _, labels = postprocess(logits, boxes, (50, 50), OneStageSettings())
    assert labels.tolist() == [1, 0]


def test_boxes_of_views_are_as_tight_as_those_of_the_image():
    """A turned view has looser boxes, and the detector would learn to draw such."""
    views = find_recipe("lite", "lite-detector").views
    image = np.zeros((200, 300, 3), np.uint8)
    x1, y1, x2, y2 = 130, 60, 160, 150
    image[y1:y2, x1:x2] = 255
    outline = np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2]], np.float32)
    seen = 0
    for seed in range(30):
        random = np.random.default_rng(seed)
        canvas = draw_canvas(image.shape[:2], views, random)
        view = framed(render(image, canvas.own, canvas), canvas)
        (box,), (kept,) = boxes_in_view((outline,), canvas.own, canvas, views)
        rows, columns = np.nonzero(view[..., 0] > 184)  # halfway from the grey around it to white
        if kept:
            seen += 1
            shown = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            np.testing.assert_allclose(box, shown, atol=2)
            inside = view[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1, 0]
            assert (inside > 184).mean() > 0.97
    assert seen > 15


PLACES = torch.cartesian_prod(torch.arange(4.0, 80, 8), torch.arange(4.0, 80, 8)).flip(1)
ONE = AlignmentSettings(cells=3)


def boxes_at(places, half=10.0):
    return torch.cat([places - half, places + half], dim=1)


def test_the_cells_whose_boxes_fit_best_stand_for_an_object():
    objects = torch.tensor([[26.0, 26, 46, 46]])  # around (36, 36), a middle of a cell
    scores = torch.full((len(PLACES), 2), 0.1)
    assigned, quality = align(scores, boxes_at(PLACES), PLACES, objects, torch.tensor([1]), ONE)
    best = int(quality.argmax())
    assert PLACES[best].tolist() == [36, 36]
    assert quality[best] == 1  # its box is the object
    assert (assigned == 0).sum() >= 3
    assert (quality[assigned == BACKGROUND] == 0).all()


def test_the_score_of_the_right_class_decides_between_equal_boxes():
    objects = torch.tensor([[20.0, 20, 60, 60]])
    boxes = objects.repeat(len(PLACES), 1)
    scores = torch.full((len(PLACES), 2), 0.1)
    scores[44, 1], scores[45, 0] = 0.9, 0.9
    assigned, _ = align(
        scores, boxes, PLACES, objects, torch.tensor([1]), AlignmentSettings(cells=1)
    )
    assert (assigned == 0).nonzero().flatten().tolist() == [44]


def test_a_cell_outside_an_object_never_stands_for_it():
    objects = torch.tensor([[0.0, 0, 16, 16]])
    scores = torch.ones(len(PLACES), 1)
    assigned, _ = align(
        scores, objects.repeat(len(PLACES), 1), PLACES, objects, torch.tensor([0]), ONE
    )
    assert (PLACES[assigned == 0] < 16).all()


def test_an_object_smaller_than_a_cell_is_found_by_the_nearest():
    objects = torch.tensor([[8.5, 8.5, 10.5, 10.5]])
    scores = torch.full((len(PLACES), 1), 0.1)
    assigned, quality = align(
        scores, boxes_at(PLACES), PLACES, objects, torch.tensor([0]), AlignmentSettings()
    )
    assert (assigned == 0).any()
    assert (quality[assigned == 0] > 0).any()


def test_a_cell_that_two_objects_want_stands_for_the_one_it_overlaps_more():
    objects = torch.tensor([[26.0, 26, 46, 46], [20.0, 20, 52, 52]])
    scores = torch.full((len(PLACES), 1), 0.1)
    assigned, _ = align(
        scores, boxes_at(PLACES), PLACES, objects, torch.tensor([0, 0]), AlignmentSettings()
    )
    middle = (PLACES == 36).all(dim=1)
    assert assigned[middle].tolist() == [0]


def test_nothing_to_find():
    assigned, quality = align(
        torch.ones(len(PLACES), 1),
        boxes_at(PLACES),
        PLACES,
        torch.empty(0, 4),
        torch.empty(0, dtype=torch.int64),
        ONE,
    )
    assert (assigned == BACKGROUND).all()
    assert not quality.any()
