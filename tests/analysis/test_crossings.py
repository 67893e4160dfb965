"""A line from (50, 0) down to (50, 100): its right is where x is less than 50."""

import pytest

from masa_cli.analysis.crossings import Line, crossings
from tests.analysis.tables import seconds, table

DOWN = Line("gate", 50, 0, 50, 100)


def walk(xs, y=80, id_=1, frames=None, height=20):
    """A box whose foot is at (x, y), frame by frame."""
    frames = range(len(xs)) if frames is None else frames
    return [(frame, id_, x - 5, y - height, x + 5, y) for frame, x in zip(frames, xs, strict=True)]


def found(rows, lines=(DOWN,), point="foot"):
    rows = table(rows)
    events = crossings(rows, seconds(rows), list(lines), point)
    return [(event.frame, event.id, event.to) for event in events]


def test_each_direction_is_told_apart():
    assert found(walk([30, 40, 60])) == [(2, 1, "left")]
    assert found(walk([60, 40])) == [(1, 1, "right")]
    backwards = Line("gate", 50, 100, 50, 0)
    assert found(walk([30, 60]), [backwards]) == [(1, 1, "right")]


def test_there_and_back_counts_twice_and_each_track_for_itself():
    rows = walk([30, 60, 30]) + walk([60, 30], id_=2)
    assert found(rows) == [(1, 1, "left"), (1, 2, "right"), (2, 1, "right")]


def test_trembling_on_the_line_does_not_count():
    # The dead band is a twentieth of the height: 1 pixel.
    assert found(walk([40, 49.5, 50.5, 49.4, 50.6, 40])) == []
    assert found(walk([40, 49.5, 50.5, 49.4, 50.6, 60])) == [(5, 1, "left")]


def test_a_start_on_the_line_is_no_crossing():
    assert found(walk([50, 60])) == []
    assert found(walk([40, 50])) == []


def test_who_passes_beside_the_ends_does_not_cross():
    assert found(walk([30, 60], y=120)) == []
    assert found(walk([30, 60], y=100)) == [(1, 1, "left")]


def test_a_gap_is_crossed_on_a_straight_way():
    assert found(walk([30, 70], frames=[2, 9])) == [(9, 1, "left")]


def test_the_way_around_an_end_does_not_cross():
    rows = [(0, 1, 30, 60, 40, 80), (1, 1, 47, 110, 52, 130), (2, 1, 60, 60, 70, 80)]
    assert found(rows) == []


def test_the_point_of_the_box_matters():
    rows = walk([30, 60], y=105, height=40)  # the foot passes below the line, the centre does not
    assert found(rows) == []
    assert found(rows, point="centre") == [(1, 1, "left")]


@pytest.mark.parametrize("rows", [[], walk([30])])
def test_nothing_and_a_single_box_cross_nothing(rows):
    assert found(rows) == []


def test_an_event_tells_line_class_and_time():
    rows = table([(0, 4, 30, 0, 40, 20, 1, 1), (3, 4, 60, 0, 70, 20, 1, 1)])
    (event,) = crossings(rows, seconds(rows), [DOWN, Line("far", 900, 0, 900, 9)], "foot")
    assert (event.line, event.label, event.time) == ("gate", "dog", 0.3)
