import numpy as np
import pytest

from masa_cli.hybrid.fisher import Fisher
from masa_cli.hybrid.looks import Looks

NO_FISHER = Fisher(0)
EYE = np.eye(4, dtype=np.float32)
ROW = np.array([0])


def test_the_mean_follows_with_the_momentum():
    looks = Looks.start(EYE[:1], NO_FISHER, 0)
    looks.learn(ROW, EYE[1:2], NO_FISHER, momentum=0.25, distinct=0.8)
    assert looks.mean[0] == pytest.approx(np.array([3, 1, 0, 0]) / np.sqrt(10))
    assert looks.projected[0] == pytest.approx(looks.mean[0])


def test_only_distinct_looks_enter_the_gallery_newest_first():
    looks = Looks.start(EYE[:1], NO_FISHER, 2)
    like_the_first = np.array([[0.9, np.sqrt(1 - 0.81), 0, 0]], np.float32)
    looks.learn(ROW, like_the_first, NO_FISHER, momentum=0.2, distinct=0.8)
    assert looks.gallery[0].tolist() == [EYE[0].tolist(), [0, 0, 0, 0]]
    for number in (1, 2):
        looks.learn(ROW, EYE[number : number + 1], NO_FISHER, momentum=0.2, distinct=0.8)
    assert looks.gallery[0].tolist() == [EYE[2].tolist(), EYE[1].tolist()]


def test_the_best_of_the_gallery_counts_with_its_weight():
    looks = Looks.start(EYE[:1], NO_FISHER, 2)
    looks.learn(ROW, EYE[1:2], NO_FISHER, momentum=0, distinct=0.8)  # the mean stays
    assert looks.cosines(EYE[1:2], NO_FISHER, 0.3) == pytest.approx(0.3)
    # A gallery that is worse than the mean does no harm.
    looks.gallery[:] = 0
    assert looks.cosines(EYE[:1], NO_FISHER, 0.3) == pytest.approx(1)


def test_a_new_projection_is_followed():
    fisher = Fisher(1)
    looks = Looks.start(EYE, fisher, 0)
    fisher.learn(np.random.default_rng(0).normal(size=(200, 4)).astype(np.float32) * [9, 1, 1, 1])
    looks.project_again(fisher)
    assert np.array_equal(looks.projected, fisher.project(EYE))
    assert np.array_equal(looks.mean, EYE)


def test_no_tracks_and_no_boxes():
    looks = Looks.start(EYE[:0], NO_FISHER, 3)
    assert looks.cosines(EYE, NO_FISHER, 0.3).shape == (4, 0)
    assert Looks.start(EYE, NO_FISHER, 3).cosines(EYE[:0], NO_FISHER, 0.3).shape == (0, 4)
