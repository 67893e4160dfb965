"""`masa track --prompt` with weights that masa train made."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from masa_cli.checkpoints import packaged
from masa_cli.cli.app import app
from masa_cli.detectors.vocabulary import load_vocabulary
from masa_cli.models.mobilenet import MobileNet
from masa_cli.models.trained_file import CLASSES_KEY
from masa_cli.training.export import save_trained
from masa_cli.training.initial import first_weights
from masa_cli.training.objectives import OBJECTIVES
from masa_cli.training.recipes import find_recipe
from tests.clips import write_clip

NUM_FRAMES = 5


def masa(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """As before the first step of training: everything looks a little like anything."""
    settings = find_recipe("lite", "lite-detector").objectives.values()
    classes = load_vocabulary().classes
    objectives = [OBJECTIVES[type(each)] for each in settings]
    parts = first_weights("lite", objectives, classes, start=None, weights_dir=None, seed=0)
    file = tmp_path_factory.mktemp("lite") / "best.safetensors"
    save_trained(file, "lite", parts, {CLASSES_KEY: list(classes)})
    return file


@pytest.fixture
def video(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(packaged, "FOLDERS", (tmp_path / "own",))
    return write_clip(tmp_path, NUM_FRAMES)[0]


def test_a_trained_file_finds_and_describes_in_one_look(video, weights, monkeypatch):
    calls = []
    forward = MobileNet.forward
    monkeypatch.setattr(
        MobileNet, "forward", lambda self, x: (calls.append(len(x)), forward(self, x))[1]
    )
    prompt = ("--prompt", "person, vehicles", "--min-score", "0.001", "--max-overlap", "0.3")
    changes = ("--set", "birth_score=0", "--set", "confirm_hits=1", "--set", "confident_score=0")
    given = ("--detector", weights, "--adapter", weights)
    result = masa("track", video, *prompt, *given, *changes)
    assert result.exit_code == 0, result.output
    assert calls == [1] * NUM_FRAMES
    lines = [json.loads(line) for line in Path("street/tracks.jsonl").read_text().splitlines()]
    assert len(lines) == NUM_FRAMES
    assert {label for line in lines for label in line["labels"]} <= {"person", "vehicles"}
    assert any(line["boxes"] for line in lines)


def test_the_packaged_weights_are_the_default_where_no_others_are(video, weights):
    Path("own").mkdir()
    Path("own/lite.safetensors").symlink_to(weights)
    result = masa("track", video, "--prompt", "person", "--no-video")
    assert result.exit_code == 0, result.output
    assert "detector lite: no weights of gdino are here" in " ".join(result.stderr.split())
    named = masa("track", video, "--prompt", "person", "--detector", "lite", "-o", "named")
    assert named.exit_code == 0, named.output


def test_words_beyond_the_vocabulary_are_told_with_the_way_to_any(video, weights):
    Path("own").mkdir()
    Path("own/lite.safetensors").symlink_to(weights)
    result = masa("track", video, "--prompt", "persn, unicorn")
    said = " ".join(result.stderr.split())
    assert result.exit_code == 1
    assert '"persn", "unicorn"' in said
    assert "masa weights pull gdino" in said
    assert not Path("street").exists()


def test_a_file_that_cannot_detect_is_refused(video, weights):
    file = Path("embeds.safetensors")
    settings = find_recipe("lite").objectives.values()
    objectives = [OBJECTIVES[type(each)] for each in settings]
    parts = first_weights("lite", objectives, (), start=None, weights_dir=None, seed=0)
    save_trained(file, "lite", parts, {})
    result = masa("track", video, "--prompt", "person", "--detector", file)
    assert result.exit_code == 1
    assert "was not trained to find objects" in " ".join(result.stderr.split())
    assert not Path("street/street.txt").exists()


def test_unknown_detectors_are_named(video):
    result = masa("track", video, "--prompt", "person", "--detector", "yolo")
    assert result.exit_code == 1
    assert 'unknown detector "yolo"' in result.stderr
