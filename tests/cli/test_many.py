"""Several videos in one run: each has the results of a run of its own."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from masa_cli.cli.app import app
from tests.clips import write_clip

MOTION = ("--association", "motion")


def masa(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def one_line(text):
    return " ".join(text.split())


@pytest.fixture
def videos(tmp_path, monkeypatch):
    """a.mp4, "b [x].mp4" and -c.mp4, with their detections in dets/."""
    monkeypatch.chdir(tmp_path)
    Path("dets").mkdir()
    names = ["a", "b [x]", "-c"]
    for name, length in zip(names, (8, 12, 5), strict=True):
        video, dets = write_clip(tmp_path, length)
        video.rename(f"{name}.mp4")
        dets.rename(f"dets/{name}.txt")
    return names


def files(folder):
    """All but run.json, which tells the command and times."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(Path(folder).rglob("*"))
        if path.is_file() and path.name != "run.json"
    }


def test_each_video_gets_the_results_of_a_run_of_its_own(videos):
    options = [*MOTION, "--trails", 2, "--set", "birth_score=0.5", "--no-scores", "--also", "coco"]
    result = masa("track", "*.mp4", "--dets", "dets", *options, "-o", "all", "--jobs", 2, "--json")
    assert result.exit_code == 0, result.stderr
    summary = json.loads(result.stdout)["videos"]
    assert {each["name"]: each["frames"] for each in summary} == {"a": 8, "b [x]": 12, "-c": 5}
    for name in videos:
        dets = f"dets/{name}.txt"
        alone = masa("track", "--dets", dets, *options, "-o", f"alone/{name}", "--", f"{name}.mp4")
        assert alone.exit_code == 0, alone.stderr
    assert files("all") == files("alone")
    assert len(files("all")) == 12


def test_one_that_fails_does_not_stop_the_others(videos):
    Path("a.mp4").write_bytes(b"no video")
    result = masa("track", "a.mp4", "b [x].mp4", "--dets", "dets/{name}.txt", *MOTION)
    assert result.exit_code == 1
    text = one_line(result.stderr)
    assert "a: error:" in text
    assert "1 of 2 videos could not be tracked: a" in text
    assert Path("b [x]/tracks.jsonl").exists()


def test_resume_skips_what_is_finished(videos):
    command = ["track", "a.mp4", "b [x].mp4", "--dets", "dets", *MOTION, "--no-video"]
    Path("a.mp4").rename("moved.mp4")
    assert masa(*command).exit_code == 1
    Path("moved.mp4").rename("a.mp4")
    before = Path("b [x]/tracks.jsonl").stat().st_mtime_ns
    result = masa(*command, "--resume")
    assert result.exit_code == 0, result.stderr
    assert "b [x] is finished already" in result.stderr
    assert Path("b [x]/tracks.jsonl").stat().st_mtime_ns == before
    assert Path("a/tracks.jsonl").exists()


@pytest.mark.parametrize(
    ("arguments", "problem", "code"),
    [
        (["a.mp4", "dets", "--dets", "dets/a.txt"], "cannot hold the detections of 2 videos", 2),
        (["a.mp4", "b [x].mp4", "--dets", "none"], "cannot hold the detections", 2),
        (["a.mp4", "-", "--dets", "dets"], "- is no file, and can only be tracked alone", 2),
        (["a.mp4", "sub/a.mp4", "--dets", "dets"], "2 of the videos are called a", 1),
        (["*.avi", "--dets", "dets"], "*.avi matches nothing", 1),
        (["a.mp4", "new.mp4", "--dets", "dets"], "no file of detections for new", 1),
    ],
    ids=str,
)
def test_what_cannot_be_is_said_before_anything_runs(videos, arguments, problem, code):
    result = masa("track", *arguments, *MOTION, "-o", "out")
    assert result.exit_code == code
    assert problem in one_line(result.stderr)
    assert not Path("out").exists()


def test_ctrl_c_asks_all_and_resume_goes_on(videos, tmp_path):
    for name in ("long1", "long2"):
        video, dets = write_clip(tmp_path, 400)
        video.rename(f"{name}.mp4")
        dets.rename(f"dets/{name}.txt")
    command = [sys.executable, "-m", "masa_cli", "track", "long*.mp4", "--dets", "dets", *MOTION]
    command += ["--jobs", "2", "-o", "out"]
    run = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and not list(Path("out").glob("*/tracks.jsonl.part")):
        time.sleep(0.02)
    os.kill(run.pid, signal.SIGINT)
    _, messages = run.communicate(timeout=60)
    assert run.returncode == 130, messages
    assert "--resume goes on" in messages
    again = subprocess.run([*command, "--resume"], capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    whole = subprocess.run([*command[:-1], "whole"], capture_output=True, text=True, check=False)
    assert whole.returncode == 0
    assert files("out") == files("whole")


@pytest.mark.parametrize("dets", ["dets", "dets/{name}.txt"])
def test_a_pattern_that_matches_one_video_takes_its_file_of_a_folder(videos, dets):
    result = masa("track", "a*.mp4", "--dets", dets, *MOTION, "-o", "one", "--no-video")
    assert result.exit_code == 0, result.stderr
    assert Path("one/a.txt").read_text()
    result = masa("track", "new*.mp4", "--dets", dets, *MOTION, "-o", "two", "--no-video")
    assert "new*.mp4 matches nothing" in one_line(result.stderr)
