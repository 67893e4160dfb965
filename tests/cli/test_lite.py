"""`masa track --prompt` with weights that masa train made."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from masa_cli.cli.app import app
from masa_cli.models.backbones import MobileNet
from masa_cli.models.runtime import Converted
from masa_cli.weights import manifest as packaged
from tests.clips import write_clip
from tests.lite_file import write_lite

NUM_FRAMES = 5


def masa(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return write_lite(tmp_path_factory.mktemp("lite") / "best.safetensors")


@pytest.fixture
def video(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(packaged, "FOLDERS", (tmp_path / "own",))
    return write_clip(tmp_path, NUM_FRAMES)[0]


@pytest.fixture(params=["torch", "openvino"])
def inputs_seen(request, monkeypatch):
    """A runtime, and the shapes that the backbone is given there while a test runs."""
    shapes = []
    spied = {"torch": MobileNet, "openvino": Converted}[request.param]
    forward = spied.forward

    def spy(self, *inputs):
        if isinstance(getattr(self, "network", self), MobileNet):
            shapes.append(tuple(inputs[0].shape))
        return forward(self, *inputs)

    monkeypatch.setattr(spied, "forward", spy)
    return request.param, shapes


def test_a_trained_file_finds_and_describes_in_one_look(video, weights, inputs_seen):
    runtime, shapes = inputs_seen
    prompt = ("--prompt", "person, vehicles", "--min-score", "0.001", "--max-overlap", "0.3")
    result = masa("track", video, *prompt, "--detector", weights, "--runtime", runtime)
    assert result.exit_code == 0, result.output
    assert [shape[0] for shape in shapes] == [1] * NUM_FRAMES
    lines = [json.loads(line) for line in Path("street/tracks.jsonl").read_text().splitlines()]
    assert len(lines) == NUM_FRAMES
    assert {label for line in lines for label in line["labels"]} <= {"person", "vehicles"}
    assert any(line["boxes"] for line in lines)


@pytest.mark.parametrize(("runtime", "cores"), [("openvino", 2), ("openvino", 1), ("torch", 2)])
def test_of_a_file_two_frames_are_looked_at_at_once_where_cores_allow(
    video, weights, runtime, cores
):
    given = ("--prompt", "person", "--detector", weights, "--min-score", "0.001")
    more = ("--runtime", runtime, "--threads", cores, "--no-video", "--trace", "trace.json")
    result = masa("track", video, *given, *more)
    assert result.exit_code == 0, result.output
    events = json.loads(Path("trace.json").read_text())
    threads = {event["tid"] for event in events if event["name"] == "detect"}
    assert (len(threads) > 1) == (runtime == "openvino" and cores == 2)


def test_the_packaged_weights_are_the_default_where_no_others_are(video, weights):
    Path("own").mkdir()
    Path("own/lite.safetensors").symlink_to(weights)
    result = masa("track", video, "--prompt", "person", "--no-video")
    assert result.exit_code == 0, result.output
    assert "detector lite: it needs no download" in " ".join(result.stderr.split())
    named = masa("track", video, "--prompt", "person", "--detector", "lite", "-o", "named")
    assert named.exit_code == 0, named.output


def test_a_file_without_a_head_is_described_by_raw(video, tmp_path):
    file = write_lite(tmp_path / "detects.safetensors", with_head=False)
    result = masa("track", video, "--prompt", "person", "--detector", file, "--no-video", "--json")
    assert result.exit_code == 0, result.output
    given = ("--detector", file, "--adapter", file, "-o", "other")
    refused = masa("track", video, "--prompt", "person", *given)
    assert refused.exit_code == 1
    assert "does not fit" in refused.stderr


def test_settings_of_the_file_come_before_the_users(video, weights):
    given = ("--prompt", "person", "--detector", weights, "--min-score", "0.001", "--no-video")
    result = masa("track", video, *given, "--set", "birth_score=0.9", "-o", "none", "--json")
    assert json.loads(result.stdout)["tracks"] == 0
    result = masa("track", video, *given, "-o", "some", "--json", "--save-embeddings")
    found = json.loads(result.stdout)["tracks"]
    assert found > 0
    again = masa("retrack", "some/embeddings.masa", "-o", "again", "--json")
    assert again.exit_code == 0, again.output
    assert json.loads(again.stdout)["tracks"] == found


def test_frames_are_fitted_to_the_size_wanted(video, weights, inputs_seen):
    runtime, shapes = inputs_seen
    given = ("--prompt", "person", "--detector", weights, "--no-video", "--runtime", runtime)
    given = (*given, "--imgsz")
    assert masa("track", video, *given, 256, "-o", "a").exit_code == 0
    assert masa("track", video, *given, 960, "-o", "b").exit_code == 0
    assert [max(shape) for shape in shapes] == [256] * NUM_FRAMES + [960] * NUM_FRAMES
    assert masa("track", video, *given, 8).exit_code == 2


def test_an_adapter_alone_looks_no_further_than_it_must(video, weights, monkeypatch):
    depths = []
    forward = MobileNet.forward
    monkeypatch.setattr(
        MobileNet, "forward", lambda self, x: (depths.append(len(self)), forward(self, x))[1]
    )
    Path("dets.txt").write_text("1,-1,10,10,30,50,0.9\n2,-1,12,10,30,50,0.9\n")
    result = masa("track", video, "--dets", "dets.txt", "--adapter", weights, "--no-video")
    assert result.exit_code == 0, result.output
    assert set(depths) == {7}


def test_everything_is_found_and_outlined(video, weights):
    given = ("--model", weights, "--min-score", "0.001", "--max-objects", 3)
    result = masa("segment-track", video, *given)
    assert result.exit_code == 0, result.output
    lines = [json.loads(line) for line in Path("street/tracks.jsonl").read_text().splitlines()]
    assert 0 < max(len(line["boxes"]) for line in lines) <= 3
    assert "has no masks of its own: masks by grabcut" in " ".join(result.stderr.split())
    own = write_lite(Path("own.safetensors"), with_masks=True)
    outlined = masa("segment-track", video, "--model", own, *given[2:], "-o", "outlined")
    assert outlined.exit_code == 0, outlined.output
    assert "grabcut" not in outlined.stderr
    grid = masa("segment-track", video, "--model", weights, "--proposals", "grid", "-o", "grid")
    assert grid.exit_code == 1
    assert "asks Segment Anything" in " ".join(grid.stderr.split())


def test_everything_is_found_with_what_comes_with_the_program(video, weights):
    Path("own").mkdir()
    Path("own/lite.safetensors").symlink_to(weights)
    result = masa("segment-track", video, "--no-video")
    assert result.exit_code == 0, result.output
    said = " ".join(result.stderr.split())
    assert "objects by lite; masks are finer and more is found with sam-b" in said


def test_a_detector_alone_cannot_track_everything(video, tmp_path):
    file = write_lite(tmp_path / "detects.safetensors", with_head=False)
    result = masa("segment-track", video, "--model", file)
    assert result.exit_code == 1
    assert "not to tell them apart" in " ".join(result.stderr.split())
    assert not Path("street").exists()


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
    file = write_lite(Path("embeds.safetensors"), recipe="lite")
    result = masa("track", video, "--prompt", "person", "--detector", file)
    assert result.exit_code == 1
    assert "was not trained to find objects" in " ".join(result.stderr.split())
    assert not Path("street/street.txt").exists()


def test_unknown_detectors_are_named(video):
    result = masa("track", video, "--prompt", "person", "--detector", "yolo")
    assert result.exit_code == 1
    assert 'unknown detector "yolo"' in result.stderr
