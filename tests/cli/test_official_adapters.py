"""`masa track` with the file of a published adapter."""

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from masa_cli.cli.app import app
from masa_cli.render.video import VideoWriter
from masa_cli.structures import Frame, VideoInfo
from tests.clips import RATE


def masa(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def clip(tmp_path, monkeypatch):
    """Two frames so low that the network, which wants 1024 pixels of width, is soon through."""
    monkeypatch.chdir(tmp_path)
    generator = np.random.default_rng(0)
    image = generator.integers(0, 255, (16, 160, 3), np.uint8)
    with VideoWriter(Path("street.mp4"), VideoInfo("street", 160, 16, RATE, 1 / RATE, 2)) as writer:
        for index in range(2):
            writer.write(Frame(index, index / RATE, image))
    rows = ("10,2,20,12", "60,1,15,14")
    Path("dets.txt").write_text("".join(f"{n},-1,{row},0.9\n" for n in (1, 2) for row in rows))
    return ("street.mp4", "--dets", "dets.txt", "--no-video", "--association", "masa-demo")


def test_a_file_of_published_weights_is_an_adapter(clip, published_file):
    file = published_file("r50", "")
    result = masa("track", *clip, "--adapter", file)
    assert result.exit_code == 0, result.output
    ids = np.loadtxt("street/street.txt", delimiter=",")[:, 1]
    assert ids.tolist() == [1, 2, 1, 2]


def test_the_name_of_an_adapter_finds_its_file(clip, published_file, tmp_path):
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "masa_r50.pth").symlink_to(published_file("r50", ""))
    result = masa("track", *clip, "--adapter", "r50", "--weights-dir", "weights")
    assert result.exit_code == 0, result.output
    assert Path("street/street.txt").exists()


def test_missing_weights_say_how_to_get_them(clip, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    result = masa("track", *clip, "--adapter", "detic")
    assert result.exit_code == 1
    assert 'weights "detic" (detic_masa.pth' in result.stderr
    assert "masa weights pull detic" in result.stderr


def test_a_file_of_another_variant_is_named_as_what_it_is(clip, published_file, tmp_path):
    """Renamed by hand, perhaps."""
    (tmp_path / "masa_r50.pth").symlink_to(published_file("detic", "detector.backbone."))
    result = masa("track", *clip, "--adapter", "r50", "--weights-dir", tmp_path)
    assert result.exit_code == 1
    said = " ".join(result.stderr.split())
    assert "masa_r50.pth does not hold the weights of variant r50: it lacks" in said
    assert "these are weights of detic: use --adapter detic" in said


def test_other_files_and_names_are_refused_before_anything_is_written(clip):
    for adapter, problem in {
        "r51": 'unknown adapter "r51"',
        "weights/none.pth": "weights/none.pth cannot be read: No such file",
        "dets.txt": "dets.txt is no file of weights that masa knows",
    }.items():
        result = masa("track", *clip, "--adapter", adapter)
        assert result.exit_code == 1
        assert problem in " ".join(result.stderr.split())
    assert not Path("street").exists()


def test_weights_belong_to_what_a_run_is_resumed_with(clip, published_file, monkeypatch):
    jobs = []
    monkeypatch.setattr("masa_cli.jobs.run.run", lambda job, *args, **rest: jobs.append(job))
    masa("track", *clip, "--adapter", published_file("r50", ""))
    assert str(published_file("r50", "")) in jobs[0].conditions
