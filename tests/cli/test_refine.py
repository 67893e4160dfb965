"""Tracks of other tools are refined: swaps undone, gaps closed, and what was changed is told."""

import json
from pathlib import Path

import numpy as np
import pytest

from masa_cli.formats.mot import read_results
from tests.cli.test_gallery import NUM_FRAMES, masa, write_scene


@pytest.fixture
def scene(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return write_scene(tmp_path, "one", [0, 1, 2, 3], 1)


def write_tracks(path, *, missing=()):
    """Objects from left to right as ids from 1; those frames miss the second."""
    lines = []
    for index in range(NUM_FRAMES):
        for place in range(4):
            left, top = 8 + 24 * place + index // 2, 20 + 10 * (place % 3)
            if (index, place) not in {(frame, 1) for frame in missing}:
                lines.append(f"{index + 1},{place + 1},{left},{top},18,42,0.9,-1,-1,-1\n")
    path.write_text("".join(lines))
    return path


def refine(tracks, video, *options):
    return masa("refine", tracks, "--video", video, "-o", "refined", *options)


def test_gaps_are_closed_and_ids_stay(scene):
    video, _ = scene
    tracks = write_tracks(Path("tool.txt"), missing=(6, 7))
    result = refine(tracks, video)
    assert result.exit_code == 0, result.output
    rows = read_results(Path("refined/one.txt"))
    assert sorted(set(rows.ids.tolist())) == [1, 2, 3, 4]
    assert len(rows.ids) == 4 * NUM_FRAMES
    told = json.loads(Path("refined/changes.json").read_text())
    assert told["interpolated"] == {"2": 2}
    assert told["split"] == told["joined"] == []
    assert sorted(path.name for path in Path("refined").iterdir()) == [
        "changes.json",
        "one.txt",
        "tracks.jsonl",
    ]
    line = json.loads(Path("refined/tracks.jsonl").read_text().splitlines()[6])
    assert sum(line["interpolated"]) == 1


def test_tracks_of_any_format_are_read(scene):
    video, _ = scene
    write_tracks(Path("tool.txt"))
    assert masa("convert", "tool.txt", "tool.coco.json", "--video", video).exit_code == 0
    result = refine("tool.coco.json", video, "--no-split")
    assert result.exit_code == 0, result.output
    assert sorted(set(read_results(Path("refined/one.txt")).ids.tolist())) == [1, 2, 3, 4]


def test_what_cannot_work_is_told_before_anything_is_loaded(scene, monkeypatch):
    video, _ = scene
    monkeypatch.setattr("masa_cli.jobs.refine.build_networks", None)
    tracks = write_tracks(Path("tool.txt"))
    Path("refined").mkdir()
    Path("refined/one.txt").write_text("mine")
    result = refine(tracks, video)
    assert result.exit_code == 1
    assert "exists already" in result.stderr
    assert Path("refined/one.txt").read_text() == "mine"
    Path("empty.txt").write_text("")
    for name, words in (("empty.txt", "empty.txt"), ("no.txt", "no.txt does not exist")):
        result = refine(name, video)
        assert result.exit_code == 1
        assert words in result.stderr


def test_boxes_past_the_end_of_the_video_are_told(scene):
    video, _ = scene
    tracks = write_tracks(Path("tool.txt"))
    tracks.write_text(tracks.read_text() + f"{NUM_FRAMES + 5},9,8,20,18,42,0.9,-1,-1,-1\n")
    result = refine(tracks, video)
    assert result.exit_code == 0, result.output
    assert "1 boxes are past the end" in result.stderr
    assert np.all(read_results(Path("refined/one.txt")).ids <= 4)
