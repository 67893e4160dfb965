"""What --follow says, in which frames that is, and whole runs that follow one of two objects."""

import json
import re
from fractions import Fraction

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from masa_cli.cli.app import app
from masa_cli.errors import Interrupted, SettingsError, SourceError, UsageError
from masa_cli.jobs import follow
from masa_cli.jobs.follow import find_targets, parse_follow, past_of, past_state
from masa_cli.jobs.plan import Options, plan_job
from masa_cli.jobs.run import run
from masa_cli.masks import pack
from masa_cli.progress import RunProgress
from masa_cli.sources import open_source
from masa_cli.sources.excerpt import Excerpt, Span
from masa_cli.structures import Frame, Tracks, VideoInfo
from masa_cli.tracking.targets import Pointing, Target
from tests.clips import HEIGHT, WIDTH, boxes_at, write_clip
from tests.jobs.test_run import StopAfter, contents, into

NUM_FRAMES = 30
RIGHT, LEFT = 0, 1  # the objects of the clip, by where they go


@pytest.fixture
def clip(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return write_clip(tmp_path, NUM_FRAMES)


def xyxy(index, which):
    left, top, width, height = boxes_at(index)[which]
    return (left, top, left + width, top + height)


def text(index, which, name=""):
    box = ",".join(map(str, xyxy(index, which)))
    return f"{name}{box}@{index / 25}"


def masa(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def misplaced(path, which):
    """Frames of a tracks.jsonl in which the object is not the only track, or is elsewhere."""
    return [
        line["frame"]
        for line in lines(path)
        if line["ids"] != [1]
        or np.abs(np.array(line["boxes"][0]) - xyxy(line["frame"], which)).max() > 4
    ]


def test_a_box_a_point_and_a_name_are_read():
    box, point, named, first = parse_follow(
        ["1,2,30,40@1:30", "5,6.5@2.5", "the ball=1,2,3,4@0", "7,8,9,10"]
    )
    assert (box.box, box.point, box.time, box.name) == ((1, 2, 30, 40), None, 90, "")
    assert (point.box, point.point, point.time) == (None, (5, 6.5), Fraction("2.5"))
    assert (named.name, named.box) == ("the ball", (1, 2, 3, 4))
    assert first.time == 0


@pytest.mark.parametrize(
    "wrong", ["", "1,2,3@4", "1,2,nan,4@0", "a,b@0", "1,2,3,4@", "1,2,3,4@x", "5,5,5,9@0"]
)
def test_what_is_no_place_at_no_time_is_refused(wrong):
    with pytest.raises(UsageError):
        parse_follow([wrong])


def test_a_file_has_boxes_points_polygons_and_masks(tmp_path):
    mask = pack(np.ones((4, 6), np.bool_), (10, 20), (HEIGHT, WIDTH))
    picture = np.zeros((HEIGHT, WIDTH), np.uint8)
    picture[5:8, 2:12] = 255
    cv2.imwrite(str(tmp_path / "mask.png"), picture)
    entries = [
        {"name": "a", "time": 1.5, "box": [1, 2, 3, 4]},
        {"frame": 7, "point": [5, 6]},
        {"time": "0:02", "polygon": [[1, 1], [9, 2], [4, 8]]},
        {"mask": {"size": list(mask.size), "counts": mask.counts}},
        {"mask": "mask.png"},
    ]
    file = tmp_path / "targets.json"
    file.write_text(json.dumps(entries))
    wishes = parse_follow([str(file)])
    assert [wish.box for wish in wishes] == [
        (1, 2, 3, 4),
        None,
        (1, 1, 9, 8),
        (10, 20, 16, 24),
        (2, 5, 12, 8),
    ]
    assert [wish.time for wish in wishes] == [1.5, None, 2, 0, 0]
    assert wishes[1].frame == 7


@pytest.mark.parametrize(
    "entry",
    [
        {},
        {"box": [1, 2, 3]},
        {"box": [1, 2, 3, "x"]},
        {"box": [1, 2, 3, 4], "point": [1, 2]},
        {"box": [1, 2, 3, 4], "time": 1, "frame": 2},
        {"box": [1, 2, 3, 4], "colour": "red"},
        {"point": [1, 2], "frame": -1},
        {"polygon": [[1, 2], [3, 4]]},
        {"mask": {"size": [4, 4], "counts": "!"}},
        {"mask": "none.png"},
        7,
    ],
    ids=str,
)
def test_a_wrong_entry_is_named(tmp_path, entry):
    file = tmp_path / "targets.json"
    file.write_text(json.dumps([entry]))
    with pytest.raises(SourceError) as error:
        parse_follow([str(file)])
    assert re.search(r"targets.json entry 1|none.png", error.value.problem)


def test_the_frame_nearest_to_the_time_is_the_one(clip):
    source = open_source(clip[0])  # a frame every 0.04 s
    (target,) = find_targets(parse_follow(["10,10,20,20@0.41"]), source)
    assert target.pointings == (Pointing(0.4, (10, 10, 20, 20)),)


def test_times_are_those_of_the_whole_video_where_a_part_is_tracked(clip):
    part = Excerpt(open_source(clip[0]), Span(Fraction("0.4"), None))
    (target,) = find_targets(parse_follow(["10,10,20,20@0.8"]), part)
    assert target.pointings[0].time == pytest.approx(0.4)
    with pytest.raises(SettingsError, match=r"0 s is outside what is tracked, 0.4 s"):
        find_targets(parse_follow(["10,10,20,20@0"]), part)


@pytest.mark.parametrize("wrong", ["10,10,20,20@9", "200,10,220,20@0", "96,10@0"])
def test_what_is_outside_the_video_is_refused(clip, wrong):
    with pytest.raises(SettingsError, match="outside"):
        find_targets(parse_follow([wrong]), open_source(clip[0]))


def test_one_name_is_one_target_and_no_name_is_one_each(clip):
    wishes = parse_follow(["ball=1,1,9,9@0.4", "1,1,9,9@0", "ball=2,2,9,9@0", "1,1,9,9@0"])
    ball, first, second = find_targets(wishes, open_source(clip[0]))
    assert ball.name == "ball"
    assert [each.time for each in ball.pointings] == [0, 0.4]
    assert (first.name, second.name) == ("object", "object")


def test_one_thing_cannot_be_at_two_places(clip):
    with pytest.raises(SettingsError, match="shows ball twice"):
        find_targets(parse_follow(["ball=1,1,9,9@0", "ball=2,2,9,9@0"]), open_source(clip[0]))


@pytest.mark.parametrize("held", [1, 7, 100])
def test_frames_come_backwards_whatever_can_be_held(monkeypatch, held):
    info = VideoInfo("video", 8, 8, Fraction(25), Fraction(1, 25), 20)

    class Source:
        def frames(self, start=0):
            for index in range(start, 20):
                yield Frame(index, Fraction(index, 25), np.zeros((8, 8, 3), np.uint8))

    Source.info = info
    monkeypatch.setattr(follow, "_HELD_BYTES", held * 3 * 8 * 8)
    monkeypatch.setattr(follow, "_FEWEST_HELD", 1)
    indices = [frame.index for frame in follow._backwards(Source(), 17 / 25)]
    assert indices == list(range(17, -1, -1))


def test_known_tracks_survive_as_arrays():
    one, number = np.array([[1, 2, 3, 4]], np.float32), np.array([1])
    tracks = Tracks(one, np.array([0.5], np.float32), number, number)
    past = past_of(past_state({4: tracks, 2: Tracks.joined([tracks, tracks.renamed(number + 1)])}))
    assert sorted(past) == [2, 4]
    assert past[2].ids.tolist() == [1, 2]
    assert past_of(past_state({})) == {}


@pytest.mark.parametrize("which", [RIGHT, LEFT])
def test_what_is_pointed_at_is_followed_both_ways_and_alone(clip, tmp_path, which):
    video, dets = clip
    result = masa(
        "track", video, "--dets", dets, "--follow", text(15, which, "ball="), "--no-video"
    )
    assert result.exit_code == 0, result.output
    assert len(lines(tmp_path / "street/tracks.jsonl")) == NUM_FRAMES
    assert misplaced(tmp_path / "street/tracks.jsonl", which) == []
    assert lines(tmp_path / "street/tracks.jsonl")[0]["labels"] == ["ball"]


def test_where_nothing_is_detected_the_correlation_keeps_it(clip, tmp_path):
    video, dets = clip
    dets.write_text("1,-1,0,0,3,3,0.1\n")
    result = masa("track", video, "--dets", dets, "--follow", text(15, RIGHT), "--no-video")
    assert result.exit_code == 0, result.output
    assert misplaced(tmp_path / "street/tracks.jsonl", RIGHT) == []


def test_a_point_takes_the_detection_that_holds_it(clip, tmp_path):
    video, dets = clip
    result = masa("track", video, "--dets", dets, "--follow", "30,20@0.6", "--no-video")
    assert result.exit_code == 0, result.output
    assert misplaced(tmp_path / "street/tracks.jsonl", RIGHT) == []
    result = masa("track", video, "--dets", dets, "--follow", "2,60@0.6", "-o", "no", "--no-video")
    assert result.exit_code == 1
    assert "nothing was detected at 2,60 in frame 15" in " ".join(result.output.split())


def test_two_things_are_two_tracks_from_their_own_times(clip, tmp_path):
    video, dets = clip
    targets = ["--follow", text(20, RIGHT, "a="), "--follow", text(4, LEFT, "b=")]
    result = masa("track", video, "--dets", dets, *targets, "--no-video")
    assert result.exit_code == 0, result.output
    for line in lines(tmp_path / "street/tracks.jsonl"):
        assert dict(zip(line["ids"], line["labels"], strict=True)) == {1: "a", 2: "b"}


@pytest.mark.parametrize("stop", [("tracking backwards", 5), ("tracking", 22)], ids=str)
def test_a_run_that_was_interrupted_ends_as_if_it_had_not_been(clip, tmp_path, stop):
    video, dets = clip
    options = Options(
        source=video, dets=dets, follow=(text(15, RIGHT),), output=tmp_path / "whole", video=False
    )
    job = plan_job(options)
    run(job, RunProgress())
    stopped = into(job, "stopped")
    with pytest.raises(Interrupted):
        run(stopped, StopAfter(*stop))
    run(stopped, RunProgress(), resume=True)
    assert contents(stopped) == contents(job)


def test_a_live_run_follows_forwards(clip, tmp_path):
    video, dets = clip
    result = masa(
        "track", video, "--dets", dets, "--follow", text(15, RIGHT), "--no-video", "--jsonl", "-"
    )
    assert result.exit_code == 0, result.output
    found = lines(tmp_path / "street/tracks.jsonl")
    assert [line["frame"] for line in found if line["ids"]] == list(range(15, NUM_FRAMES))


@pytest.mark.parametrize(
    ("more", "complaint"),
    [
        (["--association", "motion"], "--follow has an association of its own"),
        (["--save-embeddings"], "--save-embeddings cannot be"),
        (["--batch-size", "2"], "--batch-size cannot be"),
        (["--set", "memory=0"], "memory is at least 1"),
        (["--set", "birth_score=1"], "no setting to change"),
    ],
    ids=str,
)
def test_what_does_not_go_together_is_said_before_anything_is_loaded(clip, more, complaint):
    video, dets = clip
    result = masa("track", video, "--dets", dets, "--follow", text(15, RIGHT), *more)
    assert result.exit_code in (1, 2)
    assert complaint in " ".join(result.output.split())


def test_several_videos_are_refused(clip):
    video, dets = clip
    result = masa("track", video, video.with_name("b.mp4"), "--dets", dets, "--follow", "1,2@0")
    assert result.exit_code == 2
    assert "--follow points into one video" in result.output


def test_without_images_nothing_can_be_followed(clip):
    _, dets = clip
    result = masa("track", "--dets", dets, "--follow", "1,2,9,9@0")
    assert result.exit_code == 1
    assert "but there are no images" in " ".join(result.output.split())


def test_objects_of_any_class_are_candidates_where_nothing_else_is_said(clip):
    video, _ = clip
    job = plan_job(Options(source=video, follow=(text(15, RIGHT, "ball="),)))
    assert job.classes == ("object", "ball")
    assert job.perception.detector.row.name in ("lite", "sam-b", "sam-h")
    assert not job.perception.has_masks
    assert job.input.targets == (Target("ball", (Pointing(0.6, xyxy(15, RIGHT)),)),)
