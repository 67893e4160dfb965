import numpy as np

from masa_cli.analysis.crops import CropSettings, best_views, crop_box
from tests.analysis.tables import table

SIZE = (200, 100)


def chosen(rows, **settings):
    found = table(rows)
    views = best_views(found, SIZE, CropSettings(**settings))
    return [(int(found.frames[row]), int(found.tracks.ids[row])) for row in views]


def box(frame, left=50, size=30, id_=1, top=40, **more):
    rest = (more.get("score", 0.9), 0, more.get("interpolated", 0))
    return (frame, id_, left, top, left + size, top + size, *rest)


def test_the_largest_and_surest_view_is_best():
    assert chosen([box(0, size=20), box(1, size=40), box(2, size=20)], per_track=1) == [(1, 1)]
    assert chosen([box(0, score=0.3), box(1, score=0.9)], per_track=1) == [(1, 1)]


def test_views_are_spread_over_the_life_of_a_track():
    rows = [box(frame, size=30 + (frame in (10, 11, 12))) for frame in range(21)]
    first, second = chosen(rows, per_track=2)
    assert first[0] in (10, 11, 12) or second[0] in (10, 11, 12)
    assert second[0] - first[0] > 5


def test_whole_views_are_preferred_to_cut_and_hidden_ones():
    assert chosen([box(0, left=-15), box(1)], per_track=1) == [(1, 1)]
    hiding = [box(0, id_=2, top=50, left=55), box(0), box(1, size=28)]
    assert (1, 1) in chosen(hiding, per_track=1)


def test_small_and_interpolated_boxes_are_never_chosen():
    assert chosen([box(0, size=15.5)]) == []
    assert chosen([box(0, interpolated=1), box(1)]) == [(1, 1)]
    assert chosen([box(0, left=500)]) == []
    assert chosen([]) == []


def test_a_crop_stays_within_the_picture():
    inside = crop_box(np.array([10, 20, 30, 60], np.float32), SIZE, 0.1)
    assert inside == (8, 16, 32, 64)
    assert crop_box(np.array([-10, -5, 8.5, 9.2], np.float32), SIZE, 0.0) == (0, 0, 9, 10)
    assert crop_box(np.array([500, 500, 510, 510], np.float32), SIZE, 0.0) == (199, 99, 200, 100)
