import json

import numpy as np
import pytest
from typer.testing import CliRunner

from masa_cli.cli.app import app
from tests.clips import read_frames, write_clip


@pytest.fixture
def tracked(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_clip(tmp_path)
    assert masa("track", "street.mp4", "--dets", "dets.txt", "-o", "out", "-q").exit_code == 0
    return tmp_path


def masa(*arguments):
    return CliRunner().invoke(app, list(arguments))


def test_rendering_gives_the_video_of_the_run(tracked):
    before = (tracked / "out/street.mp4").read_bytes()
    (tracked / "out/street.mp4").unlink()
    result = masa("render", "street.mp4", "out/tracks.jsonl")
    assert result.exit_code == 0
    assert "out/street.mp4" in result.stdout
    assert (tracked / "out/street.mp4").read_bytes() == before


def test_what_is_drawn_can_be_chosen(tracked):
    named = tracked / "named.jsonl"
    named.write_text((tracked / "out/tracks.jsonl").read_text().replace("object", "car"))
    pictures = set()
    for flags in ([], ["--trails", "20"], ["--no-names"], ["--no-scores"]):
        masa("render", "street.mp4", "named.jsonl", "-o", "drawn.mp4", "--overwrite", *flags)
        pictures.add(read_frames("drawn.mp4")[20].tobytes())
    assert len(pictures) == 4


def test_several_results_are_drawn_beside_each_other(tracked):
    names = ["out/tracks.jsonl", "dets/tracks.jsonl", "third.jsonl"]
    (tracked / "dets").mkdir()
    lines = (tracked / "out/tracks.jsonl").read_text().splitlines(keepends=True)
    (tracked / "dets/tracks.jsonl").write_text("".join(lines[:10]))  # it ends earlier
    (tracked / "third.jsonl").write_text("".join(lines[5:]))
    masa("render", "street.mp4", names[0], "-o", "one.mp4")
    one = read_frames("one.mp4")[20]
    for options, number, size in (
        ([], 2, (64, 194)),
        ([], 3, (64, 292)),
        (["--layout", "grid"], 3, (130, 194)),
    ):
        result = masa(
            "render", "street.mp4", *names[:number], "-o", "all.mp4", "--overwrite", *options
        )
        assert result.exit_code == 0, result.output
        frames = read_frames("all.mp4")
        assert frames.shape == (30, *size, 3)
        right = frames[20, :64, 98:194].astype(int)
        assert np.abs(right - frames[20, :64, :96]).max() > 100  # one has boxes, one has none
        below = np.s_[30:64, :96]  # the name is above
        assert np.abs(frames[20][below].astype(int) - one[below]).mean() < 4


def test_speeds_are_drawn_where_there_are_any(tracked):
    (tracked / "s.csv").write_text("frame,time,id,speed\n20,0.8,1,2.5\n")
    pictures = []
    for options in ([], ["--speed", "s.csv"], ["--speed", "s.csv", "--speed-unit", "km/h"]):
        result = masa(
            "render", "street.mp4", "out/tracks.jsonl", "-o", "a.mp4", "--overwrite", *options
        )
        assert result.exit_code == 0, result.output
        pictures.append(read_frames("a.mp4"))
    plain, metres, hours = pictures
    assert np.abs(plain[5].astype(int) - metres[5]).mean() < 1
    assert np.abs(plain[20].astype(int) - metres[20]).max() > 60
    assert np.abs(hours[20].astype(int) - metres[20]).max() > 60
    (tracked / "s.csv").write_text("frame,id,speed\n20,1,fast\n")
    result = masa("render", "street.mp4", "out/tracks.jsonl", "-o", "b.mp4", "--speed", "s.csv")
    assert (result.exit_code, "s.csv line 2" in result.output) == (1, True)


def test_an_interrupted_run_can_be_looked_at(tracked):
    lines = (tracked / "out/tracks.jsonl").read_text().splitlines(keepends=True)
    (tracked / "out/tracks.jsonl.part").write_text("".join(lines[:10]))
    result = masa("render", "street.mp4", "out/tracks.jsonl.part", "-o", "part.mp4", "--json")
    assert json.loads(result.stdout)["boxes"] == 20


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.mp4", "out/tracks.jsonl"], "nowhere.mp4 does not exist"),
        (["street.mp4", "nothing.jsonl", "-o", "new.mp4"], "nothing.jsonl"),
        (["street.mp4", "dets.txt", "-o", "new.mp4"], "dets.txt line 1: expected"),
        (["street.mp4", "out/tracks.jsonl"], "exists already"),
        (["street.mp4", "out/tracks.jsonl", "-o", "a.avi"], "is no name of an mp4 file"),
    ],
)
def test_bad_input_is_one_error_and_nothing_is_written(tracked, arguments, message):
    before = sorted(tracked.rglob("*"))
    result = masa("render", *arguments)
    assert result.exit_code == 1
    assert message in result.stderr.splitlines()[0]
    assert sorted(tracked.rglob("*")) == before


def test_styles_reach_the_picture(tracked):
    pictures = {}
    for name, flags in {
        "usual": [],
        "no boxes": ["--no-boxes"],
        "no labels": ["--no-labels"],
        "thick": ["--thickness", "4"],
        "large": ["--text-size", "2"],
        "one": ["--only", "2"],
        "no class": ["--classes", "dog"],
        "blurred": ["--blur", "all"],
    }.items():
        result = masa("render", "street.mp4", "out/tracks.jsonl", "-o", f"{name}.mp4", *flags)
        assert result.exit_code == 0, result.stderr
        pictures[name] = read_frames(f"{name}.mp4")[20].tobytes()
    assert len(set(pictures.values())) == len(pictures)


def test_ids_that_are_none_are_a_usage_error(tracked):
    result = masa("render", "street.mp4", "out/tracks.jsonl", "-o", "x.mp4", "--only", "3,b")
    assert result.exit_code == 2
    assert 'expected ids from 1, got "b"' in result.stderr


@pytest.mark.parametrize("name", ["t.xml", "t.csv", "t.coco.json", "t.yolo-tracks"])
def test_tracks_of_other_formats_are_drawn_alike(tracked, name):
    assert masa("convert", "out/tracks.jsonl", name, "--video", "street.mp4").exit_code == 0
    for tracks, video in (("out/tracks.jsonl", "a.mp4"), (name, "b.mp4")):
        result = masa("render", "street.mp4", tracks, "-o", video, "--no-scores")
        assert result.exit_code == 0, result.stderr
    given, again = (read_frames(video)[20].astype(int) for video in ("a.mp4", "b.mp4"))
    assert abs(given - again).max() < 40  # of YOLO's, an edge may be a pixel away


def test_what_is_no_tracks_is_an_error(tracked):
    result = masa("render", "street.mp4", "street.mp4", "-o", "x.mp4")
    assert result.exit_code == 1
    assert "street.mp4 is like none of the formats of tracks" in " ".join(result.stderr.split())
