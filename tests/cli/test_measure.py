"""masa measure, from the tracks of a video of a road in perspective, rendered and tracked here."""

import csv
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from masa_cli.cli.app import app
from masa_cli.render.video import VideoWriter
from masa_cli.structures import Frame, VideoInfo
from tests.analysis.test_ground import HEIGHT, KNOWN, RATE, TILT, kept_motions, seen, walk

SIZE = (1280, 720)
# Where each begins, and its speed: metres and metres per second.
WALKERS = (((-3.0, 9.0), (1.3, 0.4)), ((3.5, 22.0), (-1.0, -1.5)), ((-1.0, 12.0), (0.3, 2.4)))


def masa(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def rows_of(path):
    with Path(path).open() as file:
        return list(csv.DictReader(file))


def write_ground(path, points=6):
    pairs = zip(seen(KNOWN).tolist(), KNOWN.tolist(), strict=True)
    content = [{"image": image, "ground": ground} for image, ground in pairs][:points]
    path.write_text(json.dumps({"points": content}))
    return path


@pytest.fixture(scope="module")
def road(tmp_path_factory):
    """Coloured figures 1.7 m high walk; the detector trembles by 1 % of their height."""
    folder, count = tmp_path_factory.mktemp("road"), 50
    generator = np.random.default_rng(3)
    video, lines = folder / "road.mp4", []
    info = VideoInfo("road", *SIZE, RATE, 1 / RATE, count)
    ways = [walk(start, velocity, count, float(RATE)) for start, velocity in WALKERS]
    with VideoWriter(video, info) as writer:
        for index in range(count):
            image = np.full((SIZE[1], SIZE[0], 3), 120, np.uint8)
            for number, way in enumerate(ways):
                ((x, y),) = seen(way[index : index + 1])
                depth = way[index, 1] * np.cos(TILT) + HEIGHT * np.sin(TILT)
                tall = 1.7 * 900 / depth
                box = np.array([x - tall / 6, y - tall, x + tall / 6, y])
                corners = np.round(box).astype(int).tolist()
                colour = ((200, 40, 40), (40, 200, 40), (40, 40, 200))[number]
                cv2.rectangle(image, corners[:2], corners[2:], colour, -1)
                x1, y1, x2, y2 = box + 0.01 * tall * generator.normal(size=4)
                lines.append(f"{index + 1},-1,{x1},{y1},{x2 - x1},{y2 - y1},0.9\n")
            writer.write(Frame(index, index / RATE, image))
    (folder / "dets.txt").write_text("".join(lines))
    options = ["--association", "motion", "--no-video", "-o", folder / "out", "-q"]
    assert masa("track", video, "--dets", folder / "dets.txt", *options).exit_code == 0
    write_ground(folder / "ground.json")
    return folder


def test_speeds_of_a_rendered_road_are_within_three_percent(road, monkeypatch):
    monkeypatch.chdir(road)
    outputs = ["-o", "speeds.csv", "--plot", "speeds.png"]
    result = masa("measure", "out/tracks.jsonl", "--ground", "ground.json", *outputs, "--json")
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout)
    assert summary["residual"] < 1e-6
    found = sorted(track["mean_speed"] for track in summary["tracks"])
    truth = sorted(np.hypot(*velocity) for _, velocity in WALKERS)
    assert found == pytest.approx(truth, rel=0.03)
    for track in summary["tracks"]:
        assert track["distance"] == pytest.approx(track["mean_speed"] * track["seconds"])
    rows = rows_of("speeds.csv")
    assert len(rows) == 150
    assert set(rows[0]) == {"frame", "time", "id", "label", "x", "y", "speed", "speed_deviation"}
    assert Path("speeds.png").read_bytes().startswith(b"\x89PNG")
    table = masa("measure", "out/tracks.jsonl", "--ground", "ground.json").stdout
    assert "missed by 0.000 m" in table
    assert "taken to be still" in table


def test_four_points_tell_nothing_of_how_exact_they_are(road, monkeypatch):
    monkeypatch.chdir(road)
    write_ground(Path("four.json"), 4)
    result = masa("measure", "out/tracks.jsonl", "--ground", "four.json")
    assert "any plane meets" in result.stdout
    result = masa("measure", "out/tracks.jsonl", "--ground", "four.json", "--json")
    assert json.loads(result.stdout)["residual"] is None


def test_the_camera_s_motion_is_found_beside_the_tracks(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pan = [[1, 0, -4], [0, 1, 0]]
    kept_motions(Path("embeddings.masa"), [np.eye(2, 3).tolist()] + [pan] * 39)
    feet = seen(walk((0, 9), (1.5, 0.5), 40, 25.0)) - np.arange(40)[:, None] * (4, 0)
    lines = [f"{n + 1},1,{x - 20},{y - 100},40,100,0.9\n" for n, (x, y) in enumerate(feet)]
    Path("t.txt").write_text("".join(lines))
    write_ground(Path("g.json"))
    result = masa("measure", "t.txt", "--ground", "g.json", "--fps", "25", "--json")
    (track,) = json.loads(result.stdout)["tracks"]
    assert track["mean_speed"] == pytest.approx(np.hypot(1.5, 0.5), rel=0.01)
    assert json.loads(result.stdout)["camera"] == "embeddings.masa"


def test_results_never_replace_what_is_read(road, monkeypatch):
    monkeypatch.chdir(road)
    before = Path("ground.json").read_bytes()
    options = ["--ground", "ground.json", "-o", "ground.json", "--overwrite"]
    assert masa("measure", "out/tracks.jsonl", *options).exit_code == 1
    assert Path("ground.json").read_bytes() == before
