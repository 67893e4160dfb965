"""Operators without torchvision's package are torchvision's."""

import os
import subprocess
import sys

import pytest
import torch
import torchvision

from masa_cli.models import operators
from masa_cli.models.backbones import STRIDE_8, STRIDE_16, STRIDE_32, MobileNet
from masa_cli.models.operators import as_rois, batched_nms, clip_boxes, nms, roi_align


@pytest.fixture
def boxes():
    corners = torch.rand(200, 2, generator=torch.Generator().manual_seed(0)) * 80 - 5
    sides = torch.rand(200, 2, generator=torch.Generator().manual_seed(1)) * 40
    return torch.cat([corners, corners + sides], dim=1)


@pytest.fixture
def scores():
    return torch.rand(200, generator=torch.Generator().manual_seed(2)).round(
        decimals=2
    )  # with ties


def test_suppression_is_that_of_torchvision(boxes, scores):
    assert nms(boxes, scores, 0.4).equal(torchvision.ops.nms(boxes, scores, 0.4))
    groups = torch.arange(200) % 7
    expected = torchvision.ops.boxes._batched_nms_vanilla(boxes, scores, groups, 0.4)
    assert set(batched_nms(boxes, scores, groups, 0.4).tolist()) == set(expected.tolist())
    kept = scores[batched_nms(boxes, scores, groups, 0.4)]
    assert kept.equal(kept.sort(descending=True).values)
    assert len(batched_nms(boxes[:0], scores[:0], groups[:0], 0.4)) == 0


def test_boxes_are_clipped_as_by_torchvision(boxes):
    expected = torchvision.ops.clip_boxes_to_image(boxes, (50, 70))
    assert clip_boxes(boxes, (50, 70)).equal(expected)


@pytest.mark.parametrize("points", [0, 2])
def test_boxes_are_read_and_learned_from_as_by_torchvision(boxes, points):
    maps = torch.rand(2, 3, 20, 30, requires_grad=True)
    rows = [boxes[:5], boxes[5:12]]
    own = roi_align(maps, as_rois(rows), 7, 0.25, points)
    theirs = torchvision.ops.roi_align(maps, rows, 7, 0.25, points, aligned=True)
    assert own.equal(theirs)
    (gradient,) = torch.autograd.grad(own.sum(), maps)
    assert gradient.abs().sum() > 0


@pytest.mark.parametrize(("size", "points"), [(28, 2), (3, 1), (7, 3)])
def test_much_is_read_in_another_way_and_the_same(boxes, size, points, monkeypatch):
    maps = torch.rand(2, 5, 20, 30)
    # Some reach beyond the map, which ends at 120 and 80; one has no area.
    rows = [boxes[:5] * 2 - 40, torch.cat([boxes[5:12] * 3, torch.full((1, 4), 8.0)])]
    theirs = torchvision.ops.roi_align(maps, rows, size, 0.25, points, aligned=True)
    assert (theirs == 0).any()
    monkeypatch.setattr(operators, "_FEW", 0)
    monkeypatch.setattr(operators, "_operators", None)  # is not asked
    own = roi_align(maps, as_rois(rows), size, 0.25, points)
    torch.testing.assert_close(own, theirs, rtol=0, atol=1e-5)


def test_the_package_is_imported_where_its_library_is_not_found(monkeypatch, boxes, scores):
    monkeypatch.setattr(operators, "_LIBRARIES", ())
    operators._operators.cache_clear()
    assert nms(boxes, scores, 0.4).equal(torchvision.ops.nms(boxes, scores, 0.4))
    operators._operators.cache_clear()


def test_mobilenet_is_that_of_torchvision():
    torch.manual_seed(0)
    theirs = torchvision.models.mobilenet_v2().eval()
    taps = (STRIDE_8, STRIDE_16, STRIDE_32)
    own = MobileNet(taps).eval()
    own.load_state_dict(theirs.features[: STRIDE_32 + 1].state_dict(), strict=True)
    image = torch.rand(1, 3, 64, 96)
    with torch.inference_mode():
        x = theirs.features[: STRIDE_32 + 1](image)
        assert own(image)[-1].equal(x)
        assert [y.shape[1] for y in own(image)] == [32, 96, 320]


CHECK = """
import sys
from fractions import Fraction
import numpy as np
from masa_cli.detectors.prompt import parse_prompt
from masa_cli.detectors.request import request_prompt
from masa_cli.models import SharedNetworks
from masa_cli.models.adapter import build_adapter
from masa_cli.segmenters import request_segmenter
from masa_cli.structures import Frame
frame = Frame(0, Fraction(0), np.zeros((64, 64, 3), np.uint8))
request_prompt(parse_prompt("person")).build(SharedNetworks(device="cpu")).detect([frame])
box = np.array([[1, 1, 20, 20]], np.float32)
build_adapter("raw", device="cpu").embed([frame], [box])
request_segmenter("lite").build(SharedNetworks(device="cpu")).segment(frame, box)
slow = {"torchvision", "torch._dynamo", "sympy", "transformers", "segment_anything"}
slow |= {"huggingface_hub.file_download"}
heavy = slow & sys.modules.keys()
sys.exit(", ".join(heavy) or 0)
"""


def test_a_run_imports_no_package_that_it_does_not_need(tmp_path):
    nothing = os.environ | {"HF_HOME": str(tmp_path), "HF_HUB_CACHE": str(tmp_path / "hub")}
    done = subprocess.run(
        [sys.executable, "-c", CHECK], capture_output=True, text=True, check=False, env=nothing
    )
    assert done.returncode == 0, done.stderr
