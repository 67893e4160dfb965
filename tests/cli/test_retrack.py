import json
from pathlib import Path

import imageio.v3 as imageio
import numpy as np
import pytest
from typer.testing import CliRunner

from masa_cli.cli.app import app
from masa_cli.formats.embeddings import EmbeddingsWriter
from masa_cli.tracking import TRACKERS
from tests.clips import write_clip

NUM_FRAMES = 24


@pytest.fixture
def clip(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return write_clip(tmp_path, NUM_FRAMES)


def masa(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def contents(folder):
    files = {path.name: path.read_bytes() for path in Path(folder).iterdir()}
    for other in ("embeddings.masa", "run.json"):  # the latter tells times and the command
        files.pop(other, None)
    return files


def keep(clip, out, *options):
    video, dets = clip
    result = masa("track", video, "--dets", dets, "--save-embeddings", "-o", out, *options)
    assert result.exit_code == 0, result.stderr
    return out / Path("embeddings.masa")


@pytest.fixture
def kept(clip):
    return keep(clip, Path("kept"), "--no-video")


@pytest.mark.parametrize("association", TRACKERS)
def test_retrack_gives_what_a_fresh_run_would(clip, kept, association):
    video, dets = clip
    options = ["--also", "coco", "--trails", 3, "--association", association]
    if association == "motion":
        fresh = masa("track", video, "--dets", dets, "-o", "fresh", *options)
        assert fresh.exit_code == 0, fresh.stderr
    else:
        keep(clip, Path("fresh"), *options)
    again = masa("retrack", kept, video, "-o", "again", *options)
    assert again.exit_code == 0, again.stderr
    assert contents("again") == contents("fresh")
    assert len(contents("again")) == 4


def test_settings_and_the_second_look_are_those_of_track(clip, kept):
    options = ["--set", "birth_score=0.8", "--set", "linking.seconds=2", "--clean-up", "--no-video"]
    keep(clip, Path("fresh"), *options)
    assert masa("retrack", kept, "-o", "again", *options[:-1]).exit_code == 0
    assert contents("again") == contents("fresh")


PRESET = """kind = "masa preset 1"
association = "hybrid"
[settings]
birth_score = 0.8
linking.seconds = 2
"""


def test_a_file_of_settings_is_worth_the_same_as_the_settings(clip, kept):
    Path("mine.toml").write_text(PRESET)
    settings = ["--set", "birth_score=0.8", "--set", "linking.seconds=2"]
    assert masa("retrack", kept, "-o", "a", *settings).exit_code == 0
    again = masa("retrack", kept, "--association", "mine.toml")
    assert again.exit_code == 0, again.stderr
    assert contents("street-mine") == contents("a")  # named after the file
    keep(clip, Path("b"), "--association", "mine.toml", "--no-video")
    assert contents("b") == contents("a")
    # What is given beside it comes after it; what nothing would look at is left out of it.
    more = ["--set", "birth_score=0.99", "--no-refine"]
    assert masa("retrack", kept, "-o", "c", "--association", "mine.toml", *more).exit_code == 0
    assert masa("retrack", kept, "-o", "d", *more).exit_code == 0
    assert contents("c") == contents("d")


@pytest.mark.parametrize("command", ["track", "retrack", "segment-track"])
def test_a_wrong_file_of_settings_is_found_before_a_model_is_loaded(
    clip, kept, monkeypatch, command
):
    monkeypatch.setattr("masa_cli.jobs.run.build_networks", None)
    Path("mine.toml").write_text(PRESET.replace("birth_score", "births"))
    video, dets = clip
    inputs = {"track": (video, "--dets", dets), "retrack": (kept,), "segment-track": (video,)}
    for name, message in ("mine.toml", "mine.toml: no setting"), ("no.toml", "does not exist"):
        result = masa(command, *inputs[command], "-o", "out", "--association", name)
        assert (result.exit_code, message in result.stderr) == (1, True), result.stderr
    assert not Path("out").exists()
    wrong = masa(command, *inputs[command], "-o", "out", "--association", "sort")
    assert (wrong.exit_code, "or a file .toml of masa tune" in wrong.stderr) == (2, True)


def test_the_camera_is_kept_by_trackers_that_do_not_ask_for_it(clip):
    kept = keep(clip, Path("demo"), "--association", "masa-demo", "--no-video")
    keep(clip, Path("fresh"), "--no-video")
    assert masa("retrack", kept, "-o", "again").exit_code == 0
    assert contents("again") == contents("fresh")


def test_a_stopped_run_keeps_the_same_embeddings_when_it_goes_on(clip, kept, monkeypatch):
    write = EmbeddingsWriter.write

    def interrupted(self, observation):
        if observation.index == 13:
            raise KeyboardInterrupt
        return write(self, observation)

    video, dets = clip
    command = ["track", video, "--dets", dets, "--save-embeddings", "-o", "stopped", "--no-video"]
    monkeypatch.setattr("masa_cli.formats.spool.SECONDS_BETWEEN_SAVES", 0)
    monkeypatch.setattr(EmbeddingsWriter, "write", interrupted)
    assert masa(*command).exit_code == 130
    assert not Path("stopped/embeddings.masa").exists()
    monkeypatch.setattr(EmbeddingsWriter, "write", write)
    assert masa(*command, "--resume").exit_code == 0
    assert Path("stopped/embeddings.masa").read_bytes() == kept.read_bytes()
    assert contents("stopped") == contents("kept")


def test_retrack_needs_neither_the_video_nor_the_detections(clip, kept):
    for path in clip:
        path.unlink()
    result = masa("retrack", kept, "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["tracks"] == 2
    assert set(contents("street-hybrid")) == {"street.txt", "tracks.jsonl"}


def test_another_video_is_refused(clip, kept, tmp_path):
    folder = tmp_path / "other"
    folder.mkdir()
    image = np.zeros((32, 32, 3), np.uint8)
    imageio.imwrite(folder / "1.png", image)
    result = masa("retrack", kept, folder, "-o", "again")
    assert result.exit_code == 1
    assert "is not the video of kept/embeddings.masa: 32 x 32 pixels" in result.stderr
    assert not Path("again").exists()


def test_what_cannot_be_kept_is_said_before_anything_runs(clip):
    video, dets = clip
    result = masa("track", video, "--dets", dets, "--save-embeddings", "--association", "motion")
    assert result.exit_code == 1
    assert "makes no embeddings" in result.stderr
    assert not Path("street").exists()


def test_embeddings_that_exist_are_not_overwritten_unasked(clip, kept):
    before = kept.read_bytes()
    video, dets = clip
    options = ["--no-video", "--no-mot", "--no-jsonl", "--save-embeddings", "-o", "kept"]
    assert masa("track", video, "--dets", dets, *options).exit_code == 1
    assert masa("retrack", kept, "-o", "kept").exit_code == 1
    assert kept.read_bytes() == before


def test_a_cut_file_is_an_error(clip, kept):
    kept.write_bytes(kept.read_bytes()[:-200])
    result = masa("retrack", kept, "-o", "again")
    assert result.exit_code == 1
    assert "is damaged or cut short" in result.stderr
