"""weights/cutouts.py: what it cuts out, and what it does not dare to."""

import importlib.util
import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest


@pytest.fixture(scope="module")
def script():
    file = Path(__file__).parents[1] / "weights/cutouts.py"
    spec = importlib.util.spec_from_file_location("cutouts", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def regions(tmp_path):
    """Discs before a sky: one by itself, one at the border, two that overlap."""
    image = np.full((240, 320, 3), (200, 160, 90), np.uint8)
    image = np.clip(image + np.random.default_rng(0).normal(0, 4, image.shape), 0, 255)
    image = image.astype(np.uint8)
    discs = ((80, 70, 40), (300, 60, 40), (100, 180, 35), (140, 180, 35))
    for x, y, radius in discs:
        cv2.circle(image, (x, y), radius, (30, 40, 180), -1)
    cv2.imwrite(str(tmp_path / "sky.png"), image)
    boxes = [[x - r, y - r, min(2 * r, 320 - x + r), 2 * r] for x, y, r in discs]
    rows = [
        {"id": number, "image_id": 1, "category_id": 1, "bbox": box, "area": box[2] * box[3]}
        for number, box in enumerate(boxes)
    ]
    content = {
        "images": [{"id": 1, "file_name": "sky.png", "height": 240, "width": 320}],
        "annotations": rows,
        "categories": [{"id": 1, "name": "sports ball"}],
    }
    (tmp_path / "regions.json").write_text(json.dumps(content))
    return tmp_path / "regions.json"


def test_only_what_stands_by_itself_is_cut_out(script, regions, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["cutouts.py", str(regions), str(tmp_path / "out")])
    script.main()
    assert "1 cutouts (1 sports ball)" in capsys.readouterr().out
    [file] = (tmp_path / "out").rglob("*.png")
    assert file.parent.name == "sports ball"
    cutout = cv2.imread(str(file), cv2.IMREAD_UNCHANGED)
    height, width = cutout.shape[:2]
    assert (height, width) == pytest.approx((80, 80), abs=3)
    y, x = np.mgrid[:height, :width] + 0.5
    disc = np.hypot(x - width / 2, y - height / 2) < 40
    opaque = cutout[..., 3] > 127
    assert (disc & opaque).sum() / (disc | opaque).sum() > 0.95
    assert np.abs(cutout[opaque][:, :3].astype(int) - (30, 40, 180)).max() < 60
