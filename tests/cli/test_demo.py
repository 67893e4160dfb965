from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from masa_cli.cli import demo
from masa_cli.cli.app import app
from masa_cli.sources import photographs
from masa_cli.sources.scenarios import DEMOS


def test_demo_writes_a_clip_tracks_it_and_scores_it(tmp_path):
    result = CliRunner().invoke(app, ["demo", "--kind", "textures", "-o", str(tmp_path / "demo")])
    assert result.exit_code == 0, result.output
    written = {path.relative_to(tmp_path / "demo").as_posix() for path in tmp_path.rglob("*.*")}
    assert written == {
        "demo.mp4",
        "demo.txt",
        "tracks.jsonl",
        "run.json",
        "input/demo.mp4",
        "input/detections.csv",
        "input/gt.txt",
    }
    idf1 = float(result.stdout.split("IDF1 ")[1].split("%")[0])
    assert idf1 > 60  # far above what chance gives; the exact figure depends on the processor
    assert len(np.loadtxt(tmp_path / "demo/input/gt.txt", delimiter=",")) > 500


def test_demo_does_not_overwrite_an_earlier_one(tmp_path):
    (tmp_path / "input").mkdir()
    result = CliRunner().invoke(app, ["demo", "-o", str(tmp_path)])
    assert result.exit_code == 1
    assert "exists already" in result.stderr
    assert not any((tmp_path / "input").iterdir())


@pytest.fixture
def short(monkeypatch):
    """The kinds, in eight frames each."""
    rows = {
        name: replace(row, settings=replace(row.settings, num_frames=8))
        for name, row in DEMOS.items()
    }
    monkeypatch.setattr(demo, "DEMOS", rows)


def run(tmp_path, *words):
    return CliRunner().invoke(app, ["demo", *words, "-o", str(tmp_path / "demo")])


def test_by_default_lite_finds_photographs_by_a_prompt(short, tmp_path):
    result = run(tmp_path)
    assert result.exit_code == 0, result.output
    assert '--prompt "person, cat, cup" --detector lite' in result.stdout
    assert not (tmp_path / "demo/input/detections.csv").exists()
    recall = float(result.stdout.split("recall ")[1].split("%")[0])
    assert recall > 40


@pytest.mark.parametrize("kind", ["scores-to-100", "turning-look-alikes", "2-fps"])
def test_each_kind_can_be_shown(short, kind, tmp_path):
    result = run(tmp_path, "--kind", kind, "--seed", "3")
    assert result.exit_code == 0, result.output
    assert "IDF1" in result.stdout


def test_an_unknown_kind_is_named_with_those_there_are(tmp_path):
    result = run(tmp_path, "--kind", "crossing")
    assert result.exit_code == 2
    assert 'unknown kind "crossing"' in result.stderr
    assert "look-alikes" in result.stderr


def test_without_photographs_nothing_is_written(monkeypatch, tmp_path):
    monkeypatch.setattr(photographs, "_PACKAGE", "no_such_package")
    result = run(tmp_path)
    assert result.exit_code == 1
    assert "--kind textures" in result.stderr
    assert not (tmp_path / "demo").exists()
