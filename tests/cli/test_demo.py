import numpy as np
from typer.testing import CliRunner

from masa_cli.cli.app import app


def test_demo_writes_a_clip_tracks_it_and_scores_it(tmp_path):
    result = CliRunner().invoke(app, ["demo", "-o", str(tmp_path / "demo")])
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
