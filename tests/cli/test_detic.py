"""`masa track --detector detic`, from the command line to the results, on weights of the recipe."""

import json
from pathlib import Path

import pytest
from torch import nn
from typer.testing import CliRunner

from masa_cli.cli.app import app
from masa_cli.models.swin import Swin
from tests.clip import write_clip as write_text_encoder
from tests.clips import write_clip


@pytest.fixture
def track(tmp_path, monkeypatch, published_file):
    """Runs `masa track` with Detic on three small frames."""
    monkeypatch.chdir(tmp_path)
    for name in ("HF_HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "none"))
    video = write_clip(tmp_path, 3)[0]
    Path("weights").mkdir()
    Path("weights/detic_masa.pth").symlink_to(published_file("detic", ""))

    def run(*arguments):
        own = ("--detector", "detic", "--weights-dir", "weights", "--imgsz", 160, "--no-video")
        command = ("track", video, *own, "--runtime", "torch", *arguments)
        return CliRunner().invoke(app, [str(argument) for argument in command])

    return run


def lines():
    return [json.loads(line) for line in Path("street/tracks.jsonl").read_text().splitlines()]


def test_one_look_at_a_frame_finds_describes_and_segments(track, monkeypatch):
    looks, forward = [], Swin.forward
    monkeypatch.setattr(Swin, "forward", lambda self, x: looks.append(len(x)) or forward(self, x))
    result = track("--prompt", "person, traffic light", "--masks", "--association", "masa-demo")
    assert result.exit_code == 0, result.output
    assert "masks by Detic's own mask head" in result.stderr
    assert looks == [1, 1, 1]
    found = lines()
    assert {label for line in found for label in line["labels"]} <= {"person", "traffic light"}
    assert sum(len(line["ids"]) for line in found) > 3
    assert any(mask for line in found for mask in line["masks"])


def test_all_of_lvis_is_looked_for(track):
    result = track("--prompt", "lvis", "--association", "masa-demo")
    assert result.exit_code == 0, result.output
    assert len({label for line in lines() for label in line["labels"]}) > 2


def test_other_words_are_read_by_the_text_encoder(track, monkeypatch):
    def refuse(*_):
        raise AssertionError("a frame was looked at")

    with monkeypatch.context() as patch:
        patch.setattr(nn.Module, "__call__", refuse)
        result = track("--prompt", "goblin, people")
    assert result.exit_code == 1, result.output
    assert 'but not "goblin", "people"; like "goblin", it knows' in result.stderr
    assert 'like "people", it knows person' in result.stderr
    assert "hf download openai/clip-vit-base-patch32 config.json" in result.stderr
    assert not Path("street").exists()

    write_text_encoder(Path("weights/clip-vit-base-patch32"))
    result = track("--prompt", "goblin, person", "--association", "masa-demo")
    assert result.exit_code == 0, result.output
    assert {label for line in lines() for label in line["labels"]} <= {"goblin", "person"}


def test_masks_are_for_boxes_of_others_too(track):
    dets = Path("dets.txt")
    dets.write_text("".join(f"{frame},-1,10,10,30,30,0.9\n" for frame in (1, 2, 3)))
    result = track("--dets", dets, "--segmenter", "detic", "--association", "motion")
    assert result.exit_code == 0, result.output
    assert all(len(line["masks"]) == 1 for line in lines())
