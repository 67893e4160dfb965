"""Every edit on tracks that are written out, and what is refused."""

from dataclasses import replace

import numpy as np
import pytest

from masa_cli.review.edits import EDITS, EditError, as_record, parse
from masa_cli.review.log import History
from masa_cli.review.tracks import TracksById
from tests.review.tables import MASK, shown, table_of

# 1 goes to the right; 2 has a gap at frame 2, 3 an interpolated box at 1.
SCENE = (
    *((frame, 1, 10 * frame) for frame in range(4)),
    *((frame, 2, 50.0) for frame in (0, 1, 3)),
    (0, 3, 0.0),
    (1, 3, 10.0, "~"),
    (2, 3, 20.0),
)


def edited(*records, table=None):
    history = History(TracksById.of(table or table_of(*SCENE)))
    for record in records:
        history.step(record)
    return shown(history.tracks.table())


BEFORE = shown(table_of(*SCENE))


def test_rename_gives_a_free_number():
    found = edited({"edit": "rename", "id": 2, "to": 9})
    assert found == {1: BEFORE[1], 3: BEFORE[3], 9: BEFORE[2]}


def test_merge_joins_what_is_not_seen_at_once():
    table = table_of((0, 1, 0), (1, 1, 1), (3, 2, 3), (4, 2, 4))
    assert edited({"edit": "merge", "id": 2, "into": 1}, table=table) == {
        1: [(0, 0), (1, 1), (3, 3), (4, 4)]
    }


def test_merge_refuses_two_detected_boxes_in_a_frame():
    with pytest.raises(EditError, match="both seen in 3 frames, first in frame 0"):
        edited({"edit": "merge", "id": 2, "into": 1})


def test_merge_keeps_the_boxes_of_the_other_where_that_is_wanted():
    found = edited({"edit": "merge", "id": 1, "into": 2, "overlaps": "keep"})
    assert found[2] == [(0, 50), (1, 50), (2, 20), (3, 50)]
    assert 1 not in found


def test_merge_prefers_detected_boxes_to_interpolated_ones():
    table = table_of((0, 1, 0), (1, 1, 1, "~"), (2, 1, 2), (1, 2, 7), (3, 2, 9, "~"), (3, 1, 3))
    assert edited({"edit": "merge", "id": 2, "into": 1}, table=table) == {
        1: [(0, 0), (1, 7), (2, 2), (3, 3)]
    }


def test_merge_of_a_track_that_is_wholly_replaced():
    table = table_of((0, 1, 0, "~"), (0, 2, 7))
    assert edited({"edit": "merge", "id": 2, "into": 1}, table=table) == {1: [(0, 7)]}


def test_split_gives_the_rest_a_new_number():
    found = edited({"edit": "split", "id": 1, "frame": 2, "new": 4})
    assert (found[1], found[4]) == ([(0, 0), (1, 10)], [(2, 20), (3, 30)])


@pytest.mark.parametrize("frame", [0, 4])
def test_split_refuses_to_leave_nothing(frame):
    with pytest.raises(EditError, match="has boxes only"):
        edited({"edit": "split", "id": 1, "frame": frame, "new": 4})


def test_swap_exchanges_from_a_frame_on():
    found = edited({"edit": "swap", "id": 1, "other": 2, "frame": 2})
    assert found[1] == [(0, 0), (1, 10), (3, 50)]
    assert found[2] == [(0, 50), (1, 50), (2, 20), (3, 30)]


def test_swap_of_a_stretch_leaves_what_follows():
    found = edited({"edit": "swap", "id": 1, "other": 2, "frame": 0, "last": 1})
    assert found[1] == [(0, 50), (1, 50), (2, 20), (3, 30)]
    assert found[2] == [(0, 0), (1, 10), (3, 50)]


def test_swap_twice_is_as_before():
    swap = {"edit": "swap", "id": 1, "other": 2, "frame": 1}
    assert edited(swap, swap) == BEFORE


def test_swap_with_one_that_has_ended_hands_over():
    table = table_of((0, 1, 0), (1, 1, 1), (0, 2, 5))
    assert edited({"edit": "swap", "id": 1, "other": 2, "frame": 1}, table=table) == {
        1: [(0, 0)],
        2: [(0, 5), (1, 1)],
    }


def test_delete_takes_all_or_some_boxes():
    assert 3 not in edited({"edit": "delete", "id": 3})
    assert edited({"edit": "delete", "id": 1, "first": 1, "last": 2})[1] == [(0, 0), (3, 30)]


def test_class_is_of_all_boxes_and_may_be_new():
    history = History(TracksById.of(table_of(*SCENE)))
    history.step({"edit": "class", "id": 1, "label": "dog"})
    table = history.tracks.table()
    assert table.classes == ("person", "car", "dog")
    assert set(table.tracks.labels[table.tracks.ids == 1]) == {2}
    history.undo()
    assert history.tracks.classes == ("person", "car")


def test_box_replaces_one_and_interpolates_to_its_neighbours():
    table = table_of((0, 1, 0), (1, 1, 1, "~"), (2, 1, 2, "~"), (3, 1, 3, "~"), (4, 1, 4))
    found = edited(
        {"edit": "box", "id": 1, "frame": 2, "box": [40, 5, 50, 25], "fill": 3}, table=table
    )
    assert found[1] == [(0, 0), (1, 20, "~"), (2, 40), (3, 22, "~"), (4, 4)]


def test_box_fills_no_gap_that_is_longer():
    table = table_of((0, 1, 0), (4, 1, 4))
    box = {"edit": "box", "id": 1, "frame": 9, "box": [9, 5, 19, 25]}
    assert edited({**box, "fill": 3}, table=table)[1] == [(0, 0), (4, 4), (9, 9)]
    assert len(edited({**box, "fill": 4}, table=table)[1]) == 7


def test_box_of_a_new_identity_needs_a_label():
    box = {"edit": "box", "id": 8, "frame": 1, "box": [1, 2, 3, 4]}
    with pytest.raises(EditError, match="a new one needs a label"):
        edited(box)
    assert edited({**box, "label": "car"})[8] == [(1, 1)]


def test_box_by_hand_is_sure_and_has_no_mask():
    table = table_of((0, 1, 0), (1, 1, 1))
    masks = np.array([MASK, MASK], object)
    table = replace(table, tracks=replace(table.tracks, masks=masks))
    history = History(TracksById.of(table))
    history.step({"edit": "box", "id": 1, "frame": 1, "box": [1, 2, 3, 4]})
    rows = history.tracks.table().tracks
    assert rows.has_mask.tolist() == [True, False]
    assert rows.scores.tolist() == [0.5, 1.0]


def test_interpolate_replaces_detected_boxes_between():
    found = edited({"edit": "interpolate", "id": 2, "first": 0, "last": 3})
    assert found[2] == [(0, 50), (1, 50, "~"), (2, 50, "~"), (3, 50)]


def test_undo_and_redo_bring_everything_back():
    records = [
        {"edit": "rename", "id": 2, "to": 9},
        {"edit": "split", "id": 1, "frame": 2, "new": 4},
        {"edit": "delete", "id": 3},
        {"edit": "merge", "id": 4, "into": 1},
        {"edit": "swap", "id": 1, "other": 9, "frame": 1},
        {"edit": "class", "id": 1, "label": "dog"},
        {"edit": "box", "id": 1, "frame": 7, "box": [1, 2, 3, 4], "fill": 9},
    ]
    after = edited(*records)
    undone = [{"edit": "undo"}] * len(records)
    assert edited(*records, *undone) == BEFORE
    assert edited(*records, *undone, *[{"edit": "redo"}] * len(records)) == after


def test_an_edit_after_undo_ends_what_could_be_redone():
    history = History(TracksById.of(table_of(*SCENE)))
    for record in ({"edit": "delete", "id": 1}, {"edit": "undo"}, {"edit": "delete", "id": 2}):
        history.step(record)
    with pytest.raises(EditError, match="nothing to redo"):
        history.redo()


@pytest.mark.parametrize(
    ("record", "told"),
    [
        ("swap", "JSON object"),
        ({"edit": "explode"}, "one of rename"),
        ({"edit": ["swap"]}, "one of rename"),
        ({"edit": "rename", "id": 1}, "to is missing"),
        ({"edit": "rename", "id": True, "to": 5}, "whole number from 1"),
        ({"edit": "rename", "id": 1, "to": 1.0}, "whole number from 1"),
        ({"edit": "rename", "id": 1, "to": 2**31}, "whole number from 1"),
        ({"edit": "rename", "id": 1, "to": 2}, "there is an identity 2 already"),
        ({"edit": "rename", "id": 7, "to": 8}, "there is no identity 7"),
        ({"edit": "rename", "id": 1, "to": 8, "x": 1}, "unknown x"),
        ({"edit": "merge", "id": 1, "into": 1}, "merged into itself"),
        ({"edit": "merge", "id": 1, "into": 2, "overlaps": "both"}, "refuse"),
        ({"edit": "split", "id": 1, "frame": 2, "new": 3}, "there is an identity 3 already"),
        ({"edit": "split", "id": 1, "frame": -1, "new": 4}, "whole number from 0"),
        ({"edit": "swap", "id": 1, "other": 1, "frame": 0}, "swapped with itself"),
        ({"edit": "swap", "id": 1, "other": 2, "frame": 9}, "neither 1 nor 2"),
        ({"edit": "delete", "id": 2, "first": 2, "last": 2}, "2 has no box in frames 2 to 2"),
        ({"edit": "class", "id": 1, "label": " "}, "a name"),
        ({"edit": "class", "id": 1, "label": "a\nb"}, "a name"),
        ({"edit": "class", "id": 1, "label": "a" * 201}, "at most 200"),
        ({"edit": "box", "id": 1, "frame": 0, "box": [3, 2, 1, 4]}, "x1 < x2"),
        ({"edit": "box", "id": 1, "frame": 0, "box": [1, 2, 3, float("nan")]}, "numbers below"),
        ({"edit": "box", "id": 1, "frame": 0, "box": [1, 2, 3]}, "numbers below"),
        ({"edit": "box", "id": 1, "frame": 0, "box": [1, 2, 3, 1e9]}, "numbers below"),
        ({"edit": "interpolate", "id": 2, "first": 0, "last": 2}, "no box in frame 2"),
        ({"edit": "interpolate", "id": 2, "first": 0, "last": 1}, "no frame between"),
        ({"edit": "undo"}, "nothing to undo"),
    ],
)
def test_what_cannot_be_done_is_refused(record, told):
    history = History(TracksById.of(table_of(*SCENE)))
    with pytest.raises(EditError, match=told):
        history.step(record) if isinstance(record, dict) else parse(record)
    assert shown(history.tracks.table()) == BEFORE


@pytest.mark.parametrize("name", EDITS)
def test_each_edit_is_written_as_it_is_read(name):
    values = {"box": [1.5, 2, 3, 4], "label": "dog", "overlaps": "keep"}
    record = {"edit": name}
    for each in EDITS[name].__dataclass_fields__:
        if each != "name":
            record[each] = values.get(each, 5)
    edit = parse(record)
    assert parse(as_record(edit)) == edit
    assert edit.text()
