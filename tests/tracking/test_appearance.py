import numpy as np
import pytest

from masa_cli.tracking.appearance import Fisher, Likeness, Looks, of_length_one

DIM = 16


def differences(count=400, seed=0):
    """One object's looks vary much in the first two directions, little in the others."""
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(count, DIM)) * ([1.0] * 2 + [0.1] * (DIM - 2))).astype(np.float32)


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_until_enough_is_known_nothing_changes():
    fisher = Fisher(10)
    looks = unit(differences(5))
    assert not fisher.learn(differences(49))
    assert fisher.project(looks) is looks
    assert fisher.learn(differences(1))
    assert not np.allclose(fisher.project(looks), looks)


def test_it_is_renewed_ever_more_rarely():
    fisher = Fisher(10)
    renewed = [n for n in range(2000) if fisher.learn(differences(1, seed=n))]
    assert renewed[0] == 49
    assert len(renewed) == pytest.approx(1 + np.log(2000 / 50) / np.log(1.5), abs=1)


def test_objects_are_told_apart_better():
    """Objects differ equally in all directions; their looks vary mostly in two."""
    rng = np.random.default_rng(1)
    fisher = Fisher(10)
    fisher.learn(differences())
    objects = 0.5 * rng.normal(size=(60, DIM))
    first, second = (unit(objects + differences(60, seed)) for seed in (2, 3))

    def recall(one, two):
        return ((one @ two.T).argmax(axis=1) == np.arange(60)).mean()

    assert recall(fisher.project(first), fisher.project(second)) > recall(first, second) + 0.1


def test_the_prior_holds_it_back():
    looks = unit(differences(30, seed=4))
    bold, shy = Fisher(1), Fisher(1e6)
    for fisher in (bold, shy):
        fisher.learn(differences())
    assert np.abs(shy.project(looks) - looks).max() < 0.01
    assert np.abs(bold.project(looks) - looks).max() > 0.1


def test_rows_stay_of_length_one_and_unknown_looks_stay_unknown():
    fisher = Fisher(10)
    fisher.learn(differences())
    projected = fisher.project(np.concatenate([unit(differences(3)), np.zeros((1, DIM))]))
    assert np.linalg.norm(projected, axis=1) == pytest.approx([1, 1, 1, 0], abs=1e-5)


def test_turned_off_it_learns_nothing():
    fisher = Fisher(0)
    assert not fisher.learn(differences())
    assert "scatter" not in fisher.state()


def test_looks_that_never_vary_teach_nothing():
    assert not Fisher(10).learn(np.zeros((100, DIM), np.float32))


def test_whitening_state_is_restored_exactly():
    first, second = Fisher(10), Fisher(10)
    first.learn(differences(70))
    second.restore({name: np.array(value) for name, value in first.state().items()})
    looks = unit(differences(5))
    assert np.array_equal(first.project(looks), second.project(looks))
    assert first.learn(differences(40)) == second.learn(differences(40))
    assert np.array_equal(first.project(looks), second.project(looks))


def apart(count):
    """All of so many boxes are different objects."""
    return np.ones((count, count), np.bool_)


def looks(cosine, count=20):
    """Rows of length 1 that have this cosine with each other."""
    own = np.eye(count + 1)[1:] * np.sqrt(1 - cosine)
    own[:, 0] = np.sqrt(cosine)
    return own.astype(np.float32)


@pytest.mark.parametrize("cosine", [0.2, 0.7])
def test_strangers_are_alike_by_nothing_whatever_their_cosine(cosine):
    likeness = Likeness()
    for _ in range(100):
        likeness.learn(looks(cosine), apart(20))
    assert likeness.of(np.float32(cosine)) == pytest.approx(0, abs=0.02)
    assert likeness.of(np.float32(1)) == 1


def test_boxes_that_may_be_one_object_teach_nothing():
    likeness = Likeness()
    before = likeness.state()
    likeness.learn(looks(0.9, 5), ~apart(5))
    assert likeness.state() == before


def test_twins_do_not_magnify_noise_without_end():
    likeness = Likeness()
    for _ in range(1000):
        likeness.learn(looks(0.99999), apart(20))
    assert abs(likeness.of(np.float32(0.98))) <= 1


def test_state_is_restored_exactly():
    likeness, other = Likeness(), Likeness()
    likeness.learn(looks(0.3, 7), apart(7))
    other.restore(likeness.state())
    assert other.of(np.float32(0.4)) == likeness.of(np.float32(0.4))


def test_rows_become_of_length_one_and_zeros_stay():
    assert of_length_one(np.array([[3, 4], [0, 0]], np.float32)).tolist() == [
        [pytest.approx(0.6), pytest.approx(0.8)],
        [0, 0],
    ]


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
