"""`masa track --prompt`, from the command line to the results."""

import json
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import pytest
from torch import nn
from typer.testing import CliRunner

from masa_cli.cli.app import app
from masa_cli.detectors import grounding_dino
from masa_cli.models import adapter, variants
from masa_cli.models.grounding_dino_layers import TextEncoder
from masa_cli.models.swin import Swin
from masa_cli.models.variants import VARIANTS, Preprocessing
from tests.clips import write_clip
from tests.vocabulary import write_vocabulary


def masa(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def video(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return write_clip(tmp_path, 3)[0]


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ([], "nothing says which objects"),
        (["--dets", "d.txt", "--prompt", "car"], "exclude each other"),
        (["--prompt", "car", "--prompt-file", "p.txt"], "exclude each other"),
        (["--prompt", " . , "], "names nothing to look for"),
        (["--prompt", "car:2"], "no score from 0 to 1"),
    ],
)
def test_a_wrong_prompt_is_wrong_usage(video, options, problem):
    result = masa("track", video, *options)
    assert (result.exit_code, problem in result.stderr) == (2, True), result.output
    assert list(Path().glob("street/*")) == []


def test_a_prompt_needs_a_video():
    result = masa("track", "--prompt", "car")
    assert (result.exit_code, "no video is given" in result.stderr) == (2, True)


def test_missing_weights_are_named_before_anything_is_loaded(video):
    result = masa("track", video, "--prompt", "car", "--detector", "gdino")
    assert result.exit_code == 1
    assert "gdino_masa.pth" in result.stderr
    assert "masa weights pull gdino" in result.stderr
    assert not Path("street").exists()


def test_a_video_that_is_not_there_is_told_before_the_detector_is_chosen(video):
    result = masa("track", "none.mp4", "--prompt", "car")
    assert result.exit_code == 1
    assert result.stderr.startswith("error: none.mp4 does not exist")


@pytest.fixture(scope="module")
def weights(published_file, tmp_path_factory):
    folder = tmp_path_factory.mktemp("prompt")
    (folder / "gdino_masa.pth").symlink_to(published_file("gdino", ""))
    write_vocabulary(folder / "bert-base-uncased-vocab.txt")
    return folder


@pytest.fixture
def calls(monkeypatch):
    """How many pictures or texts each network was given, call by call."""
    small = replace(VARIANTS["gdino"], preprocessing={"demo": Preprocessing(256, 192, 32)})
    with_small = MappingProxyType({**VARIANTS, "gdino": small})
    for module in (variants, adapter, grounding_dino):
        monkeypatch.setattr(module, "VARIANTS", with_small)
    seen = {"swin": [], "text": 0}
    look, read = Swin.forward, TextEncoder.forward

    def counted_look(self: nn.Module, x):
        seen["swin"].append(len(x))
        return look(self, x)

    def counted_read(self, *arguments):
        seen["text"] += 1
        return read(self, *arguments)

    monkeypatch.setattr(Swin, "forward", counted_look)
    monkeypatch.setattr(TextEncoder, "forward", counted_read)
    return seen


def test_each_frame_is_looked_at_once_and_the_prompt_is_read_once(video, weights, calls):
    result = masa(
        *("track", video, "--prompt", "a Car, dog", "--weights-dir", weights, "--no-video"),
        *("--association", "masa-demo", "--batch-size", 2, "--json", "--detector", "gdino"),
        *("--runtime", "torch"),  # conversion looks at zeros, too
    )
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["frames"] == 3
    # Detector and adapter together; three frames in batches of two.
    assert calls == {"swin": [2, 1], "text": 1}
    lines = [json.loads(line) for line in Path("street/tracks.jsonl").read_text().splitlines()]
    labels = {label for line in lines for label in line["labels"]}
    assert labels
    assert labels <= {"a car", "dog"}


def test_what_a_prompt_found_can_be_associated_anew(video, weights, calls):
    prompt = ("--prompt", "a Car, dog", "--weights-dir", weights, "--no-video")
    prompt += ("--detector", "gdino", "--runtime", "torch")  # conversion takes half a minute
    kept = masa("track", video, *prompt, "--save-embeddings", "--min-score", "0")
    assert kept.exit_code == 0, kept.output
    num_looks = len(calls["swin"])
    again = masa("retrack", "street/embeddings.masa", "-o", "again")
    assert again.exit_code == 0, again.output
    assert len(calls["swin"]) == num_looks  # no network was asked
    for name in ("street.txt", "tracks.jsonl"):
        assert Path("again", name).read_bytes() == Path("street", name).read_bytes()
    other = masa("retrack", "street/embeddings.masa", "-o", "other", "--association", "masa-demo")
    assert other.exit_code == 0
    assert "the boxes were kept by BoxSettings(" in " ".join(other.stderr.split())


def test_a_word_that_lite_lacks_is_looked_for_with_the_weights_that_are_here(video, weights, calls):
    given = ("--weights-dir", weights, "--no-video", "--association", "masa-demo")
    given += ("--runtime", "torch")
    result = masa("track", video, "--prompt", "unicorn", *given)
    assert result.exit_code == 0, result.output
    assert 'detector gdino: lite does not know "unicorn"' in " ".join(result.stderr.split())
    assert calls["text"] == 1
    known = masa("track", video, "--prompt", "car", *given, "-o", "known")
    assert "detector lite: fast without an accelerator" in " ".join(known.stderr.split())
    assert calls["text"] == 1
