import torch

from masa_cli.training.alignment import NOTHING, AlignmentSettings, align

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
    assert (quality[assigned == NOTHING] == 0).all()


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
    assert (assigned == NOTHING).all()
    assert not quality.any()
