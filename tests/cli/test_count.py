"""masa count with zones; on a rendered video its truth is known exactly, from frame to frame."""

import csv
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from masa_cli.cli.app import app
from masa_cli.render.video import VideoWriter
from masa_cli.sources.scenarios import SyntheticSettings
from masa_cli.sources.synthetic import SyntheticVideo

ZONE = (100, 240)  # of x, over the whole height


def masa(*arguments):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    return result


def zone(name="door:"):
    (left, right), low = ZONE, 2000
    return f"{name}{left},-9,{right},-9,{right},{low},{left},{low}"


@pytest.fixture(scope="module", params=[0.0, 0.02], ids="jitter {}".format)
def scene(request, tmp_path_factory):
    """A rendered video that was tracked, and its truth: runs of frames inside, by object."""
    folder = tmp_path_factory.mktemp("scene")
    # Seed 1 hides no object wholly in any frame, and none grazes the border.
    settings = SyntheticSettings(
        width=480,
        height=270,
        num_frames=150,
        num_objects=3,
        stay_every=1,
        seed=1,
        pace=1.5,
        min_absence=0.5,
        max_absence=0.8,
        min_visible=0.0,
        jitter=request.param,
        miss_rate=0.0,
        occluded_miss_rate=0.0,
        min_detectable=0.0,
        false_positives=0.0,
    )
    video = SyntheticVideo(settings)
    path, dets = folder / "scene.mp4", folder / "dets.txt"
    inside, lines = {}, []
    with VideoWriter(path, video.info) as writer:
        for frame in video.frames():
            writer.write(frame)
            found = video.detections(frame.index)
            for (x1, y1, x2, y2), score in zip(found.boxes, found.scores, strict=True):
                lines.append(f"{frame.index + 1},-1,{x1},{y1},{x2 - x1},{y2 - y1},{score}\n")
            truth = video.ground_truth(frame.index)
            for id_, (x1, _, x2, _) in zip(truth.ids.tolist(), truth.boxes.tolist(), strict=True):
                inside.setdefault(id_, []).append(ZONE[0] <= (x1 + x2) / 2 < ZONE[1])
    dets.write_text("".join(lines))
    options = ["--association", "motion", "--no-video", "-o", folder / "out", "-q"]
    result = masa("track", path, "--dets", dets, *options)
    assert result.exit_code == 0, result.output
    return folder / "out/tracks.jsonl", inside, request.param


def stays(flags):
    """Begin and end of each run inside; the end is the first frame outside, or the last."""
    edges = [i for i in range(1, len(flags)) if flags[i] != flags[i - 1]]
    begins = [0] * flags[0] + [i for i in edges if flags[i]]
    ends = [i for i in edges if not flags[i]] + [len(flags) - 1] * flags[-1]
    return list(zip(begins, ends, strict=True))


def test_entries_exits_and_dwell_are_those_of_the_scene(scene):
    tracks, inside, jitter = scene
    result = masa("count", tracks, "--zone", zone(), "-o", tracks.with_name("e.csv"), "--json")
    assert result.exit_code == 0, result.output
    counts = json.loads(result.stdout)["zones"][0]
    runs = {id_: stays(flags) for id_, flags in inside.items()}
    every = [run for each in runs.values() for run in each]
    assert {len(flags) for flags in inside.values()} == {150}
    assert len(every) >= 4  # or nothing would be shown
    last = len(next(iter(inside.values()))) - 1
    assert counts["entries"] == sum(begin > 0 for begin, _ in every)
    assert counts["appeared"] == sum(begin == 0 for begin, _ in every)
    assert counts["exits"] == sum(
        end < last or not inside[i][-1] for i in runs for _, end in runs[i]
    )
    assert counts["tracks"] == sum(bool(each) for each in runs.values())
    dwell = sorted(sum(end - begin for begin, end in each) / 25 for each in runs.values() if each)
    tolerance = 1e-6 if not jitter else 0.17  # noise moves a border's crossing by some frames
    assert counts["longest_seconds"] == pytest.approx(dwell[-1], abs=tolerance)
    assert counts["median_seconds"] == pytest.approx(dwell[len(dwell) // 2], abs=tolerance)
    most = max(map(sum, zip(*inside.values(), strict=True)))
    assert counts["peak"] == most
    with tracks.with_name("e.csv").open() as file:
        events = list(csv.DictReader(file))
    if not jitter:
        frames = sorted(int(e["frame"]) for e in events if e["event"] == "enter")
        assert frames == sorted(begin for begin, _ in every if begin > 0)


@pytest.fixture
def walk(tmp_path, monkeypatch):
    """One box that walks to the right, 10 pixels a frame, its foot from x = 20 to 210."""
    monkeypatch.chdir(tmp_path)
    rows = [f"{n + 1},1,{10 * n},50,40,40,0.9\n" for n in range(20)]
    Path("walk.txt").write_text("".join(rows))
    return Path("walk.txt")


def test_zones_and_lines_share_a_table_of_events_and_a_plot(walk):
    options = ["--zone", "a:100,0,150,0,150,99,100,99", "--line", "120,0,120,200", "--fps", "10"]
    result = masa("count", walk, *options, "-o", "e.csv", "--plot", "p.png")
    assert result.exit_code == 0, result.output
    with Path("e.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["frame"], row["line"], row["zone"], row["event"]) for row in rows] == [
        ("8", "", "a", "enter"),
        ("11", "1", "", ""),
        ("13", "", "a", "exit"),
    ]
    assert float(rows[2]["seconds"]) == pytest.approx(0.5)
    assert Path("p.png").read_bytes().startswith(b"\x89PNG")
    assert "begun inside" in result.stdout
    assert "to the left" in result.stdout


def test_a_zone_may_be_a_file_with_a_name(walk):
    Path("z.json").write_text("[[100,0],[150,0],[150,99],[100,99]]")
    for text, name in (("z.json", "1"), ("door:z.json", "door")):
        result = masa("count", walk, "--zone", text, "--json")
        assert json.loads(result.stdout)["zones"][0]["zone"] == name


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ([], "nothing says where to count"),
        (["--zone", "1,2,3,4"], "at least three points"),
        (["--zone", "1,2,1,2,1,2"], "at least three points"),
        (["--zone", ":z.json"], "empty name"),
        (["--zone", "none.json"], "none.json does not exist"),
        (["--zone", "a:0,0,1,0,1,1", "--zone", "a:0,0,1,0,1,2"], "two zones have the same name"),
        (["--line", "1,2,3,4", "--point", "overlap"], "--point overlap is for zones"),
        (["--line", "1,2,3,4", "--plot", "p.png"], "there is none"),
        (["--zone", "0,0,1,0,1,1", "-o", "walk.txt", "--overwrite"], "walk.txt"),
    ],
    ids=str,
)
def test_what_is_wrong_is_said_and_nothing_is_written(walk, options, complaint):
    before = sorted(path.name for path in Path().iterdir()), walk.read_bytes()
    result = masa("count", walk, *options)
    assert result.exit_code in (1, 2)
    assert complaint in " ".join(result.output.split())
    assert (sorted(path.name for path in Path().iterdir()), walk.read_bytes()) == before
