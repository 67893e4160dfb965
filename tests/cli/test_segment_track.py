"""`masa segment-track`: what is refused at once, and the whole way on weights of the recipe."""

import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from masa_cli.cli.app import app
from masa_cli.formats.jsonl import TracksReader
from tests.clips import HEIGHT, WIDTH, image_at

SLOW = pytest.mark.skipif(
    "MASA_SLOW_TESTS" not in os.environ, reason="takes minutes; set MASA_SLOW_TESTS to run it"
)


def masa(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def frames(tmp_path, monkeypatch):
    """A folder of two frames, and no weights anywhere."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "none"))
    monkeypatch.delenv("MASA_WEIGHTS", raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "none"))
    Path("street").mkdir()
    for index in range(2):
        cv2.imwrite(f"street/{index}.png", image_at(index))
    return "street"


def test_without_weights_it_says_how_to_get_them(frames):
    result = masa("segment-track", frames, "-o", "out", "--model", "sam-b")
    assert result.exit_code == 1
    assert 'the weights "sam-b" (sam_vitb_masa.pth' in result.stderr
    assert "masa weights pull sam-b" in result.stderr
    assert not Path("out").exists()


def test_a_part_of_the_frames_can_be_taken(frames, monkeypatch):
    jobs = []
    monkeypatch.setattr("masa_cli.jobs.run.run", lambda job, *args, **rest: jobs.append(job))
    masa("segment-track", frames, "--fps", "10", "--start", "0.1", "--model", "lite")
    masa("segment-track", frames, "--fps", "10", "--end", "0.1", "--model", "lite")
    masa("segment-track", frames, "--fps", "10", "--every", "2", "--model", "lite")
    for job, index in zip(jobs, (1, 0, 0), strict=True):
        (frame,) = job.input.source.frames()
        np.testing.assert_array_equal(frame.image[..., ::-1], image_at(index))
    late, early, _ = (job.conditions for job in jobs)
    assert late["part"] != early["part"]


def test_the_only_weights_that_are_here_are_taken(frames, monkeypatch, tmp_path):
    jobs = []
    monkeypatch.setattr("masa_cli.jobs.run.run", lambda job, *args, **rest: jobs.append(job))
    (tmp_path / "weights").mkdir()
    file = tmp_path / "weights" / "sam_vith_masa.pth"
    mark = {"detector.backbone.pos_embed": torch.zeros(1, 64, 64, 1280)}
    torch.save(mark, file)
    options = ("--max-objects", 7, "--min-area", 30, "--weights-dir", "weights")
    masa("segment-track", frames, *options)
    [job] = jobs
    assert (job.perception.detector.row.name, job.perception.detector.weights) == (
        "sam-h",
        Path("weights") / file.name,
    )
    assert (job.perception.segmenter.name, job.perception.segmenter.weights) == (
        "sam-h",
        Path("weights") / file.name,
    )
    assert (
        job.perception.detector.settings.max_boxes,
        job.perception.detector.settings.min_area,
    ) == (7, 30)
    assert job.perception.detector.settings.max_overlap == 0.5
    masa("segment-track", frames, *options, "--proposals", "grid")
    assert jobs[1].perception.detector.settings.max_overlap == 0.7
    assert jobs[1].conditions != job.conditions


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (("--model", "gdino"), '--model: "gdino" is no class-agnostic detector'),
        (("--model", "none.pth"), "none.pth cannot be read"),
        (("--model", "street/0.png"), "street/0.png is no file of weights"),
        (("--model", "r50.pth"), "r50.pth holds the weights of r50, which is no class-agnostic"),
        (
            ("--model", "alone.pth"),
            "alone.pth holds the weights of sam-vit-b, which is no",
        ),
        (("--min-score", "2"), "within 0 and 1, got 2"),
        (("--also", "xyz"), 'unknown format "xyz"'),
        (("--overwrite", "--resume"), "exclude each other"),
    ],
    ids=str,
)
def test_what_cannot_work_is_refused_before_anything_is_written(frames, options, problem):
    torch.save({"backbone.conv1.weight": torch.zeros(64, 3, 7, 7)}, "r50.pth")
    torch.save({"image_encoder.pos_embed": torch.zeros(1, 64, 64, 768)}, "alone.pth")
    result = masa("segment-track", frames, "-o", "out", *options)
    assert result.exit_code == 1
    assert problem in " ".join(result.stderr.split())
    assert not Path("out").exists()


def test_a_video_that_cannot_be_read_is_told_before_weights_are(frames):
    result = masa("segment-track", "none.mp4")
    assert result.exit_code == 1
    assert "none.mp4" in result.stderr


def piped(*arguments):
    """The command, with two raw pictures on its standard input."""
    raw = ["--video-size", f"{WIDTH}x{HEIGHT}", "--pixel-format", "bgr24"]
    data = b"".join(image_at(index)[..., ::-1].tobytes() for index in range(2))
    command = [sys.executable, "-m", "masa_cli", "segment-track", "-", *raw, *map(str, arguments)]
    return subprocess.run(command, input=data, capture_output=True, check=False, timeout=600)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (("--model", "sam-b"), 'the weights "sam-b"'),
        (("--resume",), "--resume goes on with the run of a file"),
        (("--clean-up",), "--clean-up needs the whole video"),
    ],
    ids=str,
)
def test_video_from_standard_input_is_finished_frame_by_frame(frames, options, problem):
    if "--model" not in options:  # a file of weights that is good enough until it is read
        mark = {"detector.backbone.pos_embed": torch.zeros(1, 64, 64, 768)}
        torch.save(mark, "sam_vitb_masa.pth")
        options = ("--model", "sam_vitb_masa.pth", *options)
    result = piped("-o", "out", *options)
    assert result.returncode == 1
    assert problem in " ".join(result.stderr.decode().split())
    assert not Path("out").exists()


@SLOW
def test_raw_pictures_are_segmented_as_those_of_a_folder(frames, published_file):
    options = ("--model", published_file("sam-b", ""), "--max-objects", 5, "--no-refine")
    result = piped("-o", "piped", *options)
    assert result.returncode == 0, result.stderr.decode()
    assert masa("segment-track", frames, *options, "-o", "folder").exit_code == 0
    lines = [Path(name, "tracks.jsonl").read_bytes() for name in ("piped", "folder")]
    assert lines[0] == lines[1]


@SLOW
@pytest.mark.parametrize("proposals", ["adapter", "grid"])
def test_everything_gets_masks_and_identities(frames, published_file, proposals):
    """The weights are noise: only the mechanics are looked at. Frames are low, to be quick."""
    file = published_file("sam-b", "")
    result = masa(
        "segment-track", frames, "--model", file, "--proposals", proposals, "--max-objects", 5,
        "--masks-png", "-o", "out", "--association", "masa-demo",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    tracks = [each for each in (frame.tracks for frame in TracksReader(Path("out/tracks.jsonl")))]
    assert len(tracks) == 2
    assert all(len(each) <= 5 for each in tracks)
    if proposals == "adapter":
        assert sum(each.has_mask.sum() for each in tracks) > 0
    assert Path("out/street.masks/000002.png").exists()


@SLOW
@pytest.mark.parametrize("size", [(1, 1), (4320, 7680)], ids=str)
@pytest.mark.parametrize("kind", ["grey", "alpha"])
def test_frames_of_odd_sizes_and_kinds(frames, published_file, size, kind):
    Path("odd").mkdir()
    channels = () if kind == "grey" else (4,)
    cv2.imwrite("odd/0.png", np.full((*size, *channels), 90, np.uint8))
    result = masa("segment-track", "odd", "--model", published_file("sam-b", ""), "--no-video")
    assert result.exit_code == 0, result.output
    assert sum(1 for _ in TracksReader(Path("odd/tracks.jsonl"))) == 1
