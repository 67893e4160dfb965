"""Detic behind its backbone, against a plain re-statement on the weights of the recipe."""

import numpy as np
import pytest
import torch

from masa_cli.models import detic
from masa_cli.models.detic import Detic, DeticMasks, DeticNeck, paste, propose, select
from masa_cli.models.device import choose_placement, ready
from masa_cli.models.published_weights import load_parts, read_weights
from tests import plain_detic as plain
from tests.golden import assert_close
from tests.plain_detic import PlainDetic
from tests.recipe import recipe_input

SIZE, PADDED = (180, 250), (192, 256)
PIXELS = 1e-4  # that boxes may differ by


@pytest.fixture(scope="module")
def weights(published_file):
    return published_file("detic", "")


@pytest.fixture(scope="module")
def oracle(weights):
    return PlainDetic(read_weights(weights))


@pytest.fixture(scope="module")
def parts(weights):
    with torch.device("meta"):
        made = {"pyramid": DeticNeck(), "detector": Detic(), "masks": DeticMasks()}
    load_parts(weights, "detic", made)
    return {name: ready(part, *choose_placement("cpu", "float32")) for name, part in made.items()}


def maps(name, padded):
    return [
        recipe_input(f"{name}/{stride}", (1, 32 * stride, padded[0] // stride, padded[1] // stride))
        for stride in (8, 16, 32)
    ]


def levels(name, padded, channels=256):
    return [
        recipe_input(f"{name}/{s}", (1, channels, -(-padded[0] // s), -(-padded[1] // s)))
        for s in (8, 16, 32, 64, 128)
    ]


def as_plain(tensors):
    return [np.float64(x[0]) for x in tensors]


@torch.inference_mode()
def test_the_neck_adds_two_levels_without_activations_between_the_others(parts, oracle):
    found = parts["pyramid"](maps("detic/neck", PADDED))
    expected = oracle.neck(as_plain(maps("detic/neck", PADDED)))
    assert [x.shape[2:] for x in found] == [(24, 32), (12, 16), (6, 8), (3, 4), (2, 2)]
    for ours, theirs in zip(found, expected, strict=True):
        assert_close(ours[0], theirs)


@torch.inference_mode()
def test_cells_tell_heat_and_distances(parts, oracle):
    given = levels("detic/head", PADDED)
    found = parts["detector"].proposals(given)
    for level, (logits, distances) in enumerate(found):
        heat, expected = oracle.head(np.float64(given[level][0]), level)
        assert_close(logits[0, 0].sigmoid(), heat)
        assert_close(distances[0], expected)
        assert (distances == 0).any()  # cut off, before they become pixels


def outputs(name, padded, shift=0.0, scale=1.0):
    """Logits and distances such as `propose` takes, and the same for the oracle."""
    given, same = [], []
    for s in (8, 16, 32, 64, 128):
        shape = (-(-padded[0] // s), -(-padded[1] // s))
        logits = recipe_input(f"{name}/heat/{s}", (1, *shape)) * 3 + shift
        distances = recipe_input(f"{name}/sides/{s}", (4, *shape)).clamp(min=0) * s * scale
        given.append((logits, distances))
        same.append((np.float64(logits[0].sigmoid()), np.float64(distances)))
    return given, same


@pytest.mark.parametrize("shift", [0.0, -8.0])
def test_proposals_are_the_best_that_do_not_overlap(shift):
    # Many cells of the finest level are hot, and many of its boxes are nearly the same.
    given, same = outputs("detic/propose", (320, 512), shift, scale=6)
    boxes, scores = propose(given)
    expected, expected_scores = plain.propose(same)
    if not shift:
        assert len(boxes) == 256
        assert (given[0][0].sigmoid() > 1e-4).sum() > 1000
    np.testing.assert_allclose(boxes, expected, atol=PIXELS)
    np.testing.assert_allclose(scores, expected_scores, atol=1e-6)


def test_boxes_without_sides_are_proposed_with_a_hundredth_of_a_pixel():
    given, _ = outputs("detic/thin", (64, 64), scale=0)
    boxes, _ = propose(given)
    np.testing.assert_allclose(boxes[:, 2:] - boxes[:, :2], 0.01, rtol=1e-2)


def test_only_cells_with_heat_propose():
    given, _ = outputs("detic/none", (64, 64), shift=-40)
    boxes, scores = propose(given)
    assert boxes.shape == (0, 4)
    assert scores.shape == (0,)


BOXES = np.float32(
    [
        [10, 20, 60, 90],
        [-30.5, -20, 250, 180],  # beyond the frame
        [100, 100, 420, 350],  # the second level
        [5, 5, 500, 470],  # the third
        [40, 40, 40.01, 40.01],
        [470, 300, 520, 600],
        [0, 0, 223.9, 224],  # just not the second level
        [0, 0, 224.1, 224],
    ]
)


@torch.inference_mode()
def test_three_stages_move_boxes_and_score_all_classes(parts, oracle):
    given, size = levels("detic/cascade", (512, 512)), (480, 505)
    scores = np.linspace(0.2, 0.9, len(BOXES), dtype=np.float32)
    boxes, found = parts["detector"].refine(
        given, torch.from_numpy(BOXES), torch.from_numpy(scores), size
    )
    expected, likely = oracle.cascade(as_plain(given), np.float64(BOXES), scores, size)
    np.testing.assert_allclose(boxes, expected, atol=PIXELS)
    np.testing.assert_allclose(found, likely, atol=1e-5)
    assert found.shape == (len(BOXES), 1203)


@torch.inference_mode()
def test_boxes_that_leave_the_frame_stay_in_the_list_and_show_nothing(parts, oracle):
    given = levels("detic/cascade", (512, 512))
    outside = np.float32([[600, 10, 700, 90], [30, 30, 60, 90]])
    boxes, found = parts["detector"].refine(given, torch.from_numpy(outside), torch.ones(2), SIZE)
    expected, likely = oracle.cascade(as_plain(given), np.float64(outside), np.ones(2), SIZE)
    assert boxes[0, 0] == boxes[0, 2] == SIZE[1]
    np.testing.assert_allclose(boxes, expected, atol=PIXELS)
    np.testing.assert_allclose(found, likely, atol=1e-5)


@torch.inference_mode()
def test_maps_become_the_boxes_of_the_plain_one(parts, oracle):
    given = parts["pyramid"](maps("detic/whole", PADDED))
    ((boxes, scores),) = parts["detector"](given, SIZE)
    seen = as_plain(given)
    proposed = plain.propose([oracle.head(x, level) for level, x in enumerate(seen)])
    expected, likely = oracle.cascade(seen, *proposed, SIZE)
    assert boxes.shape == (256, 4)
    # In the same order, though some scores of proposals differ by a millionth.
    np.testing.assert_allclose(boxes, expected, atol=10 * PIXELS)
    np.testing.assert_allclose(scores, likely, atol=1e-5)


@torch.inference_mode()
def test_no_proposals_are_no_boxes(parts):
    boxes, scores = parts["detector"].refine(
        levels("detic/cascade", (512, 512)), torch.empty(0, 4), torch.empty(0), SIZE
    )
    assert boxes.shape == (0, 4)
    assert scores.shape == (0, 1203)


@torch.inference_mode()
def test_images_of_a_batch_are_found_as_if_alone(parts):
    both = [
        torch.cat([a, b])
        for a, b in zip(levels("detic/a", PADDED), levels("detic/b", PADDED), strict=True)
    ]
    found = parts["detector"](both, SIZE)
    (alone,) = parts["detector"](levels("detic/b", PADDED), SIZE)
    # Sums of a batch are added in another order, which may change places in the list.
    apart = (found[1][0][:, None] - alone[0]).abs().amax(2).amin(1)
    assert apart.max() < 10 * PIXELS


def candidates(num_boxes, num_classes, seed):
    generator = np.random.default_rng(seed)
    corner = generator.uniform(0, 80, (num_boxes, 2))
    boxes = np.concatenate([corner, corner + generator.uniform(5, 40, (num_boxes, 2))], axis=1)
    boxes[::7, 2:] = boxes[::7, :2]  # empty
    return np.float32(boxes), np.float32(generator.uniform(0, 1, (num_boxes, num_classes)))


@pytest.mark.parametrize("many", [100_000, 150, 149])
def test_a_place_has_one_class_unless_there_are_very_many_candidates(many, monkeypatch):
    boxes, scores = candidates(30, 20, seed=0)
    limit = np.sort(scores.ravel())[-150]
    num = (scores > limit).sum()
    assert num == 149
    monkeypatch.setattr(detic, "MANY_CANDIDATES", many)
    found = select(
        torch.from_numpy(boxes), torch.from_numpy(scores), torch.full((20,), limit), 0.5, 50
    )
    expected = plain.select(boxes, scores, limit, 0.5, 50, many)
    assert list(zip(*(x.tolist() for x in found), strict=True)) == expected
    rows = found[0].tolist()
    shared = len(rows) - len(set(rows))
    # Empty boxes overlap nothing, so they may have several classes in any case.
    assert (shared > 10) == (many == 149) or many > 149


def test_pairs_of_all_of_lvis_are_taken_class_by_class():
    boxes, scores = candidates(90, 1203, seed=1)
    rows, labels, best = select(
        torch.from_numpy(boxes), torch.from_numpy(scores), torch.full((1203,), 0.01), 0.5, 300
    )
    assert (scores > 0.01).sum() >= 100_000
    assert (best.diff() <= 0).all()
    assert len(set(zip(rows.tolist(), labels.tolist(), strict=True))) == 300
    # The best of all pairs of these overlap, and stay: they have different classes.
    assert len({label for label in labels.tolist()}) > 200


def test_each_class_may_have_its_own_threshold():
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 10]])
    scores = torch.tensor([[0.5, 0.4], [0.3, 0.2]])
    rows, labels, best = select(boxes, scores, torch.tensor([0.6, 0.1]), 0.5, 10)
    assert (rows.tolist(), labels.tolist()) == ([0], [1])
    assert best.tolist() == pytest.approx([0.4])
    assert len(select(boxes, scores, torch.tensor([0.5, 0.4]), 0.5, 10)[0]) == 0


@torch.inference_mode()
def test_masks_are_probabilities_over_boxes(parts, oracle):
    given = levels("detic/masks", (512, 512))
    found = parts["masks"](given, torch.from_numpy(BOXES[:4]))
    np.testing.assert_allclose(found, oracle.masks(as_plain(given), BOXES[:4]), atol=1e-4)
    assert parts["masks"](given, torch.empty(0, 4)).shape == (0, 28, 28)


@pytest.mark.parametrize(
    "box",
    [
        [10.3, 5.2, 40.7, 30.1],
        [0, 0, 50, 40],
        [-20.5, -3, 30, 60],
        [12, 12, 13.5, 39.9],
        [20, 10, 20, 30],  # empty
    ],
)
def test_masks_are_pasted_where_their_boxes_are(box):
    generator = np.random.default_rng(3)
    coarse = torch.from_numpy(generator.uniform(0, 1, (1, 1, 5, 5)).astype(np.float32))
    probabilities = torch.nn.functional.interpolate(coarse, (28, 28), mode="bilinear")[0, 0]
    size = (40, 50)
    pixels, (x, y) = paste(probabilities, torch.tensor(box), size)
    whole = np.zeros(size, bool)
    whole[y : y + pixels.shape[0], x : x + pixels.shape[1]] = pixels
    # An empty box has no mask here; by the rule for infinities, its line would be the whole height.
    expected = plain.paste(np.float64(probabilities), box, size)
    if box[0] == box[2]:
        expected[:, :19] = expected[:, 21:] = False
    np.testing.assert_array_equal(whole, expected)
