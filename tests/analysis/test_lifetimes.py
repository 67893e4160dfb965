import csv
import io

from masa_cli.analysis.lifetimes import as_csv, class_counts, lifetimes
from tests.analysis.tables import seconds, table

ROWS = [
    (0, 5, 0, 0, 10, 10, 0.5, 1),
    (1, 5, 3, 4, 13, 14, 1.0, 1),
    (4, 5, 3, 4, 13, 14, 0.6, 0),
    (1, 2, 50, 50, 60, 60, 0.9, 0),
    (2, 2, 50, 50, 60, 60, 0.9, 0),
]


def test_each_track_is_measured():
    found = table(ROWS)
    second, first = lifetimes(found, seconds(found))
    assert (first.id, first.label, first.first, first.last) == (5, "dog", 0, 4)
    assert (first.boxes, first.gaps, first.begin, first.seconds) == (3, 1, 0.0, 0.4)
    assert first.distance == 5.0
    assert abs(first.score - 0.7) < 1e-6
    assert (second.id, second.label, second.boxes, second.gaps) == (2, "car", 2, 0)


def test_tracks_are_counted_by_the_class_most_of_their_boxes_have():
    found = table([*ROWS, (2, 3, 0, 0, 5, 5, 0.9, 0)])
    counts = class_counts(found, lifetimes(found, seconds(found)))
    assert [(count.label, count.tracks, count.boxes) for count in counts] == [
        ("car", 2, 3),
        ("dog", 1, 3),
    ]
    assert [count.most_at_once for count in counts] == [2, 1]
    assert counts[0].longest_seconds == 0.1


def test_no_tracks_have_no_counts():
    assert class_counts(table([]), lifetimes(table([]), seconds(table([])))) == []


def test_csv_has_a_row_per_track_and_quotes_names():
    found = table(ROWS, classes=('a,"b"\n', "dog"))
    rows = list(csv.DictReader(io.StringIO(as_csv(lifetimes(found, seconds(found))).decode())))
    assert [row["id"] for row in rows] == ["2", "5"]
    assert rows[0]["label"] == 'a,"b"\n'
