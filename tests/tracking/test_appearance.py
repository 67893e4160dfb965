import numpy as np
import pytest

from masa_cli.tracking.appearance import SimilarityDensities, TrackAppearance, Whitening, normalised

DIM = 16


def differences(count=400, seed=0):
    """One object's embeddings vary much in the first two directions, little in the others."""
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(count, DIM)) * ([1.0] * 2 + [0.1] * (DIM - 2))).astype(np.float32)


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_until_enough_is_known_nothing_changes():
    whitening = Whitening(10)
    embeddings = unit(differences(5))
    assert not whitening.learn(differences(49))
    assert whitening.project(embeddings) is embeddings
    assert whitening.learn(differences(1))
    assert not np.allclose(whitening.project(embeddings), embeddings)


def test_it_is_renewed_ever_more_rarely():
    whitening = Whitening(10)
    renewed = [n for n in range(2000) if whitening.learn(differences(1, seed=n))]
    assert renewed[0] == 49
    assert len(renewed) == pytest.approx(1 + np.log(2000 / 50) / np.log(1.5), abs=1)


def test_objects_are_told_apart_better():
    """Objects differ equally in all directions; their embeddings vary mostly in two."""
    rng = np.random.default_rng(1)
    whitening = Whitening(10)
    whitening.learn(differences())
    objects = 0.5 * rng.normal(size=(60, DIM))
    first, second = (unit(objects + differences(60, seed)) for seed in (2, 3))

    def recall(one, two):
        return ((one @ two.T).argmax(axis=1) == np.arange(60)).mean()

    assert recall(whitening.project(first), whitening.project(second)) > recall(first, second) + 0.1


def test_the_prior_holds_it_back():
    embeddings = unit(differences(30, seed=4))
    bold, shy = Whitening(1), Whitening(1e6)
    for whitening in (bold, shy):
        whitening.learn(differences())
    assert np.abs(shy.project(embeddings) - embeddings).max() < 0.01
    assert np.abs(bold.project(embeddings) - embeddings).max() > 0.1


def test_rows_stay_of_length_one_and_unknown_embeddings_stay_unknown():
    whitening = Whitening(10)
    whitening.learn(differences())
    projected = whitening.project(np.concatenate([unit(differences(3)), np.zeros((1, DIM))]))
    assert np.linalg.norm(projected, axis=1) == pytest.approx([1, 1, 1, 0], abs=1e-5)


def test_turned_off_it_learns_nothing():
    whitening = Whitening(0)
    assert not whitening.learn(differences())
    assert "scatter" not in whitening.state()


def test_embeddings_that_never_vary_teach_nothing():
    assert not Whitening(10).learn(np.zeros((100, DIM), np.float32))


def test_whitening_state_is_restored_exactly():
    first, second = Whitening(10), Whitening(10)
    first.learn(differences(70))
    second.restore({name: np.array(value) for name, value in first.state().items()})
    embeddings = unit(differences(5))
    assert np.array_equal(first.project(embeddings), second.project(embeddings))
    assert first.learn(differences(40)) == second.learn(differences(40))
    assert np.array_equal(first.project(embeddings), second.project(embeddings))


def learned(impostors, own, later=None, count=200):
    """Densities of similarities with these means and standard deviations."""
    rng = np.random.default_rng(0)
    densities = SimilarityDensities()
    densities.learn_impostors(rng.normal(*impostors, count).astype(np.float32))
    densities.learn_own(rng.normal(*own, count).astype(np.float32))
    densities.learn_own(rng.normal(*(later or own), count).astype(np.float32), later=True)
    return densities


def llr(densities, similarity, **more):
    return float(densities.llr(np.float32(similarity), **more))


@pytest.mark.parametrize("shift", [-0.2, 0, 0.2])
def test_a_similarity_says_what_it_says_in_this_video(shift):
    densities = learned((0.4 + shift, 0.05), (0.75 + shift, 0.05))
    assert llr(densities, 0.75 + shift) > 2
    assert llr(densities, 0.4 + shift) < -2
    # Half-way it says little.
    assert abs(llr(densities, 0.57 + shift)) < 1.5


def test_where_own_and_impostors_overlap_embeddings_say_nothing():
    densities = learned((0.7, 0.1), (0.72, 0.1), count=5000)
    assert np.abs(densities.llr(np.linspace(0, 1, 50, dtype=np.float32))).max() < 0.5


def test_more_similar_never_speaks_against():
    densities = learned((0.4, 0.2), (0.8, 0.02))
    values = densities.llr(np.linspace(-1, 1, 200, dtype=np.float32))
    assert (np.diff(values) >= -1e-5).all()


def test_nothing_is_ever_quite_sure():
    densities = learned((0.1, 0.01), (0.95, 0.01), count=5000)
    assert 2 < llr(densities, 1.0) < 5
    assert -9 < llr(densities, 0.0) < -2


def test_after_a_while_the_same_similarity_says_less():
    densities = learned((0.3, 0.2), (0.95, 0.03), later=(0.7, 0.25))
    assert llr(densities, 0.5) < -1
    assert llr(densities, 0.5, later=True) > llr(densities, 0.5) + 1


def test_state_is_restored_exactly():
    densities, other = learned((0.4, 0.1), (0.8, 0.1), (0.7, 0.1)), SimilarityDensities()
    other.restore(densities.state())
    for later in (False, True):
        assert llr(other, 0.6, later=later) == llr(densities, 0.6, later=later)


def test_a_new_projection_makes_what_was_learned_count_little():
    densities = learned((0.4, 0.05), (0.8, 0.05), count=2000)
    densities.forget()
    densities.learn_own(np.full(200, 0.95, np.float32))
    assert llr(densities, 0.8) < llr(learned((0.4, 0.05), (0.8, 0.05), count=2000), 0.8)


def test_rows_become_of_length_one_and_zeros_stay():
    assert normalised(np.array([[3, 4], [0, 0]], np.float32)).tolist() == [
        [pytest.approx(0.6), pytest.approx(0.8)],
        [0, 0],
    ]


NO_FISHER = Whitening(0)
EYE = np.eye(4, dtype=np.float32)
ROW = np.array([0])


def test_the_mean_follows_with_the_momentum():
    embeddings = TrackAppearance.start(EYE[:1], NO_FISHER, 0.0)
    embeddings.learn(ROW, EYE[1:2], NO_FISHER, momentum=0.25)
    assert embeddings.mean[0] == pytest.approx(np.array([3, 1, 0, 0]) / np.sqrt(10))
    assert embeddings.projected[0] == pytest.approx(embeddings.mean[0])


def test_a_new_projection_is_followed():
    whitening = Whitening(1)
    embeddings = TrackAppearance.start(EYE, whitening, 0.0)
    whitening.learn(
        np.random.default_rng(0).normal(size=(200, 4)).astype(np.float32) * [9, 1, 1, 1]
    )
    embeddings.project_again(whitening)
    assert np.array_equal(embeddings.projected, whitening.project(EYE))
    assert np.array_equal(embeddings.mean, EYE)


def test_no_tracks_and_no_boxes():
    none = np.empty(0, np.int64)
    for first in (EYE[:0], EYE):
        embeddings = TrackAppearance.start(first, NO_FISHER, 0.0)
        embeddings.learn(none, EYE[:0], NO_FISHER, momentum=0.2)
        assert np.array_equal(embeddings.mean, first)
