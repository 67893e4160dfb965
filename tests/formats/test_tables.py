from array import array
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from masa_cli import formats
from masa_cli.errors import SourceError
from masa_cli.formats.files import TextFile
from masa_cli.formats.tables import DetectionTable, TrackTable
from masa_cli.formats.text_columns import check_whole, read_numbers
from masa_cli.structures import Tracks


def table(*rows: tuple[float, ...]) -> DetectionTable:
    """Of rows (frame, x1, y1, x2, y2); the scores tell the rows apart: 0, 1, 2, …"""
    columns = np.array(rows, np.float32).reshape(-1, 5)
    count = len(columns)
    return DetectionTable.from_rows(
        columns[:, 0].astype(np.int64),
        columns[:, 1:],
        np.arange(count, dtype=np.float32),
        np.zeros(count, np.int64),
        ("object",),
    )


def test_rows_are_sorted_by_frame_and_keep_their_order_within():
    # Enough rows that a sort which is not stable would mix them.
    dets = table(*[(frame, 0, 0, 1, 1) for frame in [2, 0] * 50])
    assert dets.frames.tolist() == [0] * 50 + [2] * 50
    assert dets.scores.tolist() == [*range(1, 100, 2), *range(0, 100, 2)]


def test_boxes_without_area_are_dropped_and_counted():
    dets = table((0, 5, 5, 5, 9), (0, 5, 5, 9, 4), (0, 5, 5, 9, 9))
    assert (len(dets), dets.num_empty) == (1, 2)


def test_one_frame_is_found_and_a_frame_without_boxes_is_empty():
    dets = table((0, 0, 0, 1, 1), (2, 0, 0, 2, 2), (2, 0, 0, 3, 3))
    assert dets.of_frame(2).boxes.tolist() == [[0, 0, 2, 2], [0, 0, 3, 3]]
    assert [len(dets.of_frame(index)) for index in (0, 1, 3)] == [1, 0, 0]


def test_num_frames_is_the_last_frame_and_one():
    assert table((7, 0, 0, 1, 1)).num_frames == 8
    assert table().num_frames == 0


def test_only_boxes_wholly_outside_are_dropped():
    dets = table((0, -5, 0, 1, 1), (0, -5, 0, 0, 1), (0, 9, 9, 20, 20), (0, 10, 0, 20, 9))
    kept, num_dropped = dets.inside(10, 10)
    assert kept.boxes.tolist() == [[-5, 0, 1, 1], [9, 9, 20, 20]]
    assert num_dropped == 2


def test_frames_past_the_end_are_dropped_and_what_was_counted_stays():
    dets = table((0, 0, 0, 1, 1), (3, 0, 0, 1, 1), (4, 0, 0, 0, 1))
    kept, num_dropped = dets.before(3)
    assert (kept.frames.tolist(), num_dropped, kept.num_empty) == ([0], 1, 1)


def test_unsorted_columns_are_refused():
    with pytest.raises(ValueError, match="sorted"):
        DetectionTable(
            np.array([1, 0]),
            np.ones((2, 4), np.float32),
            np.ones(2, np.float32),
            np.zeros(2, np.int64),
            ("object",),
        )


def text(*lines: str) -> TextFile:
    """Lines numbered 11, 12, 13, …"""
    return TextFile(Path("t.txt"), list(lines), array("q", range(11, 11 + len(lines))))


def test_wanted_columns_come_in_the_wanted_order():
    rows = read_numbers(text("1,x,3", "4,y,6"), {"last": 2, "first": 0})
    assert rows.tolist() == [[3, 1], [6, 4]]


def test_no_lines_are_no_rows():
    assert read_numbers(text(), {"a": 0, "b": 1}).shape == (0, 2)


def test_a_column_without_numbers_is_converted():
    rows = read_numbers(text('1,"a,b"', "2,c"), {"a": 0, "b": 1}, {"b": len})
    assert rows.tolist() == [[1, 3], [2, 1]]


@pytest.mark.parametrize("count", [1, 2, 7, 8])
def test_the_bad_line_is_found_wherever_it_is(count: int):
    for bad in range(count):
        lines = ["1,2"] * count
        lines[bad:] = ["1,two"] + ["oops"] * (count - bad - 1)
        with pytest.raises(SourceError, match=rf"t.txt line {11 + bad}: .* in column 2 \(b\)"):
            read_numbers(text(*lines), {"a": 0, "b": 1})


@pytest.mark.parametrize("bad", [2.5, 0.0])
def test_numbers_that_are_not_whole_or_too_low_are_named(bad: float):
    with pytest.raises(SourceError, match=f"line 12: expected a whole frame from 1, got {bad:g}"):
        check_whole(text("1", "?", "2"), np.array([1, bad, 2]), "frame", minimum=1)


def tracks_of(*ids: int) -> TrackTable:
    """A box in a frame of its own for each id."""
    count = len(ids)
    boxes, scores = np.tile(np.float32([0, 0, 5, 5]), (count, 1)), np.ones(count, np.float32)
    tracks = Tracks(boxes, scores, np.zeros(count, np.int64), np.array(ids, np.int64))
    return TrackTable.from_rows(Path("t.txt"), np.arange(count), tracks, ("object",))


def test_ids_that_count_from_0_are_all_raised_and_it_is_said(caplog: pytest.LogCaptureFixture):
    assert tracks_of(0, 3, 0).tracks.ids.tolist() == [1, 4, 1]
    assert "t.txt: ids count from 0; all were raised by 1" in caplog.text


def test_ids_from_1_stay_as_they_are(caplog: pytest.LogCaptureFixture):
    assert tracks_of(2**31 - 1, 3).tracks.ids.tolist() == [2**31 - 1, 3]
    assert caplog.text == ""


def test_ids_beyond_int32_are_numbered_anew_and_the_old_ones_told(
    caplog: pytest.LogCaptureFixture,
):
    assert tracks_of(2**40, 7, 2**40).tracks.ids.tolist() == [1, 2, 1]
    assert "1 was 1099511627776, 2 was 7" in caplog.text


def test_ids_below_0_are_none():
    with pytest.raises(SourceError, match="expected ids from 1, or from 0, got -1"):
        tracks_of(-1)


@pytest.mark.parametrize("name", ["t.txt", "t.csv"])
def test_ids_that_float64_does_not_tell_apart_stay_apart(tmp_path: Path, name: str):
    big = (2**63 + 1, 2**63 + 2, 2**53 + 1)
    rows = [f"1,{id_},10,20,30,40,0.9" for id_ in big]
    header = ["frame,id,x1,y1,x2,y2,score"] if name == "t.csv" else []
    (tmp_path / name).write_text("\n".join(header + rows))
    assert formats.read_tracks(tmp_path / name).tracks.ids.tolist() == [1, 2, 3]


SHARES = np.float32([[0.1, 0.2, 0.3, 0.6], [-0.05, 0.5, 1.1, 1]])


def test_shares_of_the_picture_become_pixels_and_it_is_said(caplog: pytest.LogCaptureFixture):
    dets = table((0, *SHARES[0]), (1, *SHARES[1])).in_pixels(Path("d.txt"), (200, 100))
    np.testing.assert_allclose(dets.boxes, [[20, 20, 60, 60], [-10, 50, 220, 100]], rtol=1e-6)
    assert "d.txt: boxes reach from -0.05 to 1.1: they were taken as shares" in caplog.text
    assert "picture of 200 x 100 pixels" in caplog.text


def test_shares_of_a_picture_of_unknown_size_are_said(caplog: pytest.LogCaptureFixture):
    dets = table((0, *SHARES[0]))
    assert dets.in_pixels(Path("d.txt"), None).boxes.tolist() == dets.boxes.tolist()
    assert "they look like shares of the picture, whose size is not known" in caplog.text


@pytest.mark.parametrize("box", [(0, 0, 1, 1), (0.2, 0.4, 1.8, 0.9), (0.5, 0.5, 0.9, 30)])
def test_small_boxes_in_pixels_stay_as_they_are(caplog: pytest.LogCaptureFixture, box: Any):
    dets = table((0, *box))
    assert dets.in_pixels(Path("d.txt"), (200, 100)).boxes.tolist() == dets.boxes.tolist()
    assert caplog.text == ""


def test_tracks_in_shares_become_pixels_where_the_size_is_known(tmp_path: Path):
    path = tmp_path / "t.csv"
    path.write_text("frame,id,x1,y1,x2,y2,score\n0,1,0.1,0.2,0.3,0.6,0.9\n")
    tracks = formats.read_tracks(path, hints=formats.Hints((200, 100))).tracks
    np.testing.assert_allclose(tracks.boxes, [[20, 20, 60, 60]], rtol=1e-6)


def test_boxes_of_negative_size_are_left_out_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    path = tmp_path / "t.txt"
    path.write_text("1,1,10,20,-5,40,1\n1,2,10,20,5,-4,1\n2,3,10,20,5,4,1\n")
    assert formats.read_tracks(path).tracks.ids.tolist() == [3]
    assert "t.txt: 2 boxes of negative width or height were left out" in caplog.text


BIG = (2**62 + 1, 2**62 + 2, 2**53 + 1)


def test_big_ids_of_jsonl_stay_apart(tmp_path: Path):
    line = '{{"frame":{},"time":{},"boxes":[[0,0,5,5]],"ids":[{}],"labels":["a"],"scores":[1]}}\n'
    lines = (line.format(frame, frame, id_) for frame, id_ in enumerate(BIG))
    (tmp_path / "t.jsonl").write_text("".join(lines))
    assert formats.read_tracks(tmp_path / "t.jsonl").tracks.ids.tolist() == [1, 2, 3]


def test_big_ids_of_parquet_stay_apart(tmp_path: Path):
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    columns: dict[str, list[float]] = {"frame": [0, 1, 2], "id": [*BIG], "score": [1.0] * 3}
    columns |= {"x1": [0.0] * 3, "y1": [0.0] * 3, "x2": [5.0] * 3, "y2": [5.0] * 3}
    parquet.write_table(arrow.table(columns), str(tmp_path / "t.parquet"))
    assert formats.read_tracks(tmp_path / "t.parquet").tracks.ids.tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("t.txt", "1,-1,0,0,5,5,1,2\n1,-1,9,0,5,5,1,3\n2,4,0,0,5,5,1,2\n"),
        ("t.csv", "frame,id,x1,y1,x2,y2,score\n0,,0,0,5,5,1\n0,-1,9,0,14,5,1\n1,4,0,0,5,5,1\n"),
    ],
)
def test_rows_without_an_id_among_others_are_left_out_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, text: str
):
    (tmp_path / name).write_text(text)
    table = formats.read_tracks(tmp_path / name)
    assert (table.frames.tolist(), table.tracks.ids.tolist()) == ([1], [4])
    assert f"{name}: 2 of 3 rows have no id (-1) and were left out" in caplog.text


def test_rows_of_parquet_without_an_id_are_left_out(tmp_path: Path):
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    columns: dict[str, Any] = {"frame": [0, 1, 2], "id": [None, 3, -1], "score": [1.0] * 3}
    columns |= {"x1": [0.0] * 3, "y1": [0.0] * 3, "x2": [5.0] * 3, "y2": [5.0] * 3}
    parquet.write_table(arrow.table(columns), str(tmp_path / "t.parquet"))
    assert formats.read_tracks(tmp_path / "t.parquet").tracks.ids.tolist() == [3]


@pytest.mark.parametrize("name", ["t.txt", "t.csv"])
def test_a_file_without_any_id_holds_no_tracks(tmp_path: Path, name: str):
    header = "frame,id,x1,y1,x2,y2,score\n" if name == "t.csv" else ""
    (tmp_path / name).write_text(header + "1,-1,0,0,5,5,1\n2,-1,0,0,5,5,1\n")
    with pytest.raises(
        SourceError, match=r"(line 1: expected an id from 0|from 1, or from 0), got -1"
    ) as error:
        formats.read_tracks(tmp_path / name)
    assert "detections without identities" in str(error.value.fix)
