from contextlib import suppress
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from masa_cli import formats
from masa_cli.errors import SourceError
from masa_cli.formats.detections import read_detections as read_all_detections
from masa_cli.formats.mot import (
    MotWriter,
    read_detections,
    read_results,
    read_tracks,
    read_truth,
)
from masa_cli.formats.mot_sequence import MotSequence, find_sequence, read_seqmap
from masa_cli.formats.tables import DetectionTable
from masa_cli.structures import Frame, Tracks


def read_boxes(folder: Path, text: str) -> DetectionTable:
    path = folder / "dets.txt"
    path.write_text(text)
    return read_detections(path)


def test_a_row_becomes_a_box_of_a_frame_from_0(tmp_path: Path):
    dets = read_boxes(tmp_path, "1,-1,10,20,30.5,40,0.9\n3, -1, 1, 2, 3, 4, 12\n")
    assert dets.frames.tolist() == [0, 2]
    assert dets.boxes.tolist() == [[10, 20, 40.5, 60], [1, 2, 4, 6]]
    assert dets.scores.tolist() == [np.float32(0.9), 12]
    assert dets.classes == ("object",)


def test_column_8_is_the_class_and_columns_may_differ_by_line(tmp_path: Path):
    dets = read_boxes(
        tmp_path,
        "1,-1,0,0,1,1,.5,7\n1,-1,0,0,1,1,.5\n1,-1,0,0,1,1,.5,3,-1,-1\n1,-1,0,0,1,1,.5,-1,-1\n",
    )
    assert [dets.classes[label] for label in dets.labels] == ["7", "object", "3", "object"]


def test_a_file_without_rows_is_an_empty_table(tmp_path: Path):
    assert len(read_boxes(tmp_path, "")) == 0
    assert read_boxes(tmp_path, "# nothing\n").classes == ("object",)


def test_boxes_without_area_are_counted(tmp_path: Path):
    assert read_boxes(tmp_path, "1,-1,5,5,0,9,1\n1,-1,5,5,9,-1,1\n1,-1,5,5,9,9,1\n").num_empty == 2


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1,2,30,40", 'line 4: expected at least 7 columns, got 4: "1,2,30,40"'),
        ("1,-1,1,1,1,1,1,1,1,1,1", "line 4: expected at most 10 columns, got 11"),
        (
            "1,-1,1,x,1,1,1",
            r'line 4: expected a number in column 4 \(top\), got "x": "1,-1,1,x,1,1,1"',
        ),
        ("1,-1,1,1,,1,1", r'line 4: expected a number in column 5 \(width\), got ""'),
        ("1,-1,1,1,nan,1,1", "line 4: expected a finite width .*, got nan"),
        ("1,-1,1,1,1,1,inf", "line 4: expected a finite score .*, got inf"),
        ("1,-1,1e30,1,1,1,1", "line 4: expected a finite left .*, got 1e"),
        ("1.5,-1,1,1,1,1,1", "line 4: expected a whole frame number from 1, got 1.5"),
        ("0,-1,1,1,1,1,1", "line 4: expected a whole frame number from 1, got 0"),
        ("1,-1,1,1,1,1,1,2.5", "line 4: expected a whole class number from -1, got 2.5"),
        ("1_0,-1,1,1,1,1,1", "line 4: expected plain numbers"),
    ],
)
def test_the_first_bad_line_is_named(tmp_path: Path, line: str, message: str):
    good = "1,-1,0,0,1,1,1\n"
    with pytest.raises(SourceError, match=message):
        read_boxes(tmp_path, f"# comment\n{good}\n{line}\n{good}{line}\n{good}")


def frame(index: int) -> Frame:
    return Frame.without_image(index, Fraction(index))


def tracks(*rows: tuple[float, ...]) -> Tracks:
    """Of rows (id, x1, y1, x2, y2, score, label)."""
    columns = np.array(rows, np.float64).reshape(-1, 7)
    return Tracks(
        columns[:, 1:5].astype(np.float32),
        columns[:, 5].astype(np.float32),
        columns[:, 6].astype(np.int64),
        columns[:, 0].astype(np.int64),
    )


def test_tracks_are_written_in_the_order_of_ids_with_frames_from_1(tmp_path: Path):
    path = tmp_path / "seq.txt"
    with MotWriter(path) as writer:
        writer.write(
            frame(0), tracks((7, 1, 2, 4, 6, 0.5, 0), (2, -0.001, 0.25, 10.125, 9.5, 1, 3))
        )
        writer.write(frame(1), Tracks.empty())
        writer.write(frame(2), tracks((2, 0, 0, 1, 1, -0.00001, 0)))
    assert path.read_text() == (
        "1,2,0.00,0.25,10.13,9.25,1.0000,-1,-1,-1\n"
        "1,7,1.00,2.00,3.00,4.00,0.5000,-1,-1,-1\n"
        "3,2,0.00,0.00,1.00,1.00,0.0000,-1,-1,-1\n"
    )


def test_interpolated_boxes_have_a_score_of_0(tmp_path: Path):
    path = tmp_path / "seq.txt"
    written = tracks((1, 0, 0, 1, 1, 0.9, 0), (2, 5, 5, 6, 6, 0.9, 0))
    with MotWriter(path) as writer:
        writer.write(frame(0), replace(written, interpolated=np.array([True, False])))
    assert path.read_text() == (
        "1,1,0.00,0.00,1.00,1.00,0.0000,-1,-1,-1\n1,2,5.00,5.00,1.00,1.00,0.9000,-1,-1,-1\n"
    )


def test_class_numbers_from_1_go_into_column_8(tmp_path: Path):
    path = tmp_path / "seq.txt"
    with MotWriter(path, with_classes=True) as writer:
        writer.write(frame(0), tracks((1, 0, 0, 1, 1, 1, 4)))
    assert path.read_text() == "1,1,0.00,0.00,1.00,1.00,1.0000,5,-1,-1\n"


def test_what_is_written_reads_as_the_same_boxes(tmp_path: Path):
    path = tmp_path / "seq.txt"
    written = tracks((1, 3.14, 2.72, 1919.99, 1079.5, 0.1234, 0))
    with MotWriter(path) as writer:
        writer.write(frame(41), written)
    dets = read_detections(path)
    assert dets.frames.tolist() == [41]
    # left and width are each rounded to 0.01
    np.testing.assert_allclose(dets.boxes, written.boxes, atol=0.0101)


def test_an_interrupted_file_stays_a_part(tmp_path: Path):
    with suppress(KeyboardInterrupt), MotWriter(tmp_path / "seq.txt") as writer:
        writer.write(frame(0), tracks((1, 0, 0, 1, 1, 1, 0)))
        raise KeyboardInterrupt
    assert [path.name for path in tmp_path.iterdir()] == ["seq.txt.part"]


INFO = """[Sequence]
name=MOT17-02
imDir=pictures
frameRate=29.97
seqLength=600
imWidth=1920
imHeight=1080
imExt=.jpg
"""


def sequence(folder: Path, info: str | None = INFO, images: str | None = "pictures") -> Path:
    (folder / "det").mkdir()
    if images:
        (folder / images).mkdir()
    if info is not None:
        (folder / "seqinfo.ini").write_text(info)
    return folder / "det" / "det.txt"


def test_detections_lead_to_their_sequence(tmp_path: Path):
    assert find_sequence(sequence(tmp_path)) == MotSequence(
        "MOT17-02", tmp_path / "pictures", Fraction("29.97"), 600, 1920, 1080
    )


def test_detections_beside_seqinfo_lead_to_it(tmp_path: Path):
    sequence(tmp_path)
    found = find_sequence(tmp_path / "det.txt")
    assert found is not None
    assert found.name == "MOT17-02"


def test_frames_that_are_not_there_are_none(tmp_path: Path):
    found = find_sequence(sequence(tmp_path, images=None))
    assert found is not None
    assert (found.images, found.num_frames) == (None, 600)


def test_img1_alone_is_a_sequence(tmp_path: Path):
    found = find_sequence(sequence(tmp_path, info=None, images="img1"))
    assert found == MotSequence(tmp_path.name, tmp_path / "img1", None, None, None, None)


def test_elsewhere_there_is_no_sequence(tmp_path: Path):
    assert find_sequence(sequence(tmp_path, info=None, images=None)) is None


@pytest.mark.parametrize(
    ("info", "message"),
    [
        ("name=x\n", "no section headers"),
        ("[Other]\n", "with a section"),
        ("[Sequence]\nframeRate=fast\n", "expected a framerate above 0, got 'fast'"),
        ("[Sequence]\nseqLength=0\n", "expected a seqlength above 0, got '0'"),
    ],
)
def test_a_malformed_seqinfo_is_explained(tmp_path: Path, info: str, message: str):
    with pytest.raises(SourceError, match=message):
        find_sequence(sequence(tmp_path, info))


def file(folder, text):
    path = folder / "a.txt"
    path.write_text(text)
    return path


def test_tracks_keep_the_order_and_all_digits_of_the_file(tmp_path):
    rows = read_results(file(tmp_path, "3,7,0.1,0.2,30.3,40.4,0.123456789012\n1,2,1,1,1,1,1\n"))
    assert rows.frames.tolist() == [2, 0]
    assert rows.ids.tolist() == [7, 2]
    assert rows.boxes[0].tolist() == [0.1, 0.2, 0.1 + 30.3, 0.2 + 40.4]
    assert rows.scores.tolist() == [0.123456789012, 1]


def test_tracks_may_have_any_columns_after_the_seventh(tmp_path):
    text = "1,1,0,0,1,1,1\n1,2,0,0,1,1,1,-1,-1,-1,5,5\n1,3,0,0,1,1,1,1\n"
    assert read_results(file(tmp_path, text)).classes.tolist() == [-1, -1, 1]


@pytest.mark.parametrize(
    ("tail", "classes"),
    [
        ("", None),
        (",-1,-1,-1", None),
        (",4.48,5.5,0", None),  # MOT15: the place in the world
        (",-1,-1", None),
        (",3,0.5", [3]),
        (",13", [13]),
    ],
)
def test_truth_has_classes_where_column_8_is_not_the_world(tmp_path, tail, classes):
    rows = read_truth(file(tmp_path, f"1,1,0,0,1,1,0{tail}\n"))
    assert (None if rows.classes is None else rows.classes.tolist()) == classes
    assert rows.scores.tolist() == [0]


def test_an_empty_file_has_no_rows(tmp_path):
    assert len(read_truth(file(tmp_path, "")).ids) == 0
    assert read_results(file(tmp_path, "")).boxes.shape == (0, 4)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1,1,0,0,1,1,1,14,1", "line 2: expected a class from 1 to 13, got 14"),
        ("1,1,0,0,1,1,1,-1,1", "line 2: expected a class from 1 to 13, got -1"),
        ("1,1,0,0,1,1,1,1", "line 2: expected 9 columns as in the lines before, got 8"),
        ("1,-1,0,0,1,1,1,1,1", "line 2: expected a whole id from 0, got -1"),
        ("1,1,0,0,nan,1,1,1,1", "line 2: expected a finite width"),
        ("0,1,0,0,1,1,1,1,1", "line 2: expected a whole frame number from 1, got 0"),
    ],
)
def test_bad_truth_is_refused_by_line(tmp_path, line, message):
    with pytest.raises(SourceError, match=message):
        read_truth(file(tmp_path, f"1,9,0,0,1,1,1,2,1\n{line}\n"))


def read_map(folder, text):
    path = folder / "map.txt"
    path.write_text(text)
    return read_seqmap(path)


def test_motchallenge_names_sequences_below_a_header(tmp_path):
    assert read_map(tmp_path, "name\nMOT17-02\nMOT17-04\n\n") == {
        "MOT17-02": None,
        "MOT17-04": None,
    }


def test_the_header_may_lack(tmp_path):
    assert list(read_map(tmp_path, "b\na\n")) == ["b", "a"]


def test_what_follows_a_comma_in_a_seqmap_is_left_out(tmp_path):
    text = "name,length\nMOT17-02,600\nMOT17-04,\nmy clip,1,2,3,4\n"
    assert list(read_map(tmp_path, text)) == ["MOT17-02", "MOT17-04", "my clip"]


def test_kitti_tells_the_last_frame_from_0(tmp_path):
    assert read_map(tmp_path, "0002 empty 000000 000233\n") == {"0002": 234}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name\n", "names no sequence"),
        ("a b\n", "line 1: expected the name of a sequence"),
        ("0002 empty 0 x\n", "line 1: expected the name of a sequence"),
        ("a\na\n", "line 2: expected each sequence once"),
    ],
)
def test_a_malformed_seqmap_is_explained(tmp_path, text, message):
    with pytest.raises(SourceError, match=message):
        read_map(tmp_path, text)


ROW = "1,3,10,20,30,40,0.9,-1,-1,-1"
HEADER = "frame,id,bb_left,bb_top,bb_width,bb_height,conf,x,y,z"


@pytest.mark.parametrize(
    "text",
    [
        ROW.replace(",", " "),
        ROW.replace(",", "   "),
        ROW.replace(",", "\t"),
        ROW.replace(",", ";"),
        "1;3;10,0;20,0;30,0;40,0;0,9;-1;-1;-1",
        ROW + ",",
        ROW + ",,\n",
        "1,3,10,20,30,40,0.9,",
        f"{HEADER}\n{ROW}",
        f"{HEADER}\n{ROW}".replace(",", " "),
        f"{HEADER}\n{ROW}".replace(",", ";"),
        "Frame, Track_ID, Left, Top, Width, Height, Confidence\n1,3,10,20,30,40,0.9",
        "frame,id,class,x,y,w,h,score\n1,3,-1,10,20,30,40,0.9",
        "1\t3\t10,0\t20,0\t30\t40\t0,9\t-1\t-1\t-1",
        "1,\t3,\t10,\t20,\t30,\t40,\t0.9",
        f"<{HEADER.replace(',', '>, <')}>\n{ROW}",
        "FrameId,Id,X,Y,Width,Height,Confidence,ClassId,Visibility\n1,3,10,20,30,40,0.9,-1,-1",
        "conf,w,h,x,y,id,frame,extra\n0.9,30,40,10,20,3,1,5",
    ],
)
def test_every_way_to_separate_columns_reads_the_same(tmp_path, text):
    path = tmp_path / "r.txt"
    path.write_text(text)
    table = formats.read_tracks(path)
    boxes = read_all_detections(path)
    assert (table.frames.tolist(), table.tracks.ids.tolist()) == ([0], [3])
    assert table.tracks.boxes.tolist() == boxes.boxes.tolist() == [[10, 20, 40, 60]]
    assert table.tracks.scores.tolist() == boxes.scores.tolist() == [np.float32(0.9)]
    assert table.classes == boxes.classes == ("object",)


def test_an_error_below_a_header_quotes_the_line_as_it_stands(tmp_path):
    path = tmp_path / "r.txt"
    path.write_text("frame id left top width height score\n1 3 10 20 30 x 0.9\n")
    with pytest.raises(SourceError, match=r'line 2: .*column 6 \(height\), got "x": "1 3 10 20'):
        read_detections(path)


def test_scores_of_minus_1_throughout_are_taken_as_sure_and_it_is_said(tmp_path, caplog):
    path = tmp_path / "r.txt"
    path.write_text("1,1,10,20,30,40,-1,-1,-1,-1\n2,1,10,20,30,40,-1,-1,-1,-1\n")
    assert read_detections(path).scores.tolist() == [1, 1]
    assert read_tracks(path).tracks.scores.tolist() == [1, 1]
    assert caplog.text.count("all scores are -1, which tells none; they were taken as 1") == 2


def test_truth_that_is_not_scored_is_left_out_and_counted(tmp_path, caplog):
    path = tmp_path / "gt.txt"
    path.write_text("1,1,10,20,30,40,1,1,0.5\n1,2,10,20,30,40,0,7,0.25\n2,1,10,20,30,40,1,1,1\n")
    table = read_tracks(path)
    assert table.tracks.ids.tolist() == [1, 1]
    assert "1 of 3 rows are flagged as not to be scored (0 in column 7)" in caplog.text


def test_interpolated_boxes_of_results_are_no_unscored_truth(tmp_path, caplog):
    path = tmp_path / "r.txt"
    path.write_text("1,1,10,20,30,40,1.0000,-1,-1,-1\n2,1,10,20,30,40,0.0000,-1,-1,-1\n")
    assert read_tracks(path).tracks.scores.tolist() == [1, 0]
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("rows", "classes"),
    [
        (["1,-1,1,2,3,4,50,-5.3,12.2,0.7", "2,-1,1,2,3,4,43,3,11,0"], ("object",)),
        (["1,7,1,2,3,4,1,3,0,0", "2,7,1,2,3,4,1,4,0,0"], ("object",)),  # changes within a track
        (["1,7,1,2,3,4,1,3,0,0", "2,8,1,2,3,4,1,4,0,1"], ("3", "4")),  # VisDrone
        (["1,7,1,2,3,4,1,3,-1,-1", "2,7,1,2,3,4,1,4,-1,-1"], ("3", "4")),
        (["1,7,1,2,3,4,1,0.5,-1,-1", "2,7,1,2,3,4,1"], ("object",)),
        (["1,7,1,2,3,4,1,3,0.5", "2,7,1,2,3,4,1,3,1"], ("3",)),  # MOT17
    ],
)
def test_a_place_in_the_world_is_no_class_and_it_is_said(tmp_path, caplog, rows, classes):
    path = tmp_path / "o.txt"
    path.write_text("\n".join(rows))
    assert read_detections(path).classes == classes
    if not rows[0].startswith("1,-1"):
        assert read_tracks(path).classes == classes
    assert ("column 8 is no class" in caplog.text) == (classes == ("object",))
