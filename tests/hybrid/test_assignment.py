import itertools

import numpy as np
import pytest

from masa_cli.hybrid.assignment import assign

ALL = np.ones(2, np.bool_)


def test_the_greatest_total_wins_over_the_greatest_pair():
    evidence = np.array([[5, 4], [4.5, 0]], np.float32)
    matches, _ = assign(evidence, [(ALL, -10)])
    assert matches.tolist() == [1, 0]


def test_a_pair_must_exceed_the_least():
    evidence = np.array([[-3, -9], [-9, -5]], np.float32)
    assert assign(evidence, [(ALL, -4.0)])[0].tolist() == [0, -1]


def test_a_later_pass_gets_what_is_left():
    evidence = np.array([[1], [9]], np.float32)
    first, second = np.array([True, False]), np.array([False, True])
    assert assign(evidence, [(first, 0.0), (second, 0.0)])[0].tolist() == [0, -1]
    assert assign(evidence, [(second, 0.0), (first, 0.0)])[0].tolist() == [-1, 0]


def test_a_box_in_no_pass_is_not_joined():
    assert assign(np.ones((2, 2), np.float32), [(~ALL, 0.0)])[0].tolist() == [-1, -1]


def test_sureness_is_what_any_other_identity_would_cost():
    # Alone, box 0 could be nothing (4 + 2 nats above the least), and box 1 likewise (3 + 2).
    evidence = np.array([[4, -9], [-9, 3]], np.float32)
    assert assign(evidence, [(ALL, -2.0)])[1].tolist() == [6, 5]
    # Swapped they would have 3 + 2 instead of 4 + 3: two nats less.
    swapped = np.array([[4, 3], [2, 3]], np.float32)
    assert assign(swapped, [(ALL, -2.0)])[1].tolist() == [2, 2]


def test_a_free_track_as_good_makes_unsure():
    evidence = np.array([[4, 3.5]], np.float32)
    assert assign(evidence, [(ALL[:1], 0.0)])[1].tolist() == [0.5]


def test_a_second_box_on_the_same_object_does_not_make_unsure():
    evidence = np.array([[8], [7.9]], np.float32)
    matches, sureness = assign(evidence, [(ALL, 0.0)])
    assert matches.tolist() == [0, -1]
    assert sureness.tolist() == [8, np.inf]


@pytest.mark.parametrize("seed", range(20))
def test_sureness_against_every_other_joining(seed):
    """By hand: the best total in which the box is another object, its place left to nobody else."""
    rng = np.random.default_rng(seed)
    evidence = rng.normal(0, 3, (3, 4)).astype(np.float32)
    matches, sureness = assign(evidence, [(np.ones(3, np.bool_), 0.0)])

    def total(joining):
        return sum(
            max(float(evidence[row, column]), 0) if column >= 0 else 0.0
            for row, column in enumerate(joining)
        )

    choices = itertools.product(range(-1, 4), repeat=3)
    valid = [c for c in choices if len({x for x in c if x >= 0}) == sum(x >= 0 for x in c)]
    assert total(matches) == pytest.approx(max(map(total, valid)), abs=1e-5)
    for box in np.flatnonzero(matches >= 0):
        # What sureness looks at: it alone takes none or a free track, or it swaps with another.
        others = [
            c
            for c in valid
            if c[box] != matches[box]
            and all(
                c[b] == matches[b] or _swapped(c, matches, box, b) for b in range(3) if b != box
            )
        ]
        assert sureness[box] == pytest.approx(total(matches) - max(map(total, others)), abs=1e-5)


def _swapped(joining, matches, box, other):
    return joining[box] == matches[other] and joining[other] == matches[box]


@pytest.mark.parametrize("shape", [(0, 0), (0, 3), (3, 0)])
def test_nothing_to_join(shape):
    matches, sureness = assign(np.zeros(shape, np.float32), [(np.ones(shape[0], np.bool_), 0.0)])
    assert matches.tolist() == [-1] * shape[0]
    assert np.isinf(sureness).all()
