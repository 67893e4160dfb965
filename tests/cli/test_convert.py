import json
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from masa_cli.cli.app import app
from masa_cli.masks import pack
from tests.clips import write_clip
from tests.formats.tracks_of_all_kinds import NAMES, write_all
from tests.sources.encoded import Clip, numbered


@pytest.fixture
def tracks(tmp_path, monkeypatch):
    from masa_cli.formats.jsonl import TracksWriter

    monkeypatch.chdir(tmp_path)
    write_all(TracksWriter(Path("tracks.jsonl"), NAMES))
    return Path("tracks.jsonl")


def masa(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def one_line(text):
    return " ".join(text.split())


@pytest.mark.parametrize(
    "name", ["o.csv", "o.parquet", "o.xml", "o.coco.json", "o.bdd.json", "o.yolo-tracks"]
)
def test_there_and_back_again(tracks, name):
    if name == "o.parquet":
        pytest.importorskip("pyarrow")
    result = masa("convert", tracks, name, "--size", "640x480", "--fps", "25")
    assert result.exit_code == 0, result.stderr
    assert f"{name}: 2 tracks, 7 boxes in 6 frames" in result.stdout
    back = masa("convert", name, "back.jsonl", "--size", "640x480", "--fps", "25", "--json")
    assert back.exit_code == 0, back.stderr
    assert json.loads(back.stdout)["tracks"] == 2
    first, second = (
        [json.loads(line) for line in Path(path).read_text().splitlines()]
        for path in (tracks, "back.jsonl")
    )
    for given, found in zip(first, second, strict=False):
        assert found["time"] == pytest.approx(given["time"])
        assert sorted(found["ids"]) == sorted(given["ids"])
        assert set(found["labels"]) == set(given["labels"])


def test_the_times_of_a_variable_frame_rate_are_kept(tracks):
    lines = [json.loads(line) for line in tracks.read_text().splitlines()]
    for line in lines:
        line["time"] = line["frame"] ** 2 / 7
    tracks.write_text("".join(json.dumps(line) + "\n" for line in lines))
    masa("convert", tracks, "o.jsonl")
    again = [json.loads(line)["time"] for line in Path("o.jsonl").read_text().splitlines()]
    assert again == [line["time"] for line in lines]


def test_a_video_tells_size_rate_and_length(tracks, tmp_path):
    video, _ = write_clip(tmp_path, 9)
    result = masa("convert", tracks, "o.coco.json", "--video", video)
    assert result.exit_code == 0, result.stderr
    coco = json.loads(Path("o.coco.json").read_text())
    assert len(coco["images"]) == 9
    assert coco["videos"][0] == {"id": 1, "name": "street", "width": 96, "height": 64}


def test_class_numbers_of_mot_get_names(tracks):
    masa("convert", tracks, "o.txt", "--mot-classes")
    assert masa("convert", "o.txt", "o.csv", "--names", "bus,tram").exit_code == 0
    assert ",tram," in Path("o.csv").read_text()
    wrong = masa("convert", "o.txt", "p.csv", "--names", "bus")
    assert wrong.exit_code == 1
    assert 'there is one called "2"' in wrong.stderr
    assert not Path("p.csv").exists()


def test_frames_have_the_times_of_the_video_and_not_of_its_average_rate(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ticks = [0, 1000, 2000, 152_000, 153_000]  # the third picture stands for five seconds
    images = [numbered(number) for number in range(len(ticks))]
    Clip(images, ticks=ticks, time_base=Fraction(1, 30_000)).write("hold.mp4")
    Path("d.txt").write_text("".join(f"{frame},1,1,2,3,4,0.9\n" for frame in (1, 4)))
    result = masa("convert", "d.txt", "o.jsonl", "--video", "hold.mp4")
    assert result.exit_code == 0, result.stderr
    lines = [json.loads(line) for line in Path("o.jsonl").read_text().splitlines()]
    assert [line["time"] for line in lines] == pytest.approx([tick / 30_000 for tick in ticks])
    assert "assumed" not in result.stderr


def test_times_of_tracks_go_before_those_of_the_video_which_is_said(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    video, _ = write_clip(tmp_path, num_frames=20)
    Path("part.csv").write_text(  # every tenth frame
        "frame,time,id,x1,y1,x2,y2,score\n0,0,1,1,1,5,5,1\n1,0.4,1,1,1,5,5,1\n"
    )
    result = masa("convert", "part.csv", "o.jsonl", "--video", video)
    assert "its times are kept; they are not those of the video" in one_line(result.stderr)
    lines = [json.loads(line) for line in Path("o.jsonl").read_text().splitlines()]
    assert [line["time"] for line in lines[:3]] == pytest.approx([0, 0.4, 0.8])


def test_an_assumed_rate_is_said_where_times_are_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("d.txt").write_text("1,1,1,2,3,4,0.9\n")
    for target, options, is_said in [
        ("a.jsonl", [], True),
        ("b.jsonl", ["--fps", "10"], False),
        ("c.txt", [], False),
    ]:
        result = masa("convert", "d.txt", target, *options)
        assert ("30 frames/s are assumed" in one_line(result.stderr)) == is_said


FAR = [1, 9_999_999]  # frames of a damaged file, from 1


@pytest.mark.parametrize(
    "target",
    ["o.jsonl", "o.csv", "o.xml", "o.coco.json", "o.bdd.json", "o.tao.json", "o.txt", "o.yolo"],
)
def test_a_frame_far_off_costs_by_rows_and_not_by_frames(tmp_path, monkeypatch, target):
    monkeypatch.chdir(tmp_path)
    Path("far.txt").write_text("".join(f"{frame},1,1,2,3,4,0.9\n" for frame in FAR))
    result = masa("convert", "far.txt", target, "--size", "64x48")
    assert result.exit_code == 0, result.stderr
    assert "1 tracks, 2 boxes in 9999999 frames" in one_line(result.stdout)
    files = [file for file in Path(target).rglob("*.txt")] or [Path(target)]
    assert sum(file.stat().st_size for file in files) < 5000
    if target.endswith(("jsonl", "csv", "txt", "bdd.json")):
        masa("convert", target, "back.txt")
        rows = [line.split(",")[0] for line in Path("back.txt").read_text().splitlines()]
        assert rows == [str(frame) for frame in FAR]


@pytest.mark.parametrize(
    ("arguments", "problem", "code"),
    [
        (["missing.jsonl", "o.csv"], "does not exist", 1),
        (["tracks.jsonl", "o.abc"], "does not tell its format", 1),
        (["tracks.jsonl", "o.yolo"], "size is not known", 1),
        (["tracks.jsonl", "tracks.jsonl"], "is an input of this run", 1),
        (["tracks.jsonl", "o.mots.txt"], "has 7 boxes without one", 1),
        (["tracks.jsonl", "there.csv"], "exists already", 1),
        (["tracks.jsonl", "o.yolo", "--size", "640"], "--size expects", 2),
        (["tracks.jsonl", "o.csv", "--images", "x.json"], "--images is for TAO", 1),
        (["tracks.jsonl", "o.csv", "--from", "coco"], "tracks.jsonl", 1),
    ],
    ids=str,
)
def test_what_cannot_be_done_is_said_and_nothing_written(tracks, arguments, problem, code):
    Path("there.csv").write_text("mine")
    before = sorted(Path().iterdir())
    result = masa("convert", *arguments)
    assert result.exit_code == code
    assert problem in one_line(result.stderr)
    assert sorted(Path().iterdir()) == before
    assert Path("there.csv").read_text() == "mine"


SQUARE = [3, 4, 13, 4, 13, 12, 3, 12]


def polygons(*segmentations):
    """COCO as annotators write it: a square that stays in place, one identity, a frame each."""
    content = {
        "images": [
            {"id": number, "frame_index": number, "width": 96, "height": 64}
            for number in range(len(segmentations))
        ],
        "categories": [{"id": 1, "name": "car"}],
        "annotations": [
            {
                "image_id": number,
                "category_id": 1,
                "track_id": 4,
                "bbox": [3, 4, 10, 8],
                "segmentation": each,
            }
            for number, each in enumerate(segmentations)
        ],
    }
    Path("polygons.json").write_text(json.dumps(content))
    return "polygons.json"


@pytest.mark.parametrize("way", [["mots", "bdd"], ["ytvis", "coco"], ["bdd", "ytvis"]], ids=str)
def test_masks_go_through_every_format_that_holds_them(tmp_path, monkeypatch, way):
    monkeypatch.chdir(tmp_path)
    ends = {
        "mots": "o.mots.txt",
        "bdd": "o.bdd.json",
        "ytvis": "o.ytvis.json",
        "coco": "o.coco.json",
    }
    paths = [polygons([SQUARE], [SQUARE[:6], SQUARE[4:] + SQUARE[:2]]), *(ends[n] for n in way)]
    for source, target in pairwise([*paths, "back.jsonl"]):
        result = masa("convert", source, target)
        assert result.exit_code == 0, result.stderr
    square = pack(np.ones((8, 10), bool), (3, 4), (64, 96))
    for text in Path("back.jsonl").read_text().splitlines():
        line = json.loads(text)
        assert (line["ids"], line["labels"], line["boxes"]) == ([4], ["car"], [[3, 4, 13, 12]])
        [mask] = line["masks"]
        assert mask == {"size": [64, 96], "counts": square.counts}


@pytest.mark.parametrize("target", ["o.jsonl", "o.mots.txt", "o.csv"])
@pytest.mark.parametrize(
    "wrong", [[SQUARE[:4]], {"size": [64, 96], "counts": [1]}, {"size": [64, 96], "counts": "0"}]
)
def test_a_damaged_mask_is_told_in_one_sentence_and_nothing_written(
    tmp_path, monkeypatch, wrong, target
):
    monkeypatch.chdir(tmp_path)
    result = masa("convert", polygons([SQUARE], wrong), Path("new", target))
    assert result.exit_code == 1
    problem, fix = result.stderr.strip().splitlines()
    assert problem.startswith("error: polygons.json annotations entry 2: expected a mask")
    assert fix.startswith("fix: ")
    assert not Path("new").exists()


def test_polygons_without_a_size_lead_to_the_options(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = Path(polygons([SQUARE]))
    path.write_text(path.read_text().replace('"width"', '"w"'))
    result = masa("convert", path, "o.mots.txt")
    assert result.exit_code == 1
    assert "--size" in result.stderr
    assert masa("convert", path, "o.mots.txt", "--size", "96x64").exit_code == 0
    assert Path("o.mots.txt").read_text().startswith("1 4 1 64 96 ")


def test_track_writes_further_formats_itself(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    video, dets = write_clip(tmp_path, 5)
    options = ["--association", "motion", "--no-video", "--also", "cvat,csv,yolo,yolo-tracks"]
    result = masa("track", video, "--dets", dets, *options)
    assert result.exit_code == 0, result.stderr
    for name in ("street.cvat.xml", "street.csv", "street.yolo", "street.yolo-tracks"):
        assert Path("street", name).exists()
    again = masa("track", video, "--dets", dets, *options, "--overwrite")
    assert again.exit_code == 0, again.stderr
