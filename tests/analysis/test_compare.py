"""Two runs whose differences were made by hand."""

from masa_cli.analysis.compare import Change, Comparison, compare
from tests.analysis.tables import table


def run(*tracks):
    """Each track: id, x, first frame, how many; boxes of 10 pixels, 100 apart."""
    return table(
        [
            (frame, id_, x, 0, x + 10, 10)
            for id_, x, first, count in tracks
            for frame in range(first, first + count)
        ]
    )


def test_the_same_run_under_other_ids_is_the_same():
    found = compare(run((1, 0, 0, 9), (2, 100, 0, 9)), run((7, 100, 0, 9), (5, 0, 0, 9)))
    assert found == Comparison(2, (), 18, 0, 0)


def test_a_track_in_two_pieces_was_split_and_the_other_way_round_merged():
    whole, pieces = run((1, 0, 0, 20)), run((1, 0, 0, 12), (2, 0, 12, 8))
    assert compare(whole, pieces).changes == (Change("split", (1,), (1, 2), 20),)
    assert compare(pieces, whole).changes == (Change("merged", (1, 2), (1,), 20),)


def test_tracks_that_swap_in_the_middle_are_mixed():
    before = run((1, 0, 0, 20), (2, 100, 0, 20))
    now = run((1, 0, 0, 10), (1, 100, 10, 10), (2, 100, 0, 10), (2, 0, 10, 10))
    assert compare(before, now).changes == (Change("mixed", (1, 2), (1, 2), 40),)


def test_what_one_run_alone_has_vanished_or_is_new():
    found = compare(run((1, 0, 0, 9), (3, 300, 0, 4)), run((1, 0, 0, 9), (2, 200, 0, 6)))
    assert found.same == 1
    assert found.changes == (Change("new", (), (2,), 6), Change("vanished", (3,), (), 4))
    assert (found.shared, found.only_before, found.only_now) == (9, 4, 6)


def test_a_moment_together_is_an_accident():
    before = run((1, 0, 0, 100), (2, 300, 0, 100))
    now = run((1, 0, 0, 98), (1, 300, 98, 2), (2, 300, 0, 98))
    assert compare(before, now).same == 2


def test_boxes_that_hardly_overlap_are_not_the_same():
    assert compare(run((1, 0, 0, 9)), run((1, 6, 0, 9))).shared == 0


def test_short_tracks_are_compared_and_no_tracks_are_no_error():
    assert compare(run((1, 0, 0, 1)), run((4, 0, 0, 1))).same == 1
    assert compare(run(), run()) == Comparison(0, (), 0, 0, 0)
    assert [change.kind for change in compare(run(), run((1, 0, 0, 2))).changes] == ["new"]
