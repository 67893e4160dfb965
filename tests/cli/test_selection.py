"""What masa track follows when only some of the boxes are wanted."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from masa_cli import __version__
from masa_cli.cli.app import app
from tests.clips import write_clip

MOTION = ("--association", "motion", "--no-video", "-o", "out")


@pytest.fixture
def clip(tmp_path, monkeypatch):
    """The car goes right along the top, the person left along the bottom; both score 0.9."""
    monkeypatch.chdir(tmp_path)
    video, dets = write_clip(tmp_path, 12)
    lines = ["frame,x1,y1,x2,y2,score,label"]
    for line in dets.read_text().splitlines():
        frame, _, left, top, width, height, score = map(float, line.split(","))
        label = "car" if top == 8 else "person"
        lines.append(f"{int(frame) - 1},{left},{top},{left + width},{top + height},{score},{label}")
    dets.write_text("\n".join(lines))
    return video, dets


def masa(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def labels(clip, *options):
    video, dets = clip
    result = masa("track", video, "--dets", dets, *MOTION, *options)
    assert result.exit_code == 0, result.stderr
    lines = Path("out/tracks.jsonl").read_text().splitlines()
    return {label for line in lines for label in json.loads(line)["labels"]}


def polygon(name, x1, y1, x2, y2):
    Path(name).write_text(json.dumps([[x1, y1], [x2, y1], [x2, y2], [x1, y2]]))
    return name


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], {"car", "person"}),
        (["--classes", "car"], {"car"}),
        (["--classes", "car:0.95,person:0.5"], {"person"}),
        (["--min-area", "450"], {"car"}),  # 20 x 24 = 480, 18 x 22 = 396
    ],
    ids=str,
)
def test_only_what_is_wanted_is_tracked(clip, options, expected):
    assert labels(clip, *options) == expected


def test_regions_choose_by_place(clip):
    top = polygon("top.json", 0, 0, 96, 33)
    assert labels(clip, "--roi", top) == {"car"}
    assert labels(clip, "--ignore", top, "--overwrite") == {"person"}
    assert labels(clip, "--roi", top, "--region-by", "foot", "--overwrite") == {"car"}
    assert labels(clip, "--roi", polygon("none.json", 0, 0, 96, 5), "--overwrite") == set()


def test_short_tracks_are_left_out_of_all_results(clip):
    with clip[1].open("a") as file:
        file.write("".join(f"\n{frame},60,5,80,25,0.9,dog" for frame in (3, 4, 5)))
    assert labels(clip) == {"car", "person", "dog"}
    options = ["--min-track-length", "4", "--also", "coco", "--overwrite"]
    assert labels(clip, *options) == {"car", "person"}
    coco = json.loads(Path("out/street.coco.json").read_text())
    assert len(coco["annotations"]) == 24
    assert len(Path("out/street.txt").read_text().splitlines()) == 24


def test_short_tracks_are_counted_after_the_second_look(clip):
    video, dets = clip
    options = ["-o", "hybrid", "--no-video", "--min-track-length", "12"]
    assert masa("track", video, "--dets", dets, *options, "--json").exit_code == 0
    lines = [json.loads(line) for line in Path("hybrid/tracks.jsonl").read_text().splitlines()]
    assert {len(line["ids"]) for line in lines} == {2}


def test_an_unknown_class_is_an_error_before_anything_is_written(clip):
    video, dets = clip
    result = masa("track", video, "--dets", dets, *MOTION, "--classes", "cat")
    assert result.exit_code == 1
    assert 'there is no class "cat"' in result.stderr
    assert "car, person" in result.stderr
    assert not Path("out").exists()


def test_a_run_goes_on_only_with_the_same_choice(clip):
    from masa_cli.formats.spool import ResumeState

    video, dets = clip
    command = ["track", video, "--dets", dets, *MOTION]
    top = polygon("top.json", 0, 0, 96, 33)
    assert masa(*command, "--roi", top).exit_code == 0
    # As if it had been killed at once.
    Path("out/tracks.jsonl").rename("out/tracks.jsonl.part")
    before = {"masa": __version__, "wanted boxes": "others"}
    ResumeState(before, 0, 0, False, {}).write(Path("out/checkpoint.part"))
    result = masa(*command, "--roi", top, "--resume")
    assert result.exit_code == 1
    assert "wanted boxes was others, is Selection(" in " ".join(result.stderr.split())
