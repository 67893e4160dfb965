"""Suspicious places of scenes that are written out, and of tracks that a tracker doubted."""

from dataclasses import replace

import numpy as np
import pytest

from masa_cli.review.places import suspicious_places
from tests.review.tables import table_of


def scene(*rows, num_frames=60):
    return replace(table_of(*rows, num_frames=num_frames), size=(400, 400))


def down(table):
    """In the middle of the picture, where nobody comes or goes."""
    boxes = table.tracks.boxes + np.array([100, 200, 100, 200], np.float32)
    return replace(table, tracks=replace(table.tracks, boxes=boxes))


def path(id_, frames, at, speed):
    return [(frame, id_, at + speed * frame) for frame in frames]


def told(table):
    return [(place.kind, place.frame, ids_of(table, place)) for place in suspicious_places(table)]


def ids_of(table, place):
    found = []
    for frame, *box in place.boxes:
        same = (table.frames == frame) & (np.abs(table.tracks.boxes - box).max(axis=1) < 0.01)
        found.append(int(table.tracks.ids[same][0]))
    return found


def test_no_tracks_have_no_places():
    assert suspicious_places(table_of()) == []


def test_a_track_of_one_box_has_its_place():
    assert [kind for kind, _, _ in told(scene((0, 1, 5.0)))] == ["short"]


def test_steady_tracks_that_are_there_throughout_are_not_suspicious():
    table = down(scene(*path(1, range(60), 0, 1), *path(2, range(60), 150, -1)[:30]))
    table = down(scene(*path(1, range(60), 0, 1)))
    assert told(table) == []


def test_two_that_turn_back_where_they_meet_may_be_swapped():
    """They come near, hide each other, and go back as they came: or pass, and their ids do not."""
    turn = [*range(25), *range(24, -1, -1)]
    one = [(frame, 1, float(at)) for frame, at in enumerate(turn)]
    two = [(frame, 2, 50.0 - at) for frame, at in enumerate(turn)]
    places = told(down(scene(*one, *two, num_frames=50)))
    kind, frame, ids = places[0]
    assert (kind, sorted(ids)) == ("crossing", [1, 2])
    assert 25 <= frame <= 32


def test_two_that_pass_are_hardly_suspicious():
    table = down(scene(*path(1, range(50), 0, 1), *path(2, range(50), 50, -1), num_frames=50))
    assert [place for place in suspicious_places(table) if place.worth > 0.2] == []


def test_one_that_comes_back_elsewhere_is_suspicious_and_one_on_its_way_is_less():
    straight = path(1, [*range(20), *range(30, 60)], 0, 1)
    aside = [(frame, id_, x + 60 * (frame > 20)) for frame, id_, x in straight]
    near, far = (suspicious_places(down(scene(*rows))) for rows in (straight, aside))
    assert far[0].kind == "return"
    assert far[0].frame == 30
    assert far[0].worth > 2 * sum(place.worth for place in near)


def test_two_that_change_places_at_once_jump():
    rows = [(frame, 1 + (frame >= 30), 1.0 * frame) for frame in range(60)]
    rows += [(frame, 2 - (frame >= 30), 150.0 - frame) for frame in range(60)]
    places = told(down(scene(*rows)))
    assert {(kind, frame) for kind, frame, _ in places[:2]} == {("jump", 30)}


def test_one_that_begins_where_another_ended_may_be_its_rest():
    table = down(scene(*path(1, range(20), 0, 1), *path(2, range(24, 60), 0, 1)))
    kind, frame, ids = told(table)[0]
    assert (kind, frame, ids) == ("begin", 24, [2, 1])
    assert suspicious_places(table)[0].worth > 0.8


def test_one_that_fills_the_gap_of_another_may_be_it():
    table = down(scene(*path(1, [*range(20), *range(40, 60)], 0, 1), *path(2, range(21, 39), 0, 1)))
    assert {1, 2} == set(told(table)[0][2])
    assert suspicious_places(table)[0].worth > 0.8


def test_who_comes_in_at_the_border_is_not_suspicious():
    table = scene(*path(1, range(60), 200, 1), *path(2, range(20, 60), -20, 1))
    assert told(table) == []


def test_doubts_of_the_tracker_come_first():
    table = down(scene(*path(1, range(60), 0, 1)))
    margins = np.full(60, np.inf, np.float32)
    margins[[30, 31]] = 0.1, 2.0
    table = replace(table, tracks=replace(table.tracks, margins=margins))
    (place,) = suspicious_places(table)
    assert (place.kind, place.frame, place.text) == ("match", 30, "unsure match")
    assert place.worth == pytest.approx(1 / (1 + np.exp(0.1)) + 1 / (1 + np.exp(2)), abs=1e-3)


def test_the_likeliest_place_is_the_first():
    table = down(scene(*path(1, range(60), 0, 1), *path(2, range(60), 150, 1)))
    margins = np.full(120, np.inf, np.float32)
    margins[[20, 90]] = 2.0, 0.5
    table = replace(table, tracks=replace(table.tracks, margins=margins))
    assert [place.frame for place in suspicious_places(table)] == [45, 10]


def test_a_picture_of_unknown_size_is_guessed():
    table = replace(
        down(scene(*path(1, range(20), 0, 1), *path(2, range(24, 60), 0, 1))), size=None
    )
    assert told(table)[0][0] == "begin"
