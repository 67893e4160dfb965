import numpy as np
import pytest

from masa_cli.hybrid.fisher import Fisher

DIM = 16


def differences(count=400, seed=0):
    """One object's looks vary much in the first two directions, little in the others."""
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(count, DIM)) * ([1.0] * 2 + [0.1] * (DIM - 2))).astype(np.float32)


def of_length_one(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_until_enough_is_known_nothing_changes():
    fisher = Fisher(10)
    looks = of_length_one(differences(5))
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
    first, second = (of_length_one(objects + differences(60, seed)) for seed in (2, 3))

    def recall(one, two):
        return ((one @ two.T).argmax(axis=1) == np.arange(60)).mean()

    assert recall(fisher.project(first), fisher.project(second)) > recall(first, second) + 0.1


def test_the_prior_holds_it_back():
    looks = of_length_one(differences(30, seed=4))
    bold, shy = Fisher(1), Fisher(1e6)
    for fisher in (bold, shy):
        fisher.learn(differences())
    assert np.abs(shy.project(looks) - looks).max() < 0.01
    assert np.abs(bold.project(looks) - looks).max() > 0.1


def test_rows_stay_of_length_one_and_unknown_looks_stay_unknown():
    fisher = Fisher(10)
    fisher.learn(differences())
    projected = fisher.project(np.concatenate([of_length_one(differences(3)), np.zeros((1, DIM))]))
    assert np.linalg.norm(projected, axis=1) == pytest.approx([1, 1, 1, 0], abs=1e-5)


def test_turned_off_it_learns_nothing():
    fisher = Fisher(0)
    assert not fisher.learn(differences())
    assert "scatter" not in fisher.state()


def test_looks_that_never_vary_teach_nothing():
    assert not Fisher(10).learn(np.zeros((100, DIM), np.float32))


def test_state_is_restored_exactly():
    first, second = Fisher(10), Fisher(10)
    first.learn(differences(70))
    second.restore({name: np.array(value) for name, value in first.state().items()})
    looks = of_length_one(differences(5))
    assert np.array_equal(first.project(looks), second.project(looks))
    assert first.learn(differences(40)) == second.learn(differences(40))
    assert np.array_equal(first.project(looks), second.project(looks))
