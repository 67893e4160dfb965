import numpy as np
import pytest

from masa_cli.hybrid.likeness import Likeness, of_length_one


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
