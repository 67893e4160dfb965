import json
from contextlib import suppress
from dataclasses import fields, replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from masa_cli import formats
from masa_cli.errors import SourceError
from masa_cli.formats import jsonl
from masa_cli.formats.jsonl import TracksReader, TracksWriter, read_detections
from masa_cli.structures import Frame, Tracks
from tests.mask_tracks import CLASSES, three_frames, write_three_frames

LINE = (
    '{"frame":0,"time":0.0,"boxes":[[1.0,2.0,3.5,4.0]],"ids":[7],"labels":["dog"],"scores":[0.9]}\n'
)


def frame(index: int) -> Frame:
    return Frame.without_image(index, Fraction(index * 1001, 30000))


def some_tracks(count: int = 1) -> Tracks:
    random = np.random.default_rng(count)
    return Tracks(
        random.normal(0, 1000, (count, 4)).astype(np.float32),
        random.random(count, np.float32),
        random.integers(0, 2, count),
        random.permutation(count) + 1,
    )


def test_a_frame_is_the_documented_line(tmp_path: Path):
    path = tmp_path / "tracks.jsonl"
    boxes = np.array([[1, 2, 3.5, 4]], np.float32)
    with TracksWriter(path, ("cat", "dog")) as writer:
        writer.write(
            frame(0), Tracks(boxes, np.array([0.9], np.float32), np.array([1]), np.array([7]))
        )
        writer.write(frame(1), Tracks.empty())
    empty = '{"frame":1,"time":0.03336666666666667,"boxes":[],"ids":[],"labels":[],"scores":[]}\n'
    assert path.read_text() == LINE + empty


def test_what_is_written_is_read_bit_for_bit(tmp_path: Path):
    path = tmp_path / "tracks.jsonl"
    written = [some_tracks(2000), Tracks.empty(), some_tracks(1)]
    with TracksWriter(path, ("cat", "dog")) as writer:
        for index, tracks in enumerate(written):
            writer.write(frame(index), tracks)
    reader = TracksReader(path, classes=("cat", "dog"))
    for index, (tracks, back) in enumerate(zip(written, reader, strict=True)):
        got = back.tracks
        assert (back.index, back.time) == (index, float(frame(index).time))
        np.testing.assert_array_equal(got.boxes, tracks.boxes, strict=True)
        np.testing.assert_array_equal(got.scores, tracks.scores, strict=True)
        np.testing.assert_array_equal(got.labels, tracks.labels, strict=True)
        np.testing.assert_array_equal(got.ids, tracks.ids, strict=True)


def test_interpolated_boxes_are_marked_and_read_as_such(tmp_path: Path):
    path, marks = tmp_path / "tracks.jsonl", np.array([False, True, False])
    with TracksWriter(path, ("cat", "dog")) as writer:
        writer.write(frame(0), replace(some_tracks(3), interpolated=marks))
        writer.write(frame(1), some_tracks(3))
    first, second = path.read_text().splitlines()
    assert '"interpolated":[false,true,false]' in first
    assert "interpolated" not in second
    reader = TracksReader(path, ("cat", "dog"))
    read = [back.tracks.interpolated.tolist() for back in reader]
    assert read == [marks.tolist(), [False] * 3]
    path.write_text(first.replace("false,true,false", "false,true"))
    with pytest.raises(SourceError, match="3 times true or false"):
        list(TracksReader(path, ("cat", "dog")))


def test_margins_are_told_where_the_tracker_was_not_sure(tmp_path: Path):
    path, unsure = tmp_path / "t.jsonl", np.array([np.inf, 0.25], np.float32)
    with TracksWriter(path, ("cat", "dog")) as writer:
        writer.write(frame(0), some_tracks(2))
        writer.write(frame(1), replace(some_tracks(2), margins=unsure))
    first, second = path.read_text().splitlines()
    assert "margins" not in json.loads(first)
    assert json.loads(second)["margins"] == [None, 0.25]
    sure, read = (line.tracks.margins for line in TracksReader(path))
    assert np.isinf(sure).all()
    np.testing.assert_array_equal(read, unsure, strict=True)


@pytest.mark.parametrize("margins", ["[1]", "[1,true]", '["x",1]', "3"])
def test_margins_that_are_none_are_an_error(tmp_path: Path, margins: str):
    path = tmp_path / "t.jsonl"
    line = '{"frame":0,"time":0,"boxes":[[0,0,1,1],[0,0,1,1]],"ids":[1,2],"scores":[1,1]'
    path.write_text(f'{line},"margins":{margins}}}\n')
    with pytest.raises(SourceError, match="line 1: expected"):
        list(TracksReader(path))


def test_a_file_that_is_all_right_is_read_at_once_and_gives_the_same(tmp_path: Path):
    path = tmp_path / "t.jsonl"
    marks = np.array([False, True, False])
    unsure = np.array([np.inf, 0.25, np.inf], np.float32)
    with TracksWriter(path, ("cat", "dog")) as writer:
        writer.write(frame(0), replace(some_tracks(3), interpolated=marks))
        writer.write(frame(1), Tracks.empty())
        writer.write(frame(4), replace(some_tracks(3), margins=unsure))
    one, other = jsonl.read_at_once(path), jsonl.read_by_line(path)
    assert one is not None
    assert (one.classes, one.num_frames) == (other.classes, other.num_frames)
    np.testing.assert_array_equal(one.frames, other.frames, strict=True)
    np.testing.assert_array_equal(one.times.seconds, other.times.seconds, strict=True)
    for each in fields(Tracks):
        mine, theirs = getattr(one.tracks, each.name), getattr(other.tracks, each.name)
        np.testing.assert_array_equal(mine, theirs, strict=True)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"frame":0', '"frame":0.0'),
        ('"frame":0', '"frame":-1'),
        ('"frame":0', '"frame":true'),
        ('"time":0.0', '"time":"0"'),
        ("3.5", "1e300"),
        ("3.5", "true"),
        ("3.5", '"3.5"'),
        ("3.5,", ""),
        ("[7]", "[7.0]"),
        ("[7]", "[-1]"),
        ("[7]", "[7,8]"),
        ("[7]", "[9223372036854775808]"),
        ('["dog"]', '["dog","cat"]'),
        ('["dog"]', "null"),
        ('["dog"]', '"d"'),
        ("[0.9]", "[null]"),
        ('"scores":[0.9]', '"scores":[0.9],"interpolated":[1]'),
        ('"scores":[0.9]', '"scores":[0.9],"margins":["x"]'),
        ('"scores":[0.9]', '"scores":[0.9],"masks":[null]'),
        (LINE, "[1]\n"),
        (LINE, "# a remark\n"),
        (LINE, ""),
    ],
)
def test_what_is_not_plainly_right_is_read_line_by_line(tmp_path: Path, old: str, new: str):
    path = tmp_path / "t.jsonl"
    path.write_text(LINE.replace(old, new))
    assert jsonl.read_at_once(path) is None


@pytest.mark.parametrize("masks", ["", ',"masks":[null]'])
def test_it_is_told_how_much_of_a_file_is_read(tmp_path: Path, masks: str):
    path = tmp_path / "t.jsonl"
    lines = [f'{{"frame":{index},{LINE[11:-2]}{masks}}}\n' for index in range(600)]
    path.write_text("".join(lines))
    told: list[float] = []
    formats.read_tracks(path, progress=told.append)
    assert len(told) > 2
    assert told == sorted(told)
    assert told[-1] == 1


def test_frames_out_of_order_are_left_to_the_lines(tmp_path: Path):
    path = tmp_path / "t.jsonl"
    path.write_text(LINE + LINE)
    assert jsonl.read_at_once(path) is None


def test_parts_of_arrays_are_written_too(tmp_path: Path):
    path = tmp_path / "tracks.jsonl"
    with TracksWriter(path, ("cat", "dog")) as writer:
        writer.write(frame(0), some_tracks(9)[::2])
    back, *_ = TracksReader(path)
    np.testing.assert_array_equal(back.tracks.boxes, some_tracks(9).boxes[::2])


def test_classes_grow_in_the_order_of_appearance(tmp_path: Path):
    path = tmp_path / "tracks.jsonl"
    path.write_text(LINE + LINE.replace('"frame":0', '"frame":4').replace("dog", "cat"))
    reader = TracksReader(path)
    frames = iter(reader)
    next(frames)
    assert reader.classes == ("dog",)
    second = next(frames)
    found = (second.index, second.tracks.labels.tolist(), reader.classes)
    assert found == (4, [1], ("dog", "cat"))


def test_lines_behind_a_bad_one_are_not_read_ahead(tmp_path: Path):
    path = tmp_path / "tracks.jsonl"
    path.write_text(LINE + "broken\n")
    frames = iter(TracksReader(path))
    assert next(frames).index == 0
    with pytest.raises(SourceError, match=r'line 2: expected JSON, got .*: "broken"'):
        next(frames)


def test_a_resumed_file_is_the_same_as_one_written_at_once(tmp_path: Path):
    whole, resumed = tmp_path / "whole.jsonl", tmp_path / "resumed.jsonl"
    with TracksWriter(whole, ("cat", "dog")) as writer:
        for index in range(4):
            writer.write(frame(index), some_tracks(index))
    with suppress(KeyboardInterrupt), TracksWriter(resumed, ("cat", "dog")) as writer:
        writer.write(frame(0), some_tracks(0))
        writer.write(frame(1), some_tracks(1))
        offset = writer.offset
        writer.write(frame(2), some_tracks(2))
        raise KeyboardInterrupt
    assert not resumed.exists()
    with TracksWriter(resumed, ("cat", "dog"), resume_at=offset) as writer:
        writer.write(frame(2), some_tracks(2))
        writer.write(frame(3), some_tracks(3))
    assert resumed.read_bytes() == whole.read_bytes()


def test_a_file_closed_by_hand_stays_a_part(tmp_path: Path):
    writer = TracksWriter(tmp_path / "tracks.jsonl", ("cat", "dog"))
    writer.write(frame(0), some_tracks())
    writer.close()
    assert [path.name for path in tmp_path.iterdir()] == ["tracks.jsonl.part"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"frame":0', '"frame":-1', "expected frame whole and from 0, got -1"),
        ('"frame":0', '"frame":0.5', "expected frame whole and from 0, got 0.5"),
        ('"frame":0', '"frame":"0"', "expected a number below 1e.09 as frame, got 0"),
        ('"frame":0,', "", 'expected "frame", got only time, boxes'),
        ('"time":0.0', '"time":null', "expected a number .* as time, got None"),
        ("3.5,", "", "expected 1 x 4 numbers .* as boxes"),
        ("3.5", "NaN", "expected JSON"),
        ("3.5", "1e300", "expected 1 x 4 numbers below 1e.09 as boxes"),
        ("[[1.0,2.0,3.5,4.0]]", "[[1,2,3,4],[1,2,3]]", "expected 2 x 4 numbers .* as boxes"),
        ("[[1.0,2.0,3.5,4.0]]", "5", "expected a list of boxes, got int"),
        ("[7]", "[0]", "expected ids whole and from 1"),
        ("[7]", "[7,8]", "expected 1 numbers .* as ids"),
        ('["dog"]', "[3]", "expected 1 names as labels"),
        ('["dog"]', "[]", "expected 1 names as labels"),
        ("[0.9]", "[true]", "expected 1 numbers .* as scores"),
        (LINE, "[1]\n", "expected a JSON object, got list"),
    ],
)
def test_a_malformed_line_is_named(tmp_path: Path, old: str, new: str, message: str):
    path = tmp_path / "tracks.jsonl"
    path.write_text("\n" + LINE.replace(old, new))
    with pytest.raises(SourceError, match=f"tracks.jsonl line 2: {message}"):
        list(TracksReader(path))


def test_an_id_twice_in_a_frame_is_an_error(tmp_path: Path):
    path = tmp_path / "tracks.jsonl"
    path.write_text('{"frame":0,"time":0,"boxes":[[0,0,1,1],[0,0,1,1]],"ids":[3,3],"scores":[1,1]}')
    with pytest.raises(SourceError, match=r"line 1: expected each id once, got \[3, 3\]"):
        list(TracksReader(path))


@pytest.mark.parametrize("later", [1, 2])
def test_frames_that_do_not_increase_are_an_error(tmp_path: Path, later: int):
    path = tmp_path / "tracks.jsonl"
    path.write_text(
        LINE.replace('"frame":0', '"frame":2') + LINE.replace('"frame":0', f'"frame":{later}')
    )
    with pytest.raises(SourceError, match=f"line 2: expected a frame after 2, got {later}"):
        list(TracksReader(path))


def test_detections_need_neither_order_nor_ids_nor_time_nor_labels(tmp_path: Path):
    path = tmp_path / "dets.jsonl"
    path.write_text(
        '{"frame":5,"boxes":[[0,0,1,1],[0,0,0,1]],"scores":[0.5,1]}\n'
        '{"frame":2,"boxes":[],"scores":[]}\n'
        '{"frame":1,"boxes":[[0,0,2,2]],"scores":[0.25],"labels":["dog"]}\n'
    )
    dets = read_detections(path)
    assert dets.frames.tolist() == [1, 5]
    assert dets.boxes.tolist() == [[0, 0, 2, 2], [0, 0, 1, 1]]
    assert [dets.classes[label] for label in dets.labels] == ["dog", "object"]
    assert dets.num_empty == 1


def test_a_file_without_lines_has_no_frames(tmp_path: Path):
    path = tmp_path / "tracks.jsonl"
    path.write_text("")
    assert list(TracksReader(path)) == []
    assert len(read_detections(path)) == 0


def test_masks_come_back_and_are_left_out_where_there_are_none(tmp_path: Path):
    path = tmp_path / "tracks.jsonl"
    write_three_frames(TracksWriter(path, CLASSES))
    lines = path.read_text().splitlines()
    assert ['"masks"' in line for line in lines] == [True, False, True]
    for back, expected in zip(TracksReader(path, CLASSES), three_frames(), strict=True):
        assert back.tracks.masks.tolist() == expected.masks.tolist()
    assert read_detections(path).of_frame(0).masks.tolist() == three_frames()[0].masks.tolist()


def test_a_broken_mask_is_an_error_that_names_the_line(tmp_path: Path):
    path = tmp_path / "tracks.jsonl"
    path.write_text(LINE[:-2] + ',"masks":[{"size":[4,4],"counts":"99"}]}\n')
    with pytest.raises(SourceError, match="line 1: expected 1 masks or null as masks, got counts"):
        list(TracksReader(path))


def test_detections_that_come_back_to_a_frame_are_refused(tmp_path):
    path = tmp_path / "d.jsonl"
    lines = [f'{{"frame":{n},"boxes":[[1,2,3,4]],"scores":[0.5]}}\n' for n in (4, 4, 2)]
    path.write_text("".join(lines))
    assert read_detections(path).frames.tolist() == [2, 4, 4]
    path.write_text("".join([*lines, lines[0]]))
    with pytest.raises(SourceError, match="comes back to frame 4 after others"):
        read_detections(path)
