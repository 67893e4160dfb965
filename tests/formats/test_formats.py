"""Every format of tracks: what is written comes back, and strangers read it alike."""

import json
import re
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from fractions import Fraction
from importlib import import_module
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from pycocotools.coco import COCO

from masa_cli.errors import SettingsError, SourceError
from masa_cli.formats import (
    FORMATS,
    Hints,
    file_name,
    needing_masks,
    open_writer,
    read_tracks,
    readable_names,
    recognise,
)
from masa_cli.formats.detections import DETECTION_FORMATS, read_detections
from masa_cli.formats.jsonl import TracksWriter
from masa_cli.masks import as_array, pack
from masa_cli.structures import Frame
from tests.formats.tracks_of_all_kinds import INFO, NAMES, NUM_FRAMES, tracks_at, write_all

# The same box of the second frame, in each format.
SAME_BOX = {
    "mot": "2,-1,1,2,3,4,0.5\n",
    "csv": "frame,x1,y1,x2,y2,score\n1,1,2,4,6,0.5\n",
    "jsonl": '{"frame":1,"boxes":[[1,2,4,6]],"scores":[0.5]}\n',
    "records": '[{"frame":1,"box":{"x1":1,"y1":2,"x2":4,"y2":6},"score":0.5}]',
    "coco": '{"images":[{"id":7,"frame_index":1}],'
    '"annotations":[{"image_id":7,"category_id":1,"bbox":[1,2,3,4],"score":0.5}]}',
}


@pytest.mark.parametrize("name", SAME_BOX)
@pytest.mark.parametrize("recognise", [True, False])
def test_every_format_is_recognised_and_gives_the_same_box(
    tmp_path: Path, name: str, recognise: bool
):
    path = tmp_path / "dets.whatever"
    path.write_text(SAME_BOX[name])
    dets = read_detections(path, format="auto" if recognise else name)
    assert dets.frames.tolist() == [1]
    assert dets.boxes.tolist() == [[1, 2, 4, 6]]
    assert dets.scores.tolist() == [0.5]


def test_every_format_of_detections_is_tested():
    assert SAME_BOX.keys() == DETECTION_FORMATS.keys()


@pytest.mark.parametrize(
    "place",
    [
        place
        for row in (*FORMATS.values(), *DETECTION_FORMATS.values())
        for each in ("read", "write", "stream")
        if (place := getattr(row, each, None))
    ],
)
def test_what_a_row_names_is_there(place):
    module, _, name = place.partition(":")
    assert callable(getattr(import_module(module), name))


def test_the_documented_tables_are_those_of_the_rows():
    text = (Path(__file__).parents[2] / "docs/formats.md").read_text()
    cells = [
        [cell.strip().strip("`") for cell in line.strip("|").split("|")]
        for line in text.partition("## Tracks")[2].splitlines()
        if line.startswith("| `")
    ]
    rows = [[name, f".{row.endings[-1]}", row.summary] for name, row in FORMATS.items()]
    assert [each[:3] for each in cells] == rows
    kept, needing = re.search(r"\*\*Masks\*\* are kept by (.*?); (.*?) need them", text).groups()
    assert re.findall(r"`(.*?)`", kept) == WITH_MASKS
    assert re.findall(r"`(.*?)`", needing) == needing_masks(list(FORMATS))
    of_detections = text.partition("## Detections")[2].partition("\n## ")[0]
    assert set(re.findall(r"^\| `(.*?)`", of_detections, re.MULTILINE)) == set(DETECTION_FORMATS)


def test_no_two_formats_have_the_same_ending():
    endings = [ending for row in FORMATS.values() for ending in row.endings]
    assert len(set(endings)) == len(endings)


def test_comments_do_not_hide_the_format(tmp_path: Path):
    path = tmp_path / "dets.txt"
    path.write_text("\n# x1,y1\n" + SAME_BOX["csv"])
    assert len(read_detections(path)) == 1


@pytest.mark.parametrize("text", ["", "\n\n", "# none\n"])
def test_an_empty_file_holds_no_detections(tmp_path: Path, text: str):
    path = tmp_path / "dets.txt"
    path.write_text(text)
    assert len(read_detections(path)) == 0
    assert len(read_detections(path, images=tmp_path / "images.json")) == 0


def test_an_unknown_format_shows_its_first_line_and_the_formats(tmp_path: Path):
    path = tmp_path / "dets.txt"
    path.write_text("# head\nHello [red] world\n")
    with pytest.raises(SourceError, match=r'line 2 .* formats: "Hello \[red\] world"') as error:
        read_detections(path)
    assert "jsonl, records, coco, csv, mot" in error.value.fix


def test_too_few_columns_are_named_rather_than_unrecognised(tmp_path: Path):
    path = tmp_path / "dets.txt"
    path.write_text("1,2,30,40\n")
    with pytest.raises(
        SourceError, match='line 1: expected at least 7 columns, got 4: "1,2,30,40"'
    ):
        read_detections(path)


def test_an_images_file_is_only_for_coco(tmp_path: Path):
    path = tmp_path / "dets.txt"
    path.write_text(SAME_BOX["mot"])
    with pytest.raises(SettingsError, match=r"--dets-images is for COCO results, but .* is mot"):
        read_detections(path, images=tmp_path / "images.json")


def test_the_rules_are_shown_without_numpy():
    code = "import sys, masa_cli.formats.detections; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# Formats whose tracks may come without masks, and come back.
OF_BOXES = [name for name in readable_names() if FORMATS[name].write and not needing_masks([name])]
HINTS = Hints(size=(INFO.width, INFO.height))


def write(name, path, frames=range(NUM_FRAMES)):
    write_all(open_writer(name, path, info=INFO, classes=NAMES, with_classes=True), frames)
    return path


@pytest.fixture(params=OF_BOXES)
def name(request):
    if package := FORMATS[request.param].package:
        pytest.importorskip(package)
    return request.param


def test_what_is_written_is_recognised_and_comes_back(tmp_path, name):
    path = write(name, tmp_path / file_name("o", name))
    assert recognise(path) == name
    table, holds = read_tracks(path, hints=HINTS), FORMATS[name].holds
    # Columns of KITTI end at spaces.
    names = ["_".join(each.split()) if name == "kitti" else each for each in NAMES]
    for index in range(NUM_FRAMES):
        rows = np.flatnonzero(table.frames == index)
        back, given = table.tracks[rows], tracks_at(index)
        back = back[np.argsort(back.ids)]
        assert back.ids.tolist() == given.ids.tolist()
        assert np.allclose(back.boxes, given.boxes, atol=0.011)
        if "interpolated" in holds:
            assert back.interpolated.tolist() == given.interpolated.tolist()
        assert [table.classes[label] for label in back.labels] == [
            names[label] if "names" in holds else str(label + 1) for label in given.labels
        ]
        if "scores" in holds:
            real = ~given.interpolated | (name != "mot")  # MOT marks those with a score of 0
            assert np.allclose(back.scores[real], given.scores[real], atol=1e-4)
    assert table.num_frames == NUM_FRAMES - ("length" not in holds)  # the last one is empty
    assert (table.times is not None) == ("times" in holds)
    assert table.size == (INFO.width, INFO.height)


def test_no_tracks_at_all_come_back_as_none(tmp_path, name):
    path = write(name, tmp_path / "o", [])
    if FORMATS[name].is_folder:  # a folder without texts may be any folder
        with pytest.raises(SourceError, match="has no texts of labels"):
            read_tracks(path, hints=HINTS)
    else:
        table = read_tracks(path, format=name, hints=HINTS)
        assert (len(table), table.num_frames) == (0, 0)


def damaged(path, rng):
    """A few bytes changed, or the end cut off."""
    data = bytearray(path.read_bytes())
    for place in rng.integers(0, len(data), 3):
        data[place] = int(rng.integers(256))
    return bytes(data[: int(rng.integers(1, len(data) + 1))] if rng.random() < 0.3 else data)


@pytest.mark.parametrize("seed", range(60))
def test_damage_is_an_error_of_ours_or_other_tracks_but_no_crash(tmp_path, name, seed):
    path = write(name, tmp_path / file_name("o", name))
    file = sorted(path.rglob("*.txt"))[seed % NUM_FRAMES] if path.is_dir() else path
    if not file.stat().st_size:
        return
    file.write_bytes(damaged(file, np.random.default_rng(seed)))
    with suppress(SourceError, SettingsError):
        read_tracks(path, format=name, hints=HINTS)


@pytest.mark.parametrize("content", ["<html></html>", "{}", "[1]", "a,b\n1,2\n", "\0\1", "x"])
def test_what_is_no_tracks_is_an_error_that_names_the_file(tmp_path, content):
    path = tmp_path / "strange"
    path.write_text(content)
    with pytest.raises(SourceError, match="strange"):
        read_tracks(path)


def test_a_frame_number_beyond_all_videos_is_an_error(tmp_path):
    path = tmp_path / "o.txt"
    path.write_text("99000001,1,1,1,5,5,1,-1,-1,-1\n")
    with pytest.raises(SourceError, match="beyond 10000000"):
        read_tracks(path)


def test_the_same_id_twice_in_a_frame_is_an_error(tmp_path):
    path = tmp_path / "o.csv"
    path.write_text("frame,id,x1,y1,x2,y2,score\n4,2,1,1,5,5,1\n4,2,1,1,5,5,1\n")
    with pytest.raises(SourceError, match="frame 4: id 2 is there twice"):
        read_tracks(path)


def test_names_that_spreadsheets_would_run_are_made_harmless(tmp_path):
    path = tmp_path / "o.csv"
    with open_writer("csv", path, info=INFO, classes=("=1+1", "@x")) as writer:
        writer.write(*_one_frame())
    assert ",'=1+1," in path.read_text()
    assert read_tracks(path).classes[0] == "=1+1"


def _one_frame():
    return Frame.without_image(0, Fraction(0)), tracks_at(0)


# CVAT


def test_cvat_closes_each_track_where_it_goes_out_of_sight(tmp_path):
    text = write("cvat", tmp_path / "o.xml").read_text()
    first = text.partition('<track id="1"')[2].partition("</track>")[0]
    frames = [part.partition('"')[0] for part in first.split(' frame="')[1:]]
    outside = [part.partition('"')[0] for part in first.split('outside="')[1:]]
    assert frames == ["0", "1", "2", "4", "5"]
    assert outside == ["0", "0", "1", "0", "1"]


def test_cvat_boxes_between_keyframes_are_interpolated(tmp_path):
    path = tmp_path / "o.xml"
    path.write_text(
        '<annotations><track id="0" label="car">'
        '<box frame="2" xtl="0" ytl="0" xbr="10" ybr="10" outside="0"/>'
        '<box frame="4" xtl="20" ytl="0" xbr="30" ybr="10" outside="0"/>'
        '<box frame="7" xtl="20" ytl="0" xbr="30" ybr="10" outside="1"/>'
        '<polygon frame="7" points="1,1;2,2"/>'
        "</track></annotations>"
    )
    table = read_tracks(path)
    assert table.frames.tolist() == [2, 3, 4, 5, 6]
    assert table.tracks.boxes[:, 0].tolist() == [0, 10, 20, 20, 20]
    assert table.tracks.interpolated.tolist() == [False, True, False, True, True]
    assert set(table.tracks.ids.tolist()) == {1}  # ids that begin with 0 are raised


def test_xml_that_defines_entities_is_refused(tmp_path):
    path = tmp_path / "o.xml"
    bomb = "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 9))
    path.write_text(f'<!DOCTYPE x [<!ENTITY a0 "ha">{bomb}]><annotations>&a8;</annotations>')
    with pytest.raises(SourceError, match="cannot be read as CVAT"):
        read_tracks(path)
    path.write_text(
        '<!DOCTYPE x [<!ENTITY f SYSTEM "file:///etc/passwd">]><annotations>&f;</annotations>'
    )
    with pytest.raises(SourceError, match="cannot be read as CVAT"):
        read_tracks(path)


def test_control_characters_of_names_do_not_break_xml(tmp_path):
    path = tmp_path / "o.xml"
    with open_writer("cvat", path, info=INFO, classes=("a\0\x1b[31m]]>",)) as writer:
        writer.write(*_one_frame())
    assert read_tracks(path).classes == ("a\ufffd\ufffd[31m]]>",)


def test_keyframes_of_cvat_that_are_far_apart_are_refused(tmp_path):
    path = tmp_path / "o.xml"
    path.write_text(
        '<annotations><track id="3" label="car">'
        + "".join(
            f'<box frame="{frame}" xtl="0" ytl="0" xbr="9" ybr="9" outside="0"/>'
            for frame in (0, 9_999_998)
        )
        + "</track></annotations>"
    )
    with pytest.raises(SourceError, match="track 3 would be interpolated from frame 0 to 9999998"):
        read_tracks(path)


def project(tracks):
    """CVAT for video of a project with two tasks."""
    tasks = "".join(
        f"<task><id>{number}</id><name>{name}</name><size>9</size></task>"
        for number, name in ((4, "street"), (7, "yard"))
    )
    return (
        f"<annotations><meta><project><tasks>{tasks}</tasks></project></meta>"
        + "".join(
            f'<track id="{number}" label="car" {task}>'
            f'<box frame="1" xtl="0" ytl="0" xbr="9" ybr="9" outside="0"/></track>'
            for number, task in enumerate(tracks, 1)
        )
        + "</annotations>"
    )


def test_tracks_of_several_tasks_of_cvat_are_refused_and_named(tmp_path):
    path = tmp_path / "o.xml"
    for tracks in (['task_id="4"', 'task_id="7"'], [""]):
        path.write_text(project(tracks))
        with pytest.raises(SourceError, match=r'2 videos, .*: "street", "yard"') as error:
            read_tracks(path)
        assert "one task after the other" in error.value.fix
    path.write_text(project(['task_id="7"', 'task_id="7"']))
    assert len(read_tracks(path)) == 2


# YOLO


def test_yolo_to_train_with_has_five_columns_and_no_identities(tmp_path):
    write("yolo", tmp_path / "o")
    lines = (tmp_path / "o/labels/clip[red]_000002.txt").read_text().splitlines()
    assert [len(line.split()) for line in lines] == [5, 5]
    assert lines[1] == "1 0.218750 0.525000 0.125000 0.208333"  # of (100, 202, 180, 302)
    with pytest.raises(SourceError, match="none of its 7 rows has an id"):
        read_tracks(tmp_path / "o", hints=HINTS)


def test_yolo_without_a_size_says_what_is_missing(tmp_path):
    write("yolo-tracks", tmp_path / "o")
    with pytest.raises(SettingsError, match="size is not known"):
        read_tracks(tmp_path / "o")


def test_a_folder_with_other_things_is_never_replaced(tmp_path):
    (tmp_path / "mine.txt").touch()
    with pytest.raises(Exception, match="holds other things"):
        open_writer("yolo", tmp_path, info=INFO, classes=NAMES)
    assert (tmp_path / "mine.txt").exists()


# As others read it


def sights(rows):
    return {(frame, id_): tuple(round(float(x), 1) for x in box) for frame, id_, box in rows}


EXPECTED = sights(
    (index, int(id_), box)
    for index in range(NUM_FRAMES)
    for id_, box in zip(tracks_at(index).ids, tracks_at(index).boxes, strict=True)
)


def test_pycocotools_reads_coco(tmp_path):
    coco = COCO(str(write("coco", tmp_path / "o.json")))
    rows = [
        (coco.imgs[one["image_id"]]["frame_index"], one["track_id"], _corners(one["bbox"]))
        for one in coco.loadAnns(coco.getAnnIds())
    ]
    assert sights(rows).keys() == EXPECTED.keys()
    assert np.allclose([*sights(rows).values()], [EXPECTED[key] for key in sights(rows)], atol=0.2)


def _corners(box):
    return box[0], box[1], box[0] + box[2], box[1] + box[3]


def test_datumaro_reads_cvat(tmp_path):
    base = pytest.importorskip("datumaro.plugins.data_formats.cvat.base")
    path = write("cvat", tmp_path / "o.xml")
    rows = [
        (int(item.attributes["frame"]), one.attributes["track_id"], one.points)
        for item in base.CvatBase(str(path))
        for one in item.annotations
        if not one.attributes["outside"]
    ]
    assert sights(rows).keys() == EXPECTED.keys()


def test_scalabel_reads_bdd(tmp_path):
    load = pytest.importorskip("scalabel.label.io").load
    if not pytest.importorskip("pydantic").VERSION.startswith("1."):
        pytest.skip("scalabel 0.3 needs pydantic below 2")
    frames = load(str(write("bdd", tmp_path / "o.json"))).frames
    rows = [
        (frame.frameIndex, int(one.id), [getattr(one.box2d, key) for key in ("x1", "y1")])
        for frame in frames
        for one in frame.labels or []
    ]
    assert sights(rows).keys() == EXPECTED.keys()


def test_pandas_reads_parquet_and_csv_alike(tmp_path):
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    table = pandas.read_parquet(write("parquet", tmp_path / "o.parquet"))
    again = pandas.read_csv(write("csv", tmp_path / "o.csv"))
    assert table.columns.tolist() == again.columns.tolist()
    assert np.allclose(table.x1, again.x1)
    assert table.id.tolist() == again.id.tolist()


def test_frames_of_every_format_are_in_order(tmp_path, name):
    path = write(name, tmp_path / file_name("o", name))
    frames = read_tracks(path, hints=HINTS).frames
    assert all(first <= second for first, second in pairwise(frames.tolist()))
    if name in {"coco", "tao", "bdd"}:
        json.loads(path.read_text())


# Masks


def with_masks(tracks, size=(INFO.height, INFO.width)):
    """The same tracks, each with a mask that fills a box of whole pixels of its own."""
    masks = []
    for row in range(len(tracks)):
        pixels = np.zeros(size, np.bool_)
        pixels[4 + 20 * row : 12 + 20 * row, 3:13] = True
        masks.append(pack(pixels, (0, 0), size))
    return replace(tracks, masks=as_array(masks))


WITH_MASKS = [name for name, row in FORMATS.items() if row.write and "masks" in row.holds]


def write_masks(name, path, classes=("car", "pedestrian")):
    with open_writer(name, path, info=INFO, classes=classes) as writer:
        for index in range(NUM_FRAMES):
            frame = Frame.without_image(index, Fraction(index, 25))
            writer.write(frame, with_masks(tracks_at(index)))
    return path


@pytest.mark.parametrize("name", WITH_MASKS)
def test_masks_come_back(tmp_path, name):
    classes = ("car", "pedestrian")
    path = write_masks(name, tmp_path / "o", classes)
    assert recognise(path) == name
    table = read_tracks(path)
    for index in range(NUM_FRAMES):
        back = table.tracks[np.flatnonzero(table.frames == index)]
        back, given = back[np.argsort(back.ids)], with_masks(tracks_at(index))
        assert back.ids.tolist() == given.ids.tolist()
        assert back.masks.tolist() == given.masks.tolist()
        assert [table.classes[label] for label in back.labels] == [
            classes[label] for label in given.labels
        ]
        if name == "mots":  # which has no boxes: those around the masks
            assert back.boxes.tolist() == [
                [3, 4 + 20 * row, 13, 12 + 20 * row] for row in range(len(back))
            ]
    assert table.size == (INFO.width, INFO.height)


@pytest.mark.parametrize("seed", range(60))
@pytest.mark.parametrize("name", WITH_MASKS)
def test_damaged_masks_are_an_error_of_ours_or_other_masks_but_no_crash(tmp_path, name, seed):
    path = write_masks(name, tmp_path / "o")
    path.write_bytes(damaged(path, np.random.default_rng(seed)))
    with suppress(SourceError):
        read_tracks(path, format=name, hints=HINTS)


def test_masks_of_two_sizes_are_an_error(tmp_path):
    path = tmp_path / "o.jsonl"
    with TracksWriter(path, NAMES) as writer:
        for index, size in enumerate([(50, 50), (50, 60)]):
            writer.write(
                Frame.without_image(index, Fraction(index)), with_masks(tracks_at(0), size)
            )
    with pytest.raises(SourceError, match="masks of 50 x 50 and of 60 x 50 pixels"):
        read_tracks(path)


@pytest.mark.parametrize(
    "text", ["a\rb,c", "1," + "2" * 200_000, "frame," + "x" * 200_000 + "\n1,2"]
)
def test_lines_that_no_table_has_are_errors_of_ours(tmp_path, text):
    path = tmp_path / "o.csv"
    path.write_bytes(text.encode())
    with pytest.raises(SourceError):
        read_tracks(path)
    with pytest.raises(SourceError):
        read_detections(path)
