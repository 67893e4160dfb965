"""A format that masa does not know, in this file: one row, and everything knows it."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from masa_cli import formats
from masa_cli.cli.app import app
from masa_cli.formats import FORMATS, TrackFormat, detections
from masa_cli.formats.detections import DETECTION_FORMATS, DetectionFormat
from masa_cli.formats.files import PartFile, TextFile
from masa_cli.formats.jsonl import TracksWriter
from masa_cli.formats.tables import DetectionTable, TrackTable
from masa_cli.structures import Tracks
from tests.clips import write_clip
from tests.formats.tracks_of_all_kinds import NAMES, write_all

ROOT = Path(__file__).parents[2]


class ToyWriter:
    """`frame,id,x1,y1,x2,y2,score,label` under the line "toy 1"."""

    def __init__(self, path, *, classes):
        self._file = PartFile(path)
        self._file.write(b"toy 1\n")

    def write(self, frame, tracks):
        rows = zip(tracks.ids, tracks.boxes, tracks.scores, tracks.labels, strict=True)
        for id_, box, score, label in rows:
            numbers = (frame.index, id_, *box, score, label)
            self._file.write(",".join(f"{number:g}" for number in numbers).encode() + b"\n")

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._file.__exit__(*error)


def rows_of(path):
    return np.loadtxt(TextFile.read(path).lines[1:], delimiter=",", ndmin=2).reshape(-1, 8)


def read_tracks(path):
    rows = rows_of(path)
    ids, labels = rows[:, 1].astype(int), rows[:, 7].astype(int)
    tracks = Tracks(rows[:, 2:6].astype(np.float32), rows[:, 6].astype(np.float32), labels, ids)
    return TrackTable.from_rows(path, rows[:, 0].astype(int), tracks, ("a", "b"))


def read_detections(path):
    rows = rows_of(path)
    boxes, scores = rows[:, 2:6].astype(np.float32), rows[:, 6].astype(np.float32)
    return DetectionTable.from_rows(
        rows[:, 0].astype(int), boxes, scores, rows[:, 7].astype(int), ("a", "b")
    )


TOY = TrackFormat(
    summary="a toy",
    endings=("toy.txt", "toy"),
    sniff=lambda line, head: line == "toy 1",
    read=f"{__name__}:read_tracks",
    write=f"{__name__}:ToyWriter",
    write_with=("classes",),
    holds=frozenset({"scores"}),
)
TOY_DETECTIONS = DetectionFormat(
    summary="a toy", sniff=lambda line, head: line == "toy 1", read=f"{__name__}:read_detections"
)


@pytest.fixture(autouse=True)
def toy(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(formats, "FORMATS", {"toy": TOY, **FORMATS})
    with_toy = {"toy": TOY_DETECTIONS, **DETECTION_FORMATS}
    monkeypatch.setattr(detections, "DETECTION_FORMATS", with_toy)


def masa(*arguments):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    return result.exit_code, " ".join((result.stderr or result.stdout).split())


def test_it_is_written_recognised_and_read():
    write_all(TracksWriter(Path("in.jsonl"), NAMES))
    assert masa("convert", "in.jsonl", "out.toy")[0] == 0
    assert Path("out.toy").read_text().startswith("toy 1\n0,1,10.25,20,60.5,90.75,0.5,0\n")
    assert formats.recognise(Path("out.toy")) == "toy"
    assert masa("convert", "out.toy", "back.csv")[0] == 0
    assert masa("convert", "back.csv", "again", "--to", "toy")[0] == 0
    assert Path("again").read_text() == Path("out.toy").read_text()
    assert masa("convert", "again", "third.csv", "--from", "toy")[0] == 0


def test_a_run_writes_it_and_tracks_its_boxes(tmp_path):
    video, dets = write_clip(tmp_path, 5)
    options = ("--association", "motion", "--no-video", "--also", "toy")
    assert masa("track", video, "--dets", dets, *options, "-o", "first")[0] == 0
    written = Path("first/street.toy.txt")
    assert len(formats.read_tracks(written)) > 0
    for more in ((), ("--dets-format", "toy")):
        assert masa("track", video, "--dets", written, *options, *more, "--overwrite")[0] == 0
        assert formats.read_tracks(Path("street/street.toy.txt")).num_frames == 5


def test_what_its_row_needs_is_asked_for(monkeypatch):
    write_all(TracksWriter(Path("in.jsonl"), NAMES))
    for changes, problem in (
        ({"needs": frozenset({"masks"})}, "toy holds masks, but in.jsonl has 7 boxes without one"),
        ({"needs": frozenset({"size"})}, "whose size is not known"),
        ({"package": "toys_of_wood"}, "toy needs toys_of_wood, which is not installed"),
    ):
        monkeypatch.setattr(formats, "FORMATS", {"toy": replace(TOY, **changes), **FORMATS})
        code, message = masa("convert", "in.jsonl", "out.toy")
        assert (code, Path("out.toy").exists()) == (1, False)
        assert problem in message


@pytest.mark.parametrize(
    "arguments",
    [
        ("convert", "in.jsonl", "out.x"),
        ("convert", "in.jsonl", "out.x", "--to", "x"),
        ("convert", "in.jsonl", "out.csv", "--from", "x"),
        ("convert", "strange", "out.csv"),
        ("track", "--dets", "strange"),
        ("track", "--dets", "strange", "--dets-format", "x"),
        ("track", "--dets", "in.jsonl", "--also", "x"),
    ],
    ids=" ".join,
)
def test_errors_name_it(arguments):
    write_all(TracksWriter(Path("in.jsonl"), NAMES))
    Path("strange").write_text("strange")
    code, message = masa(*arguments)
    assert code in (1, 2)
    assert "toy" in message.partition("fix: ")[2]


def test_help_lists_it():
    """In a new process: options are made from the rows when their command is imported."""
    code = (
        "import sys; from masa_cli import formats; from masa_cli.formats import detections\n"
        "from tests.formats import test_toy as toy\n"
        "formats.FORMATS = {'toy': toy.TOY, **formats.FORMATS}\n"
        "rows = {'toy': toy.TOY_DETECTIONS, **detections.DETECTION_FORMATS}\n"
        "detections.DETECTION_FORMATS = rows\n"
        "from masa_cli.__main__ import main; main()"
    )
    for command, parts in (
        (["convert", "--help"], ["--from FORMAT", "--to FORMAT", "Formats, by the end"]),
        (["track", "--help-all"], ["--also FORMATS", "--dets-format FORMAT", "Detections. The"]),
    ):
        run = subprocess.run(
            [sys.executable, "-c", code, *command],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
        for part in parts:
            assert "toy" in run.stdout.partition(part)[2][:400], part
