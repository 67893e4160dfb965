import numpy as np
import pytest

from masa_cli.tracking.appearance import SimilarityScale, TrackAppearance, Whitening, normalised

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


def apart(count):
    """All of so many boxes are different objects."""
    return np.ones((count, count), np.bool_)


def embeddings(cosine, count=20):
    """Rows of length 1 that have this cosine with each other."""
    own = np.eye(count + 1)[1:] * np.sqrt(1 - cosine)
    own[:, 0] = np.sqrt(cosine)
    return own.astype(np.float32)


@pytest.mark.parametrize("cosine", [0.2, 0.7])
def test_strangers_are_alike_by_nothing_whatever_their_cosine(cosine):
    similarity = SimilarityScale()
    for _ in range(100):
        similarity.learn(embeddings(cosine), apart(20))
    assert similarity.of(np.float32(cosine)) == pytest.approx(0, abs=0.02)
    assert similarity.of(np.float32(1)) == 1


def test_boxes_that_may_be_one_object_teach_nothing():
    similarity = SimilarityScale()
    before = similarity.state()
    similarity.learn(embeddings(0.9, 5), ~apart(5))
    assert similarity.state() == before


def test_twins_do_not_magnify_noise_without_end():
    similarity = SimilarityScale()
    for _ in range(1000):
        similarity.learn(embeddings(0.99999), apart(20))
    assert abs(similarity.of(np.float32(0.98))) <= 1


def test_state_is_restored_exactly():
    similarity, other = SimilarityScale(), SimilarityScale()
    similarity.learn(embeddings(0.3, 7), apart(7))
    other.restore(similarity.state())
    assert other.of(np.float32(0.4)) == similarity.of(np.float32(0.4))


def test_rows_become_of_length_one_and_zeros_stay():
    assert normalised(np.array([[3, 4], [0, 0]], np.float32)).tolist() == [
        [pytest.approx(0.6), pytest.approx(0.8)],
        [0, 0],
    ]


NO_FISHER = Whitening(0)
EYE = np.eye(4, dtype=np.float32)
ROW = np.array([0])


def test_the_mean_follows_with_the_momentum():
    embeddings = TrackAppearance.start(EYE[:1], NO_FISHER)
    embeddings.learn(ROW, EYE[1:2], NO_FISHER, momentum=0.25)
    assert embeddings.mean[0] == pytest.approx(np.array([3, 1, 0, 0]) / np.sqrt(10))
    assert embeddings.projected[0] == pytest.approx(embeddings.mean[0])


def test_a_new_projection_is_followed():
    whitening = Whitening(1)
    embeddings = TrackAppearance.start(EYE, whitening)
    whitening.learn(
        np.random.default_rng(0).normal(size=(200, 4)).astype(np.float32) * [9, 1, 1, 1]
    )
    embeddings.project_again(whitening)
    assert np.array_equal(embeddings.projected, whitening.project(EYE))
    assert np.array_equal(embeddings.mean, EYE)


def test_no_tracks_and_no_boxes():
    none = np.empty(0, np.int64)
    for first in (EYE[:0], EYE):
        embeddings = TrackAppearance.start(first, NO_FISHER)
        embeddings.learn(none, EYE[:0], NO_FISHER, momentum=0.2)
        assert np.array_equal(embeddings.mean, first)
