"""Tracklets from the lines of the first pass."""

import numpy as np
import pytest

from masa_cli.second_look.tracklets import collect
from tests.second_look.lines import line

LOOK = np.array([1, 0], np.float32)


def test_a_tracklet_tells_where_and_when_it_began_and_ended():
    lines = [line(n, {7: (100 + 3 * n, 50)}) for n in range(12)]
    lines.append(line(12, {}, ended={7: LOOK}))
    (found,) = collect(lines, {})
    assert (found.number, found.identity, found.shot) == (7, 7, 0)
    assert (found.first.time, found.last.time) == (0, 1.1)
    assert found.first.place == pytest.approx([100, 50])
    assert found.last.place == pytest.approx([133, 50])
    # 3 pixels a frame at 10 frames a second.
    assert found.first.velocity == pytest.approx([30, 0])
    assert found.last.velocity == pytest.approx([30, 0])
    assert found.last.height == 40
    assert found.look.tolist() == LOOK.tolist()


def test_the_speed_of_an_end_is_that_of_its_last_half_second():
    lines = [line(n, {1: (10 * max(n - 20, 0), 50)}) for n in range(30)]
    (found,) = collect(lines, {1: LOOK})
    assert found.first.velocity == pytest.approx([0, 0])
    assert found.last.velocity == pytest.approx([100, 0])


def test_boxes_before_the_confirmation_belong_to_it():
    lines = [line(n, {}, tentative={3: (50, 50)}) for n in range(3)]
    lines += [line(n, {1: (50, 50)}, tracklets=[3]) for n in range(3, 6)]
    (found,) = collect(lines, {3: LOOK})
    assert (found.number, found.identity, found.first.time) == (3, 1, 0)


def test_what_was_never_confirmed_is_none():
    lines = [line(0, {}, tentative={3: (50, 50)}), line(1, {}, ended={3: LOOK})]
    assert collect(lines, {}) == []


def test_an_identity_has_a_tracklet_for_each_stretch():
    lines = [line(0, {1: (0, 0)}, tracklets=[5]), line(1, {}, ended={5: LOOK})]
    lines += [line(2, {1: (0, 0)}, tracklets=[9])]
    found = collect(lines, {9: -LOOK})
    assert [(t.number, t.identity) for t in found] == [(5, 1), (9, 1)]
    assert [t.look[0] for t in found] == [1, -1]


def test_the_camera_is_taken_back():
    """The object stands still; the picture moves to the left by 5 pixels a frame."""
    lines = [
        line(n, {1: (200 - 5 * n, 50)}, camera=[[1, 0, -5 if n else 0], [0, 1, 0]])
        for n in range(10)
    ]
    (found,) = collect(lines, {1: LOOK})
    assert found.last.place == pytest.approx([200, 50])
    assert found.last.velocity == pytest.approx([0, 0], abs=1e-9)


def test_a_zoom_is_taken_back_from_heights_too():
    lines = [
        line(n, {1: (100 * 2**n, 0)}, camera=[[2 if n else 1, 0, 0], [0, 2 if n else 1, 0]])
        for n in range(3)
    ]
    (found,) = collect(lines, {1: LOOK})
    assert found.last.place == pytest.approx([100, 0])
    assert found.last.height == pytest.approx(10)


def test_shots_are_counted_and_each_has_its_own_ground():
    lines = [line(0, {1: (9, 9)}), line(1, {1: (4, 9)}, camera=[[1, 0, -5], [0, 1, 0]])]
    lines.append(line(2, {2: (30, 9)}, is_cut=True, ended={1: LOOK}))
    first, second = collect(lines, {2: LOOK})
    assert (first.shot, second.shot) == (0, 1)
    assert second.first.place == pytest.approx([30, 9])


def test_the_scores_of_its_boxes_are_added_up_by_label():
    lines = [line(0, {}, tentative={1: (0, 0)}), *(line(n, {1: (0, 0)}) for n in (1, 2))]
    lines[2][2].labels[:] = 4
    (found,) = collect(lines, {1: LOOK})
    assert found.scores == {0: pytest.approx(0.7 + 0.9), 4: pytest.approx(0.9)}


def test_no_frame_gives_no_tracklet():
    assert collect([], {}) == []
