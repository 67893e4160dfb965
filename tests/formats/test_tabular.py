import json
from pathlib import Path

import numpy as np
import pytest

from masa_cli.errors import SourceError
from masa_cli.formats import Hints, read_tracks
from masa_cli.formats import detections as formats
from masa_cli.formats.tables import DetectionTable
from masa_cli.formats.tabular import read_detections, write_detections
from masa_cli.structures import Detections


def read(folder: Path, text: str) -> DetectionTable:
    path = folder / "dets.csv"
    path.write_bytes(text.encode())
    return read_detections(path)


def test_columns_are_found_by_name_and_frames_count_from_0(tmp_path: Path):
    dets = read(
        tmp_path,
        "\ufeffscore,Label,note,frame,x1,y1,x2,y2\r\n"
        '.5,"traffic light, red",-,3,1,2,3,4\r\n.6,dog,"a,b",0,5,6,7,8\r\n',
    )
    assert dets.frames.tolist() == [0, 3]
    assert dets.boxes.tolist() == [[5, 6, 7, 8], [1, 2, 3, 4]]
    assert [dets.classes[label] for label in dets.labels] == ["dog", "traffic light, red"]


def test_classes_are_numbered_as_they_appear(tmp_path: Path):
    head = "frame,x1,y1,x2,y2,score,label\n"
    labels = ("b", " a", "b", "", '"say ""hi"""')
    dets = read(tmp_path, head + "".join(f"0,0,0,1,1,1,{label}\n" for label in labels))
    assert dets.classes == ("b", "a", "object", 'say "hi"')
    assert dets.labels.tolist() == [0, 1, 0, 2, 3]


def test_without_labels_all_are_objects(tmp_path: Path):
    dets = read(tmp_path, "frame,x1,y1,x2,y2,score\n0,0,0,1,1,1\n")
    assert (dets.classes, dets.labels.tolist()) == (("object",), [0])


@pytest.mark.parametrize("text", ["", "frame,x1,y1,x2,y2,score\n"])
def test_a_file_without_rows_is_an_empty_table(tmp_path: Path, text: str):
    assert len(read(tmp_path, text)) == 0


def test_missing_columns_are_named(tmp_path: Path):
    with pytest.raises(SourceError, match="line 2: no column x2 in the header: frame, x1"):
        read(tmp_path, "# boxes\nframe,x1,y1,y2\n")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0,0,0,1,1", "line 3: expected at least 7 columns, got 5"),
        ("0,a,0,1,1,1,dog", r'line 3: expected a number in column 2 \(x1\), got "a"'),
        ("0,nan,0,1,1,1,dog", "line 3: expected a finite x1"),
        ("-1,0,0,1,1,1,dog", "line 3: expected a whole frame number from 0, got -1"),
        ('0,0,0,1,1,1,"dog', "line 3: expected quotes in pairs, got 1"),
    ],
)
def test_the_first_bad_line_is_named(tmp_path: Path, line: str, message: str):
    good = "0,0,0,1,1,1,cat\n"
    with pytest.raises(SourceError, match=message):
        read(tmp_path, f"frame,x1,y1,x2,y2,score,label\n{good}{line}\n{good}")


def test_what_is_written_is_read_back_exactly(tmp_path):
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 500, (4, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(1, 90, (4, 2))], axis=1)
    found = Detections(
        boxes.astype(np.float32), rng.random(4).astype(np.float32), np.array([1, 0, 1, 2])
    )
    classes = ("dog", 'a "big", cat', "bird")
    path = tmp_path / "dets.csv"
    write_detections(path, [Detections.empty(), found], classes)
    back = read_detections(path)
    assert back.frames.tolist() == [1, 1, 1, 1]
    assert np.array_equal(back.boxes, found.boxes)
    assert np.array_equal(back.scores, found.scores)
    assert [back.classes[label] for label in back.labels] == [classes[i] for i in found.labels]


@pytest.mark.parametrize(
    ("header", "row", "label"),
    [
        ("frame,x1,y1,x2,y2,score,class", "3,1,2,4,6,0.5,car", "car"),
        ("frame,x1,y1,x2,y2,score,Category", "3,1,2,4,6,0.5,car", "car"),
        ("frame_id,class_id,class_name,xmin,ymin,xmax,ymax,conf", "3,7,car,1,2,4,6,0.5", "car"),
        ("Frame,X Min,Y Min,X Max,Y Max,Score,Class Name", "3,1,2,4,6,0.5,car", "car"),
        (  # supervision's CSVSink
            "x_min,y_min,x_max,y_max,class_id,confidence,tracker_id,class_name,frame_index",
            "1,2,4,6,7,0.5,,car,3",
            "car",
        ),
        ("frame,x1,y1,x2,y2,score,class_id", "3,1,2,4,6,0.5,7", "7"),
    ],
)
def test_columns_may_have_the_names_that_others_give_them(tmp_path, header, row, label):
    path = tmp_path / "dets.csv"
    path.write_text(f"{header}\n{row}\n")
    dets = read_detections(path)
    assert dets.frames.tolist() == [3]
    assert dets.boxes.tolist() == [[1, 2, 4, 6]]
    assert dets.scores.tolist() == [0.5]
    assert dets.classes == (label,)


def test_rows_of_two_videos_are_refused(tmp_path):
    path = tmp_path / "dets.csv"
    path.write_text("video,frame,x1,y1,x2,y2,score\na.mp4,0,1,2,4,6,1\nb.mp4,0,1,2,4,6,1\n")
    with pytest.raises(SourceError, match=r'2 videos, .*: "a\.mp4", "b\.mp4"'):
        read_detections(path)


def test_a_table_without_frames_says_how_to_get_them(tmp_path):
    path = tmp_path / "dets.csv"
    path.write_text("x_min,y_min,x_max,y_max,class_id,confidence,tracker_id,class_name\n")
    with pytest.raises(SourceError, match="no column frame in the header") as error:
        read_detections(path)
    assert "CSVSink" in error.value.fix


@pytest.mark.parametrize(
    ("header", "row"),
    [
        ("frame,left,top,width,height,conf", "3,1,2,4,6,.5"),
        ("frame,bb_left,bb_top,bb_width,bb_height,conf", "3,1,2,4,6,.5"),
        ("frame,x_center,y_center,w,h,conf", "3,3,5,4,6,.5"),
        ("frame,xmin,ymin,xmax,ymax,width,height,conf", "3,1,2,5,8,640,480,.5"),
        ("frame;x1;y1;x2;y2;conf", "3;1,0;2,0;5,0;8;0,5"),
        ('frame;"x1";y1;x2;y2;conf;label', '3;1;2;5;8;0,5;"red; large, old"'),
        ("frame_id\tx1\ty1\tx2\ty2\tscore", "3\t1\t2\t5\t8\t0.5"),
    ],
)
def test_boxes_may_be_told_in_other_ways(tmp_path: Path, header: str, row: str):
    path = tmp_path / "dets.csv"
    path.write_text(f"{header}\n{row}\n")
    dets = formats.read_detections(path)
    assert dets.frames.tolist() == [3]
    assert dets.boxes.tolist() == [[1, 2, 5, 8]]
    assert dets.scores.tolist() == [0.5]
    assert "label" not in header or dets.classes == ("red; large, old",)


def test_without_scores_all_are_1_which_is_said(tmp_path: Path, caplog):
    dets = read(tmp_path, "frame,x1,y1,x2,y2\n0,0,0,1,1\n")
    assert dets.scores.tolist() == [1]
    assert "has no column of scores: all are 1" in caplog.text


def test_nobody_guesses_what_x_and_y_are_of(tmp_path: Path):
    path = tmp_path / "dets.csv"
    path.write_text("frame,x,y,w,h,score\n0,0,0,1,1,1\n")
    with pytest.raises(SourceError, match="no column left, top in the header") as error:
        formats.read_detections(path)
    assert "x and y may be of a corner or of the middle" in error.value.fix


def test_a_header_of_motchallenge_stays_one(tmp_path: Path):
    path = tmp_path / "dets.csv"
    path.write_text("frame,id,left,top,width,height,conf\n3,-1,1,2,4,6,.5\n")
    assert formats.read_detections(path).frames.tolist() == [2]


def test_tracks_may_be_told_in_other_ways_too(tmp_path: Path):
    path = tmp_path / "tracks.csv"
    path.write_text("frame_index;track_id;cx;cy;w;h\n3;7;3;5;4;6,0\n")
    table = read_tracks(path)
    assert (table.frames.tolist(), table.tracks.ids.tolist()) == ([3], [7])
    assert table.tracks.boxes.tolist() == [[1, 2, 5, 8]]


def test_utf_16_with_its_mark_is_text(tmp_path: Path):
    path = tmp_path / "dets.csv"
    text = "frame,x1,y1,x2,y2,score,label\n0,0,0,1,1,1,Füchse\n"
    path.write_text(text, encoding="utf-16")
    assert formats.read_detections(path).classes == ("Füchse",)
    path.write_text(text.replace("frame", "id,frame").replace("\n0", "\n4,0"), encoding="utf-16")
    assert read_tracks(path).tracks.ids.tolist() == [4]


RECORDS = [
    {"x_min": 1, "y_min": 2, "x_max": 5.5, "y_max": 8, "class_id": 2, "tracker_id": 7},
    {"x_min": 0, "y_min": 0, "x_max": 4, "y_max": 4, "class_id": None, "tracker_id": 9},
]


@pytest.mark.parametrize("indent", [None, 4])
def test_objects_in_a_list_are_rows(tmp_path: Path, indent: int | None):
    """As supervision's JSONSink writes them."""
    path = tmp_path / "boxes.json"
    rows = [{**row, "confidence": 0.5, "frame_index": 3} for row in RECORDS]
    path.write_text(json.dumps(rows, indent=indent))
    dets = formats.read_detections(path)
    assert (dets.frames.tolist(), dets.classes) == ([3, 3], ("2", "object"))
    table = read_tracks(path)
    assert table.tracks.ids.tolist() == [7, 9]
    assert table.tracks.boxes.tolist() == [[1, 2, 5.5, 8], [0, 0, 4, 4]]


def test_objects_may_have_their_box_in_one_of_its_own(tmp_path: Path):
    path = tmp_path / "boxes.json"
    box = {"x1": 1, "y1": 2, "x2": 5, "y2": 8}
    path.write_text(json.dumps([{"frame": 3, "name": "a, b", "class": 4, "box": box}]))
    dets = formats.read_detections(path)
    assert dets.boxes.tolist() == [[1, 2, 5, 8]]


def test_an_object_that_is_wrong_is_named(tmp_path: Path):
    path = tmp_path / "boxes.json"
    rows = [{"frame": 0, "x1": 0, "y1": 0, "x2": 1, "y2": 1}, {"frame": 1, "x1": "?"}]
    path.write_text(json.dumps(rows))
    with pytest.raises(SourceError, match=r'row 2: expected a number in column 2 \(x1\), got "\?"'):
        formats.read_detections(path)
    path.write_text(json.dumps([rows[0], 5]))
    with pytest.raises(SourceError, match="row 2 of the list is no object"):
        formats.read_detections(path)


def test_results_of_coco_are_no_rows(tmp_path: Path):
    path = tmp_path / "boxes.json"
    path.write_text(json.dumps([{"image_id": 1, "category_id": 1, "bbox": [0, 0, 1, 1]}]))
    with pytest.raises(SourceError, match="is a list of COCO results"):
        formats.read_detections(path)


@pytest.mark.parametrize(("frames", "read"), [((1, 5), [0, 4]), ((0, 4), [0, 4]), ((1, 4), [1, 4])])
def test_tracks_that_can_only_count_from_1_do(tmp_path: Path, frames, read, caplog):
    path = tmp_path / "tracks.csv"
    rows = "".join(f"{frame},1,0,0,4,4,1\n" for frame in frames)
    path.write_text("frame,id,x1,y1,x2,y2,score\n" + rows)
    assert read_tracks(path, hints=Hints(num_frames=5)).frames.tolist() == read
    assert ("frames count from 1 here: 5 is the last" in caplog.text) == (max(frames) == 5)
