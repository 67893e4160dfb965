"""The objective of the one-stage detector."""

import numpy as np
import torch

from masa_cli.models.one_stage import OneStage, OneStageSettings, choose
from masa_cli.models.variants import find_variant
from masa_cli.training.batches import Instances
from masa_cli.training.detection import DetectionSettings, detection_losses
from masa_cli.training.recipes import find_recipe
from masa_cli.training.seen import Seen, SeenViews
from masa_cli.training.views import boxes_in_view, draw_canvas, framed, render

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
    view = SeenViews(maps_of(found), (found,))
    return Seen(LITE, SIZE, view, view, (0,))


def detector():
    torch.manual_seed(0)
    made = OneStage(LITE, CLASSES)
    made.begin()
    return made


def test_a_detector_learns_what_the_maps_tell():
    found = instances([[8, 8, 40, 56], [50, 30, 90, 80]], [0, 2])
    batch, made = seen(found), detector()
    optimiser = torch.optim.AdamW(made.parameters(), lr=3e-3)
    losses = []
    for _ in range(150):
        total = sum(detection_losses(made, batch, DetectionSettings()).values())
        optimiser.zero_grad()
        total.backward()
        optimiser.step()
        losses.append(float(total.detach()))
    assert losses[-1] < 0.3 * losses[0]
    with torch.inference_mode():
        logits, boxes = made([batch.key.maps[level] for level in range(5)])
        shown, scores, labels = choose(
            logits[0, :, :-1], boxes[0], (SIZE, SIZE), OneStageSettings(min_score=0.3)
        )
        objects, _, _ = choose(logits[0, :, -1:], boxes[0], (SIZE, SIZE), OneStageSettings(0.3))
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
    shown, scores, labels = choose(logits, boxes, (50, 80), OneStageSettings())
    assert shown.tolist() == [[0, 5, 50, 50], [60, 50, 80, 50]]
    assert labels.tolist() == [0, 1]
    assert scores.tolist() == torch.tensor([2.0, 0]).sigmoid().tolist()


def test_two_classes_may_share_a_place():
    boxes, logits = torch.tensor([[0.0, 0, 40, 40]]), torch.tensor([[1.0, 2.0]])
    _, _, labels = choose(logits, boxes, (50, 50), OneStageSettings())
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
