"""weights/masks.py: what it learns masks from, and the file it makes."""

import importlib.util
import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco
from safetensors.torch import load_file

from masa_cli.models.trained_weights import describe_trained
from masa_cli.segmenters import SegmenterRequest, segmenter_in
from masa_cli.sources.image_folder import read_image
from masa_cli.training.regions import read_regions
from tests.lite_file import write_lite

FOLDER = Path(__file__).parents[1] / "weights"


@pytest.fixture(scope="module")
def script():
    sys.path.insert(0, str(FOLDER))  # as for a script that is run there
    spec = importlib.util.spec_from_file_location("masks", FOLDER / "masks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    sys.path.remove(str(FOLDER))


def disc(x, y, radius):
    rows, columns = np.mgrid[:160, :200]
    return np.hypot(columns - x, rows - y) < radius


@pytest.fixture
def regions(tmp_path):
    """Eleven pictures of a disc; of the first its mask is known, of the others a box."""
    images, rows = [], []
    for number in range(11):
        pixels = disc(80 + 3 * number, 80, 40)
        image = np.where(pixels[..., None], (40, 60, 200), (190, 170, 90)).astype(np.uint8)
        image += np.random.default_rng(number).integers(0, 9, image.shape, np.uint8)
        cv2.imwrite(str(tmp_path / f"{number}.png"), image)
        images.append({"id": number, "file_name": f"{number}.png", "height": 160, "width": 200})
        row = {"id": number, "image_id": number, "category_id": 1, "area": 5000}
        row["bbox"] = [40 + 3 * number, 40, 80, 80]
        if number == 0:
            packed = coco.encode(np.asfortranarray(pixels, np.uint8))
            row["segmentation"] = {"size": packed["size"], "counts": packed["counts"].decode()}
        rows.append(row)
    categories = [{"id": 1, "name": "sports ball"}]
    content = {"images": images, "annotations": rows, "categories": categories}
    (tmp_path / "regions.json").write_text(json.dumps(content))
    return tmp_path / "regions.json"


def test_masks_are_those_given_or_cut_out(script, regions):
    rows = json.loads(regions.read_text())["annotations"]
    for number in (0, 4):
        own = read_regions(regions)[number]
        grabcut = script.GrabCutSegmenter()
        [pixels] = script.masks_of([rows[number]], own, read_image(own.file), grabcut)
        truth = disc(80 + 3 * number, 80, 40)
        assert (pixels & truth).sum() / (pixels | truth).sum() > (0.999 if number == 0 else 0.93)


@pytest.mark.parametrize(
    ("pixels", "is_object"),
    [
        (disc(100, 80, 40), True),
        (disc(0, 80, 80), False),  # at three borders of the image
        (disc(30, 80, 40), True),  # at one
        (disc(100, 80, 10), False),  # small
        (disc(100, 80, 60) & ~disc(100, 80, 45), False),  # a ring: what is around something
    ],
)
def test_ground_is_not_learned_as_an_object(script, pixels, is_object):
    assert script.is_rather_an_object(pixels) == is_object


def test_a_file_is_made_that_outlines(script, regions, tmp_path, monkeypatch, capsys):
    weights = write_lite(tmp_path / "detector.safetensors")
    out = tmp_path / "lite.safetensors"
    given = [str(weights), str(out), str(regions), "--steps", "2"]
    monkeypatch.setattr(sys, "argv", ["masks.py", *given])
    script.main()
    said = capsys.readouterr().out
    assert "18 masks to learn, 4 held out" in said
    assert "step 2: loss" in said
    assert segmenter_in("lite", out) == SegmenterRequest("lite", out)
    assert describe_trained(out).about == describe_trained(weights).about
    before, after = load_file(weights), load_file(out)
    assert before.keys() == {name for name in after if not name.startswith("masks.")}
