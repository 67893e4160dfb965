"""Which frame a box belongs to: one rule for all readers."""

import json
import logging

import numpy as np
import pytest

from masa_cli.errors import SourceError
from masa_cli.formats import Hints, open_writer, read_tracks
from masa_cli.formats.detections import read_detections
from masa_cli.formats.numbering import (
    NO_PICTURE,
    check_one_video,
    frames_of_names,
    frames_of_numbers,
    frames_of_stated,
)
from tests.formats.tracks_of_all_kinds import INFO, NAMES, NUM_FRAMES, tracks_at, write_all

PLAIN = tuple(f"{number:06d}.jpg" for number in range(1, 13))
GAPS = tuple(f"{number:06d}.jpg" for number in (1, 2, 3, 4, 10, 11, 12, 13, 14, 15))
LATE = tuple(f"{number:06d}.jpg" for number in range(372, 378))
STEP_0 = tuple(f"{number:06d}.jpg" for number in range(0, 100, 5))
STEP_1 = tuple(f"{number:06d}.jpg" for number in range(1, 100, 5))
STEPS = [index // 5 if index % 5 == 0 else NO_PICTURE for index in range(100)]
TIMES = tuple(f"2024-05-0{day}_12-00-0{second}.jpg" for day in (1, 2) for second in (1, 7))


def by_name(names, path, pictures=()):
    return frames_of_names(names, path, pictures).tolist()


@pytest.mark.parametrize("pictures", [(), PLAIN])
@pytest.mark.parametrize(
    ("names", "frames"),
    [
        (["000001.jpg", "000006.jpg", "000011.jpg"], [0, 5, 10]),
        (["s/img1/000006.jpg", "s/img1/000002.jpg"], [5, 1]),
        (["frame_000000.PNG", "frame_000005.PNG", "frame_000010.PNG"], [0, 5, 10]),
        (["frame_000005.PNG", "frame_000010.PNG"], [5, 10]),  # CVAT counts from 0
        (["clip_3_0004.png", "clip_3_0001.png"], [3, 0]),
        (["v_10.jpg", "v_9.jpg"], [9, 8]),
        (["v_mp4-0003_jpg.rf.0a1b2.jpg", "v_mp4-0001_jpg.rf.9.jpg"], [2, 0]),  # Roboflow
        (["0a1b2c3d-v_3.png", "99887f66-v_1.png"], [2, 0]),  # Label Studio
        (["b.jpg", "c.jpg", "a.jpg"], [1, 2, 0]),
        (TIMES, [0, 1, 2, 3]),
        (["IMG_20240501_120007.jpg", "IMG_20240501_120005.jpg"], [1, 0]),
        (["2024-05-01_12-00-05_3.jpg", "2024-05-01_12-00-05_1.jpg"], [2, 0]),
        (["17000000001.jpg", "17000000034.jpg"], [0, 1]),
    ],
)
def test_frames_are_those_of_the_names(tmp_path, names, frames, pictures):
    assert by_name(names, tmp_path, pictures) == frames


def test_names_that_the_folder_has_go_before_their_numbers(tmp_path, caplog):
    names = ["x/000010.png", "x/000004.png", "x/000005.png"]
    assert by_name(names, tmp_path, GAPS) == [4, 3, NO_PICTURE]
    assert "1 of its 3 pictures are not in the folder, such as x/000005.png" in caplog.text
    caplog.clear()
    by_name(["000001.jpg", "000004.jpg"], tmp_path, GAPS)
    assert "lists 2 of the frames 0 to 3" in caplog.text
    assert "000004.jpg is frame 3" in caplog.text
    assert by_name(["000372.jpg", "000375.jpg"], tmp_path, LATE) == [0, 3]
    assert by_name(["000375_jpg.rf.0a1.jpg", "000372_jpg.rf.b2.jpg"], tmp_path, LATE) == [3, 0]


def test_what_was_taken_is_said_with_an_example_where_it_is_not_plain(tmp_path, caplog):
    by_name(["000001.jpg", "000002.jpg"], tmp_path)
    by_name(["frame_000000.PNG", "frame_000001.PNG"], tmp_path)
    assert not caplog.text
    by_name(["000001.jpg", "000006.jpg"], tmp_path)
    assert "lists 2 of the frames 0 to 5" in caplog.text
    assert "000006.jpg is frame 5" in caplog.text


@pytest.mark.parametrize(
    ("stated", "names", "first", "frames"),
    [
        ([0, 1, 2], (), None, [0, 1, 2]),
        ([1, 2, 3], (), None, [0, 1, 2]),  # ByteTrack, FairMOT, CenterTrack
        ([1, 2, 3], PLAIN[:3], None, [0, 1, 2]),
        ([1, 3], ("000002.jpg", "000004.jpg"), None, [1, 3]),  # mmtracking
        ([5, 10], ("000005.jpg", "000010.jpg"), None, [4, 9]),
        ([5, 10], ("frame_000005.PNG", "frame_000010.PNG"), None, [5, 10]),
        ([1, 2], ("000301.jpg", "000302.jpg"), None, [0, 1]),  # half of a sequence
        ([1], (), 0, [1]),  # frame_index, which is from 0 by custom
        ([7, 9], (), None, [7, 9]),
    ],
)
def test_stated_numbers_count_as_names_do_or_from_0_or_1(tmp_path, stated, names, first, frames):
    found = frames_of_stated(np.array(stated), names, tmp_path, first=first)
    assert found.tolist() == frames


def test_names_decide_over_stated_numbers_where_the_folder_has_all_of_them(tmp_path):
    stated = np.arange(1, 11)
    assert frames_of_stated(stated, GAPS, tmp_path, GAPS, first=None).tolist() == [*range(10)]
    made_up = [f"clip/{number:06d}.jpg" for number in range(1, 11)]  # of which GAPS has five
    assert frames_of_stated(np.arange(10), made_up, tmp_path, GAPS).tolist() == [*range(10)]


@pytest.mark.parametrize(
    ("frames", "first", "pictures", "found"),
    [
        ([0, 3, 9, 14], 1, GAPS, [0, 3, 4, 9]),  # MOT rows 1, 4, 10, 15
        ([0, 3, 9], 1, PLAIN, [0, 3, 9]),
        (range(371, 377), 1, LATE, range(6)),
        (range(372, 378), 0, LATE, range(6)),
        (range(6), 1, LATE, range(6)),  # positions
        (range(10), 0, GAPS, range(10)),
        ([3, 4, 9, 14], 1, GAPS, [3, NO_PICTURE, 4, 9]),
        ([4, 9, 20], 1, GAPS, [4, 9, 20]),
        (range(1, 13), 0, PLAIN, range(12)),  # counts from 1 against the rules
        ([1, 5], 0, PLAIN, [1, 5]),
        ([3, 400], 1, (), [3, 400]),
        (range(100), 1, STEP_0, STEPS),  # of the whole video, of which the folder is a part
        (range(0, 100, 5), 1, STEP_0, range(20)),
        ([4, 9, 94], 1, STEP_0, [1, 2, 19]),  # rows 5, 10, 95
        (range(100), 0, STEP_1, STEPS),
        (range(1, 100, 5), 0, STEP_1, range(20)),
        (range(371, 377), 0, LATE, range(6)),
        ([5, 10], 1, ("frame_000004.PNG", "frame_000005.PNG"), [1, NO_PICTURE]),
    ],
)
def test_numbers_are_those_of_the_pictures_if_that_finds_more(
    tmp_path, frames, first, pictures, found
):
    given = np.array([*frames], np.int64)
    assert frames_of_numbers(given, first, tmp_path, pictures).tolist() == [*found]


@pytest.mark.parametrize(
    "names",
    [
        ["frame_000000.PNG", "frame_000000.PNG"],
        ["a/000001.jpg", "b/000001.jpg"],
        ["a_1.jpg", "a_2.jpg", "b_2.jpg"],
        ["video1_0001.jpg", "video1_0002.jpg", "video2_0001.jpg"],
    ],
)
def test_the_same_frame_of_two_videos_is_refused_and_both_are_named(tmp_path, names):
    with pytest.raises(SourceError) as error:
        check_one_video(names, tmp_path / "x.json")
    assert names[-1] in error.value.problem
    assert "one task after the other" in error.value.fix


@pytest.mark.parametrize("names", [PLAIN, TIMES, ["a.jpg", "b.jpg"], ["p1/01.jpg", "p2/02.jpg"]])
def test_pictures_of_one_video_are_not_refused(tmp_path, names):
    check_one_video(names, tmp_path)


def scene(numbers, fmt="{:06d}.jpg", **keys):
    """Per image a box whose x1 is ten times its number; track 1."""
    images = [
        {"id": n + 50, "file_name": fmt.format(n), **{key: at(n) for key, at in keys.items()}}
        for n in numbers
    ]
    boxes = [
        {"image_id": n + 50, "category_id": 1, "bbox": [10 * n, 5, 8, 8], "track_id": 1}
        for n in numbers
    ]
    return {"images": images, "annotations": boxes, "categories": [{"id": 1, "name": "car"}]}


@pytest.mark.parametrize(
    ("content", "pictures", "frames"),
    [
        (scene([1, 6, 11]), (), [0, 5, 10]),
        (scene([0, 5, 10], "frame_{:06d}.PNG"), PLAIN, [0, 5, 10]),
        (scene([4, 10], "gaps/img1/{:06d}.jpg"), GAPS, [3, 4]),
        (scene([1, 2], frame_id=lambda n: n), (), [0, 1]),
        (scene([1, 2], frame_id=lambda n: n, prev=lambda n: n - 1), PLAIN, [0, 1]),
        (scene([373, 374], frame_id=lambda n: n - 371), LATE, [1, 2]),
    ],
)
def test_coco_is_read_alike_as_tracks_and_as_detections(tmp_path, content, pictures, frames):
    path = tmp_path / "c.json"
    path.write_text(json.dumps(content))
    dets = read_detections(path, pictures=pictures)
    tracks = read_tracks(path, hints=Hints(pictures=pictures))
    assert dets.frames.tolist() == tracks.frames.tolist() == frames
    assert dets.boxes[:, 0].tolist() == [10.0 * (each["id"] - 50) for each in content["images"]]


@pytest.mark.parametrize("name", ["jsonl", "csv", "coco", "bdd", "mot", "cvat"])
def test_what_masa_wrote_of_a_folder_with_gaps_comes_back(tmp_path, name):
    path = tmp_path / "o"
    write_all(open_writer(name, path, info=INFO, classes=NAMES))
    table = read_tracks(path, format=name, hints=Hints(pictures=GAPS[:NUM_FRAMES]))
    expected = [index for index in range(NUM_FRAMES) for _ in range(len(tracks_at(index)))]
    assert table.frames.tolist() == expected


def test_boxes_of_pictures_that_are_not_there_are_left_out_and_counted(tmp_path, caplog):
    path = tmp_path / "d.txt"
    path.write_text("".join(f"{n},-1,{n},2,3,4,0.9\n" for n in (1, 4, 5, 10, 15)))
    with caplog.at_level(logging.WARNING):
        table = read_detections(path, pictures=GAPS)
    assert table.frames.tolist() == [0, 3, 4, 9]
    assert table.num_empty == 0
    assert "1 boxes whose pictures the folder lacks were dropped, such as those of 5" in caplog.text
    assert "15 is 000015.jpg, frame 9" in caplog.text
