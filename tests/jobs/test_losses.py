"""Nothing was tracked: each time the true reason is said, and what helps."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from masa_cli.cli.app import app
from masa_cli.tracking import TRACKERS
from tests.clips import write_clip

NUM_FRAMES = 12


@pytest.fixture
def clip(tmp_path, monkeypatch):
    """A video of 96 x 64 pixels, and boxes whose score is 0.9."""
    monkeypatch.chdir(tmp_path)
    video, dets = write_clip(tmp_path, NUM_FRAMES)
    return video, dets


def said(*arguments):
    """What a run without tracks says, in one line."""
    command = ["track", *map(str, arguments), "--no-video", "-o", "out", "--overwrite"]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.stderr
    lines = Path("out/tracks.jsonl").read_text().splitlines()
    assert not any(json.loads(line)["ids"] for line in lines)
    return " ".join(result.stderr.split())


def one_box(frame, left=10, score=0.9):
    return f"{frame + 1},-1,{left},10,20,20,{score},-1,-1,-1\n"


def test_boxes_past_the_end_are_told_as_such(clip):
    video, dets = clip
    dets.write_text("".join(one_box(frame) for frame in range(500, 510)))
    text = said(video, "--dets", dets)
    assert "its 10 boxes are of frames 500 to 509, counted from 0, and none of these" in text
    assert "birth_score" not in text


def test_boxes_outside_are_told_as_such(clip):
    video, dets = clip
    dets.write_text("".join(one_box(frame, left=5000) for frame in range(10)))
    text = said(video, "--dets", dets)
    assert "none is left to track: they reach from 5000, 10 to 5020, 30" in text
    assert "birth_score" not in text


def test_boxes_that_nobody_wants_are_told_as_such(clip):
    video, dets = clip
    text = said(video, "--dets", dets, "--min-area", 1e6)
    assert "boxes is wanted by --classes, --roi, --ignore and --min-area" in text


def test_scores_below_min_score_are_told_as_such(clip):
    video, dets = clip
    text = said(video, "--dets", dets, "--min-score", 0.95)
    assert "all its 24 boxes have scores below --min-score 0.95; they reach 0.9" in text


@pytest.mark.parametrize("association", ["hybrid", "motion"])
def test_low_scores_are_told_with_the_setting_of_the_association(clip, association):
    video, dets = clip
    dets.write_text("".join(one_box(frame, score=0.1) for frame in range(10)))
    name = TRACKERS[association].birth_score
    text = said(video, "--dets", dets, "--association", association)
    assert "scores of its 10 boxes reach 0.1, too low for birth_score=" in text
    assert f"--set {name}=" in text


def test_scores_that_tell_nothing_are_told_as_such(clip):
    video, dets = clip
    dets = dets.with_suffix(".csv")
    rows = "".join(f"{frame},10,10,30,30,0\n" for frame in range(10))
    dets.write_text("frame,x1,y1,x2,y2,score\n" + rows)
    assert "write scores from 0 to 1, and 1 where there are none" in said(video, "--dets", dets)


def needed_frames():
    return TRACKERS["hybrid"].birth().frames


@pytest.mark.skipif(needed_frames() < 3, reason="hybrid begins tracks after two frames or fewer")
def test_boxes_of_too_few_frames_on_end_are_told_with_the_recipe_that_works(clip):
    video, dets = clip
    dets.write_text("".join(one_box(frame) for frame in (2, 3, 5, 6, 8, 9)))
    text = said(video, "--dets", dets, "--association", "hybrid")
    assert "its boxes are in at most 2 frames on end, and a track begins when it is" in text
    recipe = text.partition("--set ")[2].split()[0]
    arguments = ["track", video, "--dets", dets, "--set", recipe, "-o", "more", "--json"]
    result = CliRunner().invoke(app, [*map(str, arguments), "--association", "hybrid"])
    assert json.loads(result.stdout)["tracks"] >= 1


@pytest.mark.skipif(needed_frames() < 4, reason="hybrid begins tracks after three frames or fewer")
def test_a_clip_that_is_too_short_is_told_as_such(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    video, dets = write_clip(tmp_path, 3)
    text = said(video, "--dets", dets, "--association", "hybrid")
    assert f"there are 3 frames, and a track begins when it is found in {needed_frames()}" in text


def test_boxes_that_jump_are_told_as_such(clip):
    video, dets = clip
    dets.write_text("".join(one_box(frame, left=60 * (frame % 2)) for frame in range(10)))
    text = said(video, "--dets", dets, "--min-track-length", 11, "--association", "motion")
    assert "its boxes are in 10 frames, fewer than --min-track-length 11" in text
    text = said(video, "--dets", dets, "--min-track-length", 3, "--association", "motion")
    assert "no box overlaps one of the frame before" in text


def test_a_part_has_its_own_reason(clip):
    video, dets = clip
    dets.write_text("".join(one_box(frame) for frame in range(2)))
    text = said(video, "--dets", dets, "--start", "0.2")
    assert "its 2 boxes are of frames 0 to 1, counted from 0, and none of these" in text


@pytest.mark.parametrize("name", TRACKERS)
def test_every_association_says_when_a_track_begins(name):
    birth = TRACKERS[name].birth()
    assert birth.frames >= 1
    default = getattr(TRACKERS[name].settings(), birth.score_name)
    changed = TRACKERS[name].birth([f"{birth.score_name}={default / 2}"])
    assert changed.score == pytest.approx(birth.score / 2)
    if birth.frames_name:
        assert TRACKERS[name].birth([f"{birth.frames_name}=1"]).frames == 1


def test_a_prompt_that_finds_nothing_is_told(clip):
    video, _ = clip
    text = said(video, "--prompt", "person", "--min-score", 0.99)
    assert "warning: nothing was tracked: what was asked for was not found" in text
