"""A detector or a segmenter is one row: toys defined here are used without another file."""

import json
from pathlib import Path
from pkgutil import resolve_name

import numpy as np
import pytest
from typer.testing import CliRunner

from masa_cli import detectors, segmenters
from masa_cli.cli.app import app
from masa_cli.detectors import DETECTORS, DetectorRow, detectors_taking
from masa_cli.masks import pack
from masa_cli.segmenters import SEGMENTERS, SegmenterRow
from masa_cli.structures import Detections
from masa_cli.tracking import TRACKERS
from masa_cli.weights.manifest import find_row, needed_for
from tests.clips import HEIGHT, WIDTH, boxes_at, write_clip

NUM_FRAMES = 6


class ToyDetector:
    """Knows where the objects of the clip are, whatever they are called."""

    def __init__(self, request, networks):
        self.classes, self._settings = request.classes, request.settings

    def detect(self, frames):
        return [self._of(boxes_at(frame.index)) for frame in frames]

    def _of(self, rows):
        boxes = np.float32([(x, y, x + w, y + h) for x, y, w, h in rows])[
            : self._settings.max_boxes
        ]
        scores, labels = np.full(len(boxes), 0.9, np.float32), np.zeros(len(boxes), np.int64)
        return Detections(boxes, scores, labels)


class ToySegmenter:
    """Takes a box for its object."""

    def __init__(self, request, networks):
        pass

    def segment(self, frame, boxes):
        return [self._mask(*box.astype(int).tolist()) for box in boxes]

    def _mask(self, x1, y1, x2, y2):
        return pack(np.ones((y2 - y1, x2 - x1), bool), (x1, y1), (HEIGHT, WIDTH))


@pytest.fixture
def video(tmp_path, monkeypatch):
    here = __name__
    toys = (
        DetectorRow("toy", "a toy", takes=("words",), build=f"{here}:ToyDetector"),
        DetectorRow("toys", "many toys", takes=("nothing",), build=f"{here}:ToyDetector"),
    )
    rows = {row.name: row for row in toys}
    monkeypatch.setattr(detectors, "DETECTORS", {**DETECTORS, **rows})
    toy = SegmenterRow("toy", "a toy", build=f"{here}:ToySegmenter")
    monkeypatch.setattr(segmenters, "SEGMENTERS", {**SEGMENTERS, "toy": toy})
    monkeypatch.chdir(tmp_path)
    return write_clip(tmp_path, NUM_FRAMES)[0]


def masa(*arguments):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return result


def lines():
    return [json.loads(line) for line in Path("street/tracks.jsonl").read_text().splitlines()]


def test_a_toy_detector_and_a_toy_segmenter_track_a_prompt(video):
    toys = ("--prompt", "gizmo", "--detector", "toy", "--masks", "--segmenter", "toy")
    masa("track", video, *toys)
    for index, line in enumerate(lines()):
        assert set(line["labels"]) == {"gizmo"}
        assert len(line["ids"]) == len(boxes_at(index))
        assert all(line["masks"])


def test_a_toy_detector_finds_whatever_there_is(video):
    masa("segment-track", video, "--model", "toys", "--max-objects", 1)
    assert [len(line["ids"]) for line in lines()] == [1] * NUM_FRAMES


def test_toys_are_offered_where_names_are_listed(video):
    wrong = CliRunner().invoke(app, ["track", str(video), "--prompt", "x", "--detector", "toi"])
    assert wrong.exit_code == 1
    assert "lite, FILE.onnx, hf:MODEL, torchvision:NAME, package.module:Class, toy" in wrong.stderr
    wrong = CliRunner().invoke(
        app, ["track", str(video), "--dets", "dets.txt", "--segmenter", "toi"]
    )
    assert "grabcut, toy" in " ".join(wrong.stderr.split())


@pytest.mark.parametrize("row", DETECTORS.values(), ids=lambda row: row.name)
def test_what_a_detector_names_is_there(row):
    assert DETECTORS[row.name] is row
    assert row.summary
    assert callable(resolve_name(row.build))
    assert not row.prepare or callable(resolve_name(row.prepare))
    assert set(row.changes) <= set(TRACKERS)
    names = (*([row.weights] if row.weights and not row.packaged else []), *row.files)
    assert all(find_row(name) for name in names)
    if "words" in row.takes:  # masa weights tells the same
        assert set(names) == {each.name for each in needed_for(detector=row.name)}


@pytest.mark.parametrize("row", SEGMENTERS.values(), ids=lambda row: row.name)
def test_what_a_segmenter_names_is_there(row):
    assert SEGMENTERS[row.name] is row
    assert row.summary
    assert callable(resolve_name(row.build))
    assert not row.has_weights or row.packaged or find_row(row.name)


def test_every_way_to_ask_has_a_detector():
    for takes in ("words", "vocabulary", "nothing", "boxes"):
        assert detectors_taking(takes)
