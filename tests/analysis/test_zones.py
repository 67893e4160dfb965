"""Visits worked out by hand: a square zone from 100 to 200, boxes 40 wide and 40 high."""

import numpy as np
import pytest

from masa_cli.analysis.zones import Zone, occupancy, visits, zone_counts
from tests.analysis.tables import seconds, table

SQUARE = Zone("square", (((100, 0), (200, 0), (200, 200), (100, 200)),))


def way(xs, id_=1, frames=None, y=100, label=0):
    """Rows of a track whose foot is at these x and at y."""
    frames = range(len(xs)) if frames is None else frames
    return [
        (frame, id_, x - 20, y - 40, x + 20, y, 0.9, label, 0)
        for frame, x in zip(frames, xs, strict=True)
    ]


def found(rows, zones=(SQUARE,), point="foot", **more):
    tracks = table(rows, **more)
    return visits(tracks, seconds(tracks), zones, point)


def test_who_walks_through_enters_and_leaves_once():
    (visit,) = found(way([50, 90, 130, 170, 210, 250]))
    assert (visit.first, visit.last, visit.end) == (2, 3, 4)
    assert (visit.entered, visit.left) == (True, True)
    assert (visit.begin, visit.seconds) == (pytest.approx(0.2), pytest.approx(0.2))


def test_who_is_inside_all_the_time_appeared_and_vanished_there():
    (visit,) = found(way([150, 151, 152]))
    assert (visit.first, visit.last, visit.end) == (0, 2, 2)
    assert (visit.entered, visit.left) == (False, False)
    assert visit.seconds == pytest.approx(0.2)


def test_who_stays_outside_does_not_visit():
    assert found(way([20, 50, 90, 20])) == []


def test_who_trembles_on_the_border_enters_once():
    """Within 2 pixels (a twentieth of 40) nothing is decided."""
    xs = [50, 99, 101, 99, 101, 99, 101, 150]
    (visit,) = found(way(xs))
    assert visit.first == 6  # since then it is inside for good
    assert visit.entered


def test_who_only_trembles_does_not_enter():
    assert found(way([50, 99, 101, 99, 101, 99, 50])) == []


def test_who_trembles_all_its_life_is_where_it_mostly_is():
    assert len(found(way([101, 99, 101]))) == 1
    assert found(way([99, 101, 99])) == []


def test_coming_back_is_another_visit():
    visits_ = found(way([50, 150, 50, 150]))
    assert [(visit.first, visit.entered, visit.left) for visit in visits_] == [
        (1, True, True),
        (3, True, False),
    ]


def test_a_gap_inside_is_no_exit_and_one_across_the_border_ends_when_it_is_seen_again():
    (inside,) = found(way([150, 150], frames=[0, 9]))
    assert (inside.first, inside.last) == (0, 9)
    (across,) = found(way([150, 250], frames=[0, 9]))
    assert (across.last, across.end, across.left) == (8, 9, True)


@pytest.mark.parametrize(("point", "first"), [("foot", 2), ("centre", 2), ("overlap", 2)])
def test_anchors_of_a_box_that_comes_from_the_side(point, first):
    (visit,) = found(way([50, 90, 130, 150]), point=point)
    assert visit.first == first


def test_foot_and_centre_differ_at_an_upper_border():
    low = Zone("low", (((0, 100), (300, 100), (300, 300), (0, 300)),))
    rows = [(index, 1, 80, y - 40, 120, y, 0.9, 0, 0) for index, y in enumerate((80, 110, 130))]
    assert found(rows, [low])[0].first == 1
    assert found(rows, [low], "centre")[0].first == 2  # centres: 60, 90, 110
    assert found(rows, [low], "overlap")[0].first == 2  # shares inside: 0, 1/4, 3/4


def test_polygons_of_a_zone_count_together():
    two = Zone("two", (((0, 0), (60, 0), (60, 200), (0, 200)), *SQUARE.polygons))
    assert [visit.first for visit in found(way([30, 80, 150]), [two])] == [0, 2]


def test_occupancy_counts_first_and_last_frames():
    rows = way([50, 150, 150, 250], 1) + way([150, 150, 250, 250], 2)
    assert occupancy(found(rows), 4).tolist() == [1, 2, 1, 0]


def test_counts_are_of_all_and_of_each_class():
    rows = way([50, 150, 150, 250], 1) + way([150, 150, 150, 150], 2, label=1)
    tracks = table(rows)
    times = seconds(tracks)
    every, car, dog = zone_counts(visits(tracks, times, [SQUARE], "foot"), times, [SQUARE])
    assert (every.label, car.label, dog.label) == ("", "car", "dog")
    assert (every.entries, every.exits, every.appeared, every.vanished) == (1, 1, 1, 1)
    assert (every.tracks, every.peak, every.peak_time) == (2, 2, pytest.approx(0.1))
    assert every.mean == pytest.approx((1 + 2 + 2 + 1) / 4)
    assert (car.longest_seconds, dog.longest_seconds) == (pytest.approx(0.2), pytest.approx(0.3))
    assert every.median_seconds == pytest.approx(0.25)


def test_the_time_of_a_track_is_that_of_all_its_visits():
    tracks = table(way([150, 150, 50, 150, 150]))
    times = seconds(tracks)
    (counts,) = zone_counts(visits(tracks, times, [SQUARE], "foot"), times, [SQUARE])
    assert counts.tracks == 1
    assert counts.longest_seconds == pytest.approx(0.2 + 0.1)


def test_a_zone_that_nobody_visits_has_a_row():
    (counts,) = zone_counts([], np.zeros(0), [SQUARE])
    assert (counts.zone, counts.entries, counts.peak, counts.mean) == ("square", 0, 0, 0)


def test_no_tracks_make_no_visits():
    assert found([]) == []
