"""run.json says what a run was: what it read and loaded, with which settings, and what came out."""

import json
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from masa_cli import __version__
from masa_cli.cli.app import app
from masa_cli.jobs import record
from masa_cli.jobs.record import describe_weights
from tests.clips import HEIGHT, WIDTH, write_clip
from tests.lite_file import write_lite

NUM_FRAMES = 6
ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # sha256 of "abc"


def masa(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def clip(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    write_clip(tmp_path, NUM_FRAMES)
    return ("street.mp4", "--dets", "dets.txt", "--association", "motion", "--no-video")


def read(folder="street"):
    return json.loads(Path(folder, "run.json").read_text())


def test_it_says_what_was_read_and_done(clip):
    result = masa("track", *clip, "--set", "birth_score=0.6", "--every", 2)
    assert result.exit_code == 0, result.output
    run = read()
    assert run["masa"] == __version__
    assert run["command"] == sys.argv
    assert run["versions"]["numpy"]
    source = run["source"]
    assert (source["path"], source["width"], source["height"]) == ("street.mp4", WIDTH, HEIGHT)
    assert run["facts"]["part"] == "None to None, every 2"
    assert run["files"] == ["dets.txt"]
    assert run["association"]["name"] == "motion"
    assert run["association"]["settings"]["birth_score"] == 0.6
    assert run["detector"]["name"] == "file"
    assert run["adapter"] is None
    assert run["weights"] == []
    assert run["counts"] == {"frames": 3, "boxes": 6, "tracks": 2, "masks": 0}
    assert run["seconds"]["associate"] >= 0
    assert run["written"] == ["street/street.txt", "street/tracks.jsonl"]


def test_it_names_the_weights_that_were_loaded(clip, tmp_path):
    file = write_lite(tmp_path / "own.safetensors", with_masks=True)
    given = ("--prompt", "person:0.3", "--detector", file, "--masks", "--segmenter", file)
    assert masa("track", clip[0], *given, "--no-video").exit_code == 0
    run = read()
    [weights] = run["weights"]
    assert (weights["path"], weights["bytes"]) == (str(file), file.stat().st_size)
    assert len(weights["sha256"]) == 64
    assert (run["detector"]["name"], run["detector"]["prompt"]) == ("lite", "person:0.3")
    assert run["detector"]["settings"]["max_overlap"] == 0.5
    assert run["segmenter"] == "lite"
    assert run["association"]["refinement"]["linking"]["seconds"] > 0


def test_it_is_a_result_that_is_not_replaced_unasked(clip):
    assert masa("track", *clip, "--no-jsonl").exit_code == 0
    refused = masa("track", *clip, "--no-mot")
    assert refused.exit_code == 1
    assert "run.json exists already" in refused.stderr
    assert masa("track", *clip, "--no-mot", "--overwrite").exit_code == 0
    assert read()["written"] == ["street/tracks.jsonl"]


def test_a_file_is_hashed_but_once(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    file = tmp_path / "w.pth"
    file.write_text("abc")
    assert describe_weights([file]) == [{"path": str(file), "bytes": 3, "sha256": ABC}]
    hashed = []
    monkeypatch.setattr(record, "sha256_of", lambda path: hashed.append(path) or "new")
    assert describe_weights([file])[0]["sha256"] == ABC
    assert not hashed
    file.write_text("abcd")
    assert describe_weights([file])[0]["sha256"] == "new"
    assert hashed == [file]


def test_a_cache_that_cannot_be_used_does_no_harm(tmp_path, monkeypatch):
    (tmp_path / "cache").write_text("a file")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    file = tmp_path / "w.pth"
    file.write_text("abc")
    assert describe_weights([file])[0]["sha256"] == ABC
