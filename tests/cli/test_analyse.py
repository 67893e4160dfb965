"""masa crops, stats and count, on the tracks of the small clip."""

import csv
import json
from pathlib import Path

import imageio.v3 as imageio
import numpy as np
import pytest
from typer.testing import CliRunner

from masa_cli.cli.app import app
from tests.clips import boxes_at, read_frames, write_clip


@pytest.fixture
def tracks(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    video, dets = write_clip(tmp_path, 30)
    options = ["--association", "motion", "--no-video", "-o", "out", "-q"]
    assert masa("track", video, "--dets", dets, *options).exit_code == 0
    return Path("out/tracks.jsonl")


def masa(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def rows_of(path):
    with Path(path).open() as file:
        return list(csv.DictReader(file))


def test_crops_show_the_tracks_and_are_listed(tracks):
    result = masa("crops", "street.mp4", tracks, "--per-track", 2, "--margin", 0, "--json")
    assert result.exit_code == 0, result.stderr
    summary = json.loads(result.stdout)
    assert (summary["boxes"], summary["tracks"], summary["written"]) == (4, 2, ["out/crops"])
    rows = rows_of("out/crops/crops.csv")
    assert sorted(row["id"] for row in rows) == ["1", "1", "2", "2"]
    for row in rows:
        crop = imageio.imread(Path("out/crops", row["file"]))
        frame = int(row["frame"])
        picture = read_frames("street.mp4")[frame]
        left, top, width, height = boxes_at(frame)[int(row["id"]) - 1]
        truth = picture[top : top + height, left : left + width].astype(float)
        assert crop.shape == (height, width, 3)
        # Brightness alone: JPEG has colour for two pixels at a time, and this is noise.
        assert np.abs(crop.mean(axis=2) - truth.mean(axis=2)).mean() < 10
    assert not Path("out/crops.part").exists()


def test_crops_are_replaced_only_when_asked_and_never_with_strangers_inside(tracks):
    assert masa("crops", "street.mp4", tracks, "-q").exit_code == 0
    assert "exists already" in masa("crops", "street.mp4", tracks).stderr
    assert masa("crops", "street.mp4", tracks, "-q", "--overwrite").exit_code == 0
    Path("out/crops/mine.txt").touch()
    result = masa("crops", "street.mp4", tracks, "--overwrite")
    assert result.exit_code == 1
    assert "holds other things" in " ".join(result.stderr.split())
    assert Path("out/crops/mine.txt").exists()


def test_no_path_comes_out_of_a_results_file(tracks):
    hostile = tracks.read_text().replace('"object"', '"../../../evil"')
    Path("hostile.jsonl").write_text(hostile)
    assert masa("crops", "street.mp4", "hostile.jsonl", "-o", "c", "-q").exit_code == 0
    files = {str(path.relative_to("c")) for path in Path("c").rglob("*") if path.is_file()}
    assert all(name == "crops.csv" or name.split("/")[0] in {"1", "2"} for name in files)


def test_stats_count_and_draw(tracks):
    pytest.importorskip("matplotlib")
    result = masa("stats", tracks, "-o", "st", "--video", "street.mp4")
    assert result.exit_code == 0, result.stderr
    assert "2 tracks, 60 boxes in 30 frames" in result.stdout
    assert [row["boxes"] for row in rows_of("st/tracks.csv")] == ["30", "30"]
    assert imageio.imread("st/heatmap.png").shape == (64, 96, 3)
    assert imageio.imread("st/timeline.png").shape[2] >= 3
    assert masa("stats", tracks, "-o", "st").exit_code == 1  # exists


def test_stats_as_json_need_no_pictures(tracks):
    summary = json.loads(masa("stats", tracks, "--json").stdout)
    assert (summary["frames"], summary["tracks"]) == (30, 2)
    (count,) = summary["classes"]
    assert count["label"] == "object"
    assert count["most_at_once"] == 2
    assert count["longest_seconds"] == pytest.approx(29 / 25)


def test_two_runs_are_compared_whichever_comes_first_on_the_line(tracks):
    lines = tracks.read_text().splitlines()
    split = [line.replace('"ids":[1,', '"ids":[9,') for line in lines[15:]]
    assert split != lines[15:]
    Path("b.jsonl").write_text("\n".join([*lines[:15], *split]))
    for arguments in (["b.jsonl", "--compare", tracks], ["--compare", tracks, "b.jsonl"]):
        result = masa("stats", *arguments, "--json")
        compared = json.loads(result.stdout)["compared"]
        assert compared["same"] == 1
        assert compared["changes"] == [
            {"kind": "split", "before": [1], "now": [1, 9], "frames": 30}
        ]
    assert "split" in masa("stats", "b.jsonl", "--compare", tracks).stdout


def test_crossings_are_counted_by_line_and_direction(tracks):
    # The boxes pass x = 30 at their feet (32 and 56): one to the right, one to the left.
    lines = ["--line", "30,0,30,64", "--line", "far:90,0,90,9"]
    result = masa("count", tracks, *lines, "-o", "events.csv", "--json")
    assert result.exit_code == 0, result.stderr
    summary = json.loads(result.stdout)
    assert summary["counts"] == [
        {"line": "1", "class": "object", "to_left": 1, "to_right": 0},
        {"line": "far", "class": "", "to_left": 0, "to_right": 0},
    ]
    (event,) = rows_of("events.csv")
    assert (event["id"], event["line"], event["to"]) == ("1", "1", "left")
    assert "to the left" in masa("count", tracks, *lines).stdout


@pytest.mark.parametrize("line", ["1,2,3", "1,2,1,2", "a,b,c,d", ":1,2,3,4", "nan,0,1,1", ""])
def test_what_is_no_line_is_a_usage_error(tracks, line):
    result = masa("count", tracks, "--line", line)
    assert result.exit_code == 2
    assert "two different points" in " ".join(result.stderr.split())


def test_two_lines_of_one_name_are_a_usage_error(tracks):
    result = masa("count", tracks, "--line", "a:1,2,3,4", "--line", "a:1,2,3,5")
    assert (result.exit_code, "same name" in result.stderr) == (2, True)


def test_events_never_replace_the_tracks(tracks):
    before = tracks.read_bytes()
    result = masa("count", tracks, "--line", "1,2,3,4", "-o", tracks, "--overwrite")
    assert result.exit_code == 1
    assert tracks.read_bytes() == before


def test_times_are_those_that_are_known_best_and_an_assumed_rate_is_said(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_clip(tmp_path, 30)  # 25 frames/s
    Path("t.txt").write_text("".join(f"{frame},1,1,2,3,4,0.9\n" for frame in (1, 26)))
    for options, seconds, is_said in [
        ([], 25 / 30, True),
        (["--video", "street.mp4"], 1, False),
        (["--fps", "5"], 5, False),
    ]:
        result = masa("stats", "t.txt", "--json", *options)
        [found] = json.loads(result.stdout)["classes"]
        assert found["longest_seconds"] == pytest.approx(seconds)
        assert ("30 frames/s are assumed" in " ".join(result.stderr.split())) == is_said
