"""Suspicious places of scenes that are written out, and of tracks that a tracker doubted."""

from dataclasses import astuple, replace

import numpy as np
import pytest

from masa_cli.review import places
from masa_cli.review.edits import Delete, EditError, Split, Swap
from masa_cli.review.log import History
from masa_cli.review.places import Finder, Suspicions, suspicious_places
from masa_cli.review.tracks import TracksById
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


def crowd(seed, num_frames=600):
    """A minute of wandering objects with gaps, crossings and doubts of the tracker."""
    random = np.random.default_rng(seed)
    rows = []
    for id_ in range(1, 15):
        first = int(random.integers(0, num_frames - 60))
        frames = np.arange(first, min(num_frames, first + int(random.integers(3, 300))))
        frames = frames[random.random(len(frames)) > 0.05]
        if len(frames) > 40:
            frames = np.delete(frames, np.arange(20, 20 + int(random.integers(1, 20))))
        at = random.uniform(0, 300) + np.cumsum(random.normal(0.3, 2, num_frames))
        rows += [(int(frame), id_, float(at[frame])) for frame in frames]
    table = scene(*rows, num_frames=num_frames)
    margins = np.full(len(table), np.inf, np.float32)
    unsure = random.random(len(table)) < 0.02
    margins[unsure] = random.exponential(2, unsure.sum())
    soft = random.random(len(table)) < 0.05
    return replace(table, tracks=replace(table.tracks, margins=margins, interpolated=soft))


def edits_of(tracks, random):
    """One edit of each kind that can be done to these tracks, as records."""
    one, two = random.choice(sorted(tracks.tracks), 2, replace=False).tolist()
    first, last = tracks.tracks[one].frames[[0, -1]].tolist()
    middle = int(tracks.tracks[one].frames[len(tracks.tracks[one]) // 2])
    box = [50.0, 60.0, 90.0, 110.0]
    return [
        {"edit": "swap", "id": one, "other": two, "frame": middle},
        {"edit": "swap", "id": one, "other": two, "frame": first, "last": middle},
        {"edit": "split", "id": one, "frame": middle, "new": tracks.free_id},
        {"edit": "merge", "id": one, "into": two, "overlaps": "keep"},
        {"edit": "rename", "id": one, "to": tracks.free_id},
        {"edit": "delete", "id": one},
        {"edit": "delete", "id": one, "first": first, "last": middle},
        {"edit": "class", "id": one, "label": "car"},
        {"edit": "box", "id": one, "frame": middle, "box": box, "fill": 5},
        {"edit": "box", "id": tracks.free_id, "frame": middle, "box": box, "label": "car"},
        {"edit": "interpolate", "id": one, "first": first, "last": last},
        {"edit": "undo"},
        {"edit": "redo"},
    ]


def plain(hints):
    """Hints that can be compared; who of two that cross is told first depends on their ids."""
    return sorted(
        (hint.frame, hint.kind, round(hint.probability, 5), sorted(map(astuple, hint.sights)))
        for hint in hints
    )


@pytest.mark.parametrize("seed", range(3))
def test_after_an_edit_places_are_those_of_the_edited_tracks(seed):
    random, table = np.random.default_rng(seed), crowd(seed)
    history = History(TracksById.of(table))
    known = Suspicions.of(table)
    num_changed = 0
    for number in range(26):
        record = edits_of(history.tracks, random)[number % 13]
        earlier = history.tracks
        try:
            patch = history.step(record)
        except EditError:
            continue
        before = {id_: earlier.tracks.get(id_) for id_ in patch}
        found = known.edited(before, patch, history.tracks)
        anew = Suspicions.of(history.tracks.table(), known.whole)
        assert plain(found.hints) == plain(anew.hints), record
        num_changed += plain(found.hints) != plain(known.hints)
        known = found
    assert num_changed > 5


def test_a_swap_that_is_mended_is_suspicious_no_more():
    rows = [(frame, 1 + (frame >= 30), 1.0 * frame) for frame in range(60)]
    rows += [(frame, 2 - (frame >= 30), 150.0 - frame) for frame in range(60)]
    table = down(scene(*rows))
    margins = np.full(len(table), np.inf, np.float32)
    margins[table.frames == 30] = 0.1
    table = replace(table, tracks=replace(table.tracks, margins=margins))
    history, known = History(TracksById.of(table)), Suspicions.of(table)
    assert known.places()[0].frame == 30
    earlier = history.tracks
    patch = history.do(Swap(1, 2, 30))
    mended = known.edited(earlier.tracks, patch, history.tracks)
    assert [place for place in mended.places() if place.worth > 0.2] == []
    assert suspicious_places(history.tracks.table()) == mended.places()
    back = history.undo()
    again = mended.edited(patch, back, history.tracks)
    assert again.places() == known.places()


def test_only_tracks_around_an_edit_are_looked_at(monkeypatch):
    rows = [row for k in range(20) for row in path(k + 1, range(60 * k, 60 * k + 50), 0, 1)]
    table = down(scene(*rows, num_frames=1200))
    history, known = History(TracksById.of(table)), Suspicions.of(table)
    looked_at = []

    def hints_of(part, whole):
        looked_at.append(set(part.tracks.ids.tolist()))
        return real(part, whole)

    real = places.hints_of
    monkeypatch.setattr(places, "hints_of", hints_of)
    earlier = history.tracks
    patch = history.do(Split(10, 570, 99))
    known.edited({10: earlier.tracks[10], 99: None}, patch, history.tracks)
    assert {10, 99} < looked_at[0] <= set(range(6, 15)) | {99}


def test_places_follow_edits_in_a_thread():
    table = crowd(3)
    history, finder = History(TracksById.of(table)), Finder(lambda: table)
    assert finder.places(None) == suspicious_places(table)
    earlier = history.tracks
    patch = history.do(Delete(5))
    finder.edited({5: earlier.tracks[5]}, patch, history.tracks)
    known = Suspicions.of(table).edited({5: earlier.tracks[5]}, patch, history.tracks)
    assert finder.places(None) == known.places()
    finder.close()


def test_a_mistake_while_looking_is_raised_by_who_asks():
    def broken():
        raise ZeroDivisionError

    finder = Finder(broken)
    with pytest.raises(ZeroDivisionError):
        finder.places(None)
    finder.close()
