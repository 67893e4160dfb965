import numpy as np
import pytest

from masa_cli.hybrid.fisher import Fisher
from masa_cli.hybrid.looks import Looks

NO_FISHER = Fisher(0)
EYE = np.eye(4, dtype=np.float32)
ROW = np.array([0])


def test_the_mean_follows_with_the_momentum():
    looks = Looks.start(EYE[:1], NO_FISHER)
    looks.learn(ROW, EYE[1:2], NO_FISHER, momentum=0.25)
    assert looks.mean[0] == pytest.approx(np.array([3, 1, 0, 0]) / np.sqrt(10))
    assert looks.projected[0] == pytest.approx(looks.mean[0])


def test_a_new_projection_is_followed():
    fisher = Fisher(1)
    looks = Looks.start(EYE, fisher)
    fisher.learn(np.random.default_rng(0).normal(size=(200, 4)).astype(np.float32) * [9, 1, 1, 1])
    looks.project_again(fisher)
    assert np.array_equal(looks.projected, fisher.project(EYE))
    assert np.array_equal(looks.mean, EYE)


def test_no_tracks_and_no_boxes():
    none = np.empty(0, np.int64)
    for first in (EYE[:0], EYE):
        looks = Looks.start(first, NO_FISHER)
        looks.learn(none, EYE[:0], NO_FISHER, momentum=0.2)
        assert np.array_equal(looks.mean, first)
