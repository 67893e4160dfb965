"""Who shares which backbone: counted, with nothing in place of the networks."""

import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from masa_cli.detectors import DETECTORS, DetectorRequest, given
from masa_cli.detectors.filter import FromFile
from masa_cli.formats.detections import read_detections
from masa_cli.jobs.build import build_networks
from masa_cli.segmenters import SegmenterRequest
from masa_cli.segmenters.grabcut import GrabCutSegmenter
from masa_cli.sources.excerpt import Timeline
from masa_cli.structures import Frame
from masa_cli.tracking.targets import Pointing, Target
from tests.jobs.jobs import changed, new_job
from tests.lite_file import write_lite

FILE = Path("sam_vitb_masa.pth")


@pytest.fixture
def built(monkeypatch):
    """What was built, in order; each thing remembers what it was built on."""
    log = []

    def builder(kind):
        def build(*args, **options):
            thing = SimpleNamespace(kind=kind, args=args, options=options, temperature=1.0)
            thing.network = torch.nn.Linear(1, 1)
            thing.remember = lambda num_runs: None
            log.append(thing)
            return thing

        return build

    for place, kind in {
        "models.adapter.build_features": "backbone",
        "models.sam.build_sam_features": "sam backbone",
        "models.adapter.build_pyramid": "pyramid",
        "models.adapter.build_adapter": "adapter",
        "detectors.class_agnostic.ObjectDetector": "objects",
        "detectors.class_agnostic.GridDetector": "grid",
        "segmenters.networks.SamSegmenter": "segmenter",
    }.items():
        monkeypatch.setattr(f"masa_cli.{place}", builder(kind))
    for room in ("detectors.class_agnostic", "segmenters.networks"):
        monkeypatch.setattr(f"masa_cli.{room}.build_sam_masks", lambda *args: None)
    monkeypatch.setattr("masa_cli.detectors.class_agnostic.load_parts", lambda *args: None)
    monkeypatch.setattr("masa_cli.detectors.class_agnostic.ready", lambda *args: None)
    monkeypatch.setattr("masa_cli.models.adapter.resolve", lambda name, folder: ("sam-b", FILE))
    return log


@pytest.fixture
def job(tmp_path):
    dets = tmp_path / "dets.txt"
    dets.write_text("1,-1,1,1,5,5,0.9\n")
    return new_job(
        Timeline("street", 1, 25),
        given(FromFile(read_detections(dets))),
        tmp_path,
        adapter="sam-b",
    )


def objects_by(name):
    return DetectorRequest(DETECTORS[name], ("object",), DETECTORS[name].settings, weights=FILE)


def kinds(built):
    return [thing.kind for thing in built]


def test_everything_is_found_embedded_and_outlined_on_one_backbone(job, built):
    search, plan = objects_by("sam-b"), SegmenterRequest("sam-b", FILE)
    networks = build_networks(changed(job, detector=search, segmenter=plan))
    assert kinds(built) == ["backbone", "pyramid", "objects", "segmenter", "adapter"]
    backbone, pyramid, objects, segmenter, adapter = built
    assert objects.args[1] is pyramid
    assert adapter.options["pyramid"] is pyramid
    assert pyramid.args[1] is segmenter.args[0] is backbone
    assert networks.detector is objects


def test_the_grid_is_on_the_same_backbone(job, built):
    search, plan = objects_by("sam-b-grid"), SegmenterRequest("sam-b", FILE)
    build_networks(changed(job, detector=search, segmenter=plan))
    assert sorted(kinds(built)) == ["adapter", "backbone", "grid", "pyramid", "segmenter"]
    grid = next(thing for thing in built if thing.kind == "grid")
    assert grid.args[0] is built[0]


def test_a_segmenter_of_another_file_has_a_backbone_of_its_own(job, built):
    build_networks(changed(job, segmenter=SegmenterRequest("sam-vit-h", Path("sam_vit_h.pth"))))
    assert kinds(built) == ["sam backbone", "segmenter", "backbone", "pyramid", "adapter"]
    assert built[1].args[0] is built[0]


def test_masks_of_lite_are_found_on_the_maps_of_its_adapter(job, tmp_path):
    file = write_lite(tmp_path / "own.safetensors", with_masks=True)
    plan = SegmenterRequest("lite", file)
    networks = build_networks(changed(job, adapter=str(file), segmenter=plan, device="cpu"))
    looks = []
    backbone = networks.embedder._pyramid.features
    backbone.network.register_forward_hook(lambda *_: looks.append(1))
    pixels = np.random.default_rng(0).integers(0, 255, (96, 128, 3), np.uint8)
    frame, boxes = Frame(0, Fraction(0), pixels), np.float32([[10, 10, 60, 80]])
    networks.embedder.embed([frame], [boxes])
    assert len(networks.track_segmenter._segmenter.segment(frame, boxes)) == 1
    assert looks == [1]


@pytest.mark.parametrize(("device", "ahead"), [("cuda", 1), ("mps", 1), ("cpu", 0)])
def test_beside_a_gpu_boxes_are_found_ahead(job, built, monkeypatch, device, ahead):
    monkeypatch.setattr("masa_cli.models.device.choose_device", lambda name: torch.device(device))
    seen = changed(job, detector=objects_by("sam-b"))
    assert build_networks(seen, looks_ahead=True).ahead == ahead
    assert build_networks(seen).ahead == 0
    assert build_networks(changed(job, association="motion"), looks_ahead=True).ahead == 0


def test_where_one_frame_tells_where_to_look_in_the_next_none_is_looked_at_ahead(
    job, built, monkeypatch
):
    monkeypatch.setattr("masa_cli.models.device.choose_device", lambda name: torch.device("cuda"))
    pointed = changed(job, targets=(Target("it", (Pointing(0.0, (1.0, 2.0, 3.0, 4.0)),)),))
    assert build_networks(job, looks_ahead=True).ahead == 1
    assert build_networks(pointed, looks_ahead=True).ahead == 0


@pytest.mark.parametrize(
    ("detector", "options", "expected"),
    [
        ("lite", {"adapter": "lite"}, 2),
        ("lite", {"adapter": "lite", "segmenter": SegmenterRequest("lite", FILE)}, 2),
        ("lite", {"association": "motion"}, 2),
        ("onnx", {"adapter": "raw"}, 2),
        ("lite", {"adapter": "r50"}, 1),  # all threads are quicker, and a frame alone
        ("lite", {"adapter": "lite", "segmenter": SegmenterRequest("sam-vit-h", FILE)}, 1),
        ("sam-b", {"adapter": "lite"}, 1),
        ("plug-in", {"adapter": "raw"}, 1),
    ],
)
def test_small_networks_look_at_two_frames_at_once(job, monkeypatch, detector, options, expected):
    monkeypatch.setattr("masa_cli.models.adapter.resolve", lambda name, folder: (name, FILE))
    assert changed(job, detector=objects_by(detector), **options).frames_at_once == expected


def test_boxes_of_a_file_may_be_asked_for_by_two_but_no_detector_of_ones_own(job, monkeypatch):
    monkeypatch.setattr("masa_cli.models.adapter.resolve", lambda name, folder: (name, FILE))
    own = changed(job, adapter="raw")
    assert own.frames_at_once == 1
    assert changed(own, table=FromFile).frames_at_once == 2


def test_motion_and_grabcut_need_no_network(job, built):
    networks = build_networks(
        changed(job, association="motion", segmenter=SegmenterRequest("grabcut"), fits_boxes=True)
    )
    assert built == []
    assert isinstance(networks.track_segmenter._segmenter, GrabCutSegmenter)


def test_without_masks_there_is_nothing_to_outline(job, built):
    assert build_networks(changed(job, association="motion")).track_segmenter is None
    assert (
        build_networks(changed(job, association="motion", fits_boxes=True)).track_segmenter
        is not None
    )


def test_boxes_that_are_given_are_tracked_by_motion_without_loading_torch(tmp_path):
    (tmp_path / "dets.txt").write_text("1,-1,1,1,9,9,0.9\n")
    code = (
        "import sys; from masa_cli.cli.app import app;"
        "app(['track', '--dets', 'dets.txt', '-o', 'out'], standalone_mode=False);"
        "sys.exit('torch' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=False)
    assert run.returncode == 0
