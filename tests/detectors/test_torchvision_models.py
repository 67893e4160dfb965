"""Detectors of torchvision: its own boxes, from a file or from its cache."""

from fractions import Fraction

import numpy as np
import pytest
import torch
import torchvision

from masa_cli.detectors import ModelOptions
from masa_cli.detectors.prompt import parse_prompt
from masa_cli.detectors.request import request_prompt
from masa_cli.errors import SettingsError, WeightsError
from masa_cli.models import SharedNetworks
from masa_cli.structures import Frame

NAME = "ssdlite320_mobilenet_v3_large"
SETTINGS = {"min_score": 0.02}


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """Random weights of the smallest one, for three classes and none."""
    torch.manual_seed(0)
    model = torchvision.models.get_model(NAME, weights=None, weights_backbone=None, num_classes=4)
    path = tmp_path_factory.mktemp("weights") / "own.pth"
    torch.save(model.state_dict(), path)
    return path


@pytest.fixture
def names(tmp_path):
    path = tmp_path / "names.txt"
    path.write_text("cat\nperson\nvan\n")
    return path


def request(model, prompt=None, names=None, **further):
    wanted = parse_prompt(prompt) if prompt else None
    options = ModelOptions(names=names)
    return request_prompt(wanted, f"torchvision:{model}", SETTINGS, options=options, **further)


def test_a_file_gives_the_boxes_of_the_library(file, names):
    image = np.random.default_rng(0).integers(0, 255, (90, 160, 3), np.uint8)
    model = torchvision.models.get_model(NAME, weights=None, weights_backbone=None, num_classes=4)
    model.load_state_dict(torch.load(file, weights_only=True))
    with torch.inference_mode():
        (expected,) = model.eval()([torch.from_numpy(image).permute(2, 0, 1) / 255])
    sure = expected["scores"].numpy() >= 0.02
    detector = request(f"{NAME}@{file}", names=names).build(SharedNetworks())
    assert detector.classes == ("cat", "person", "van")
    found, again = detector.detect([Frame(i, Fraction(i), image) for i in range(2)])
    assert len(found) == len(again) == sure.sum() > 0
    np.testing.assert_allclose(found.scores, expected["scores"][sure], atol=1e-4)
    order, other = (np.lexsort(b.T) for b in (found.boxes, expected["boxes"].numpy()[sure]))
    np.testing.assert_allclose(
        found.boxes[order], expected["boxes"].numpy()[sure][other], atol=1e-2
    )
    np.testing.assert_array_equal(found.labels[order] + 1, expected["labels"].numpy()[sure][other])


def test_weights_are_found_in_the_cache_of_torch(file, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(
        WeightsError, match=f"of torchvision:{NAME} .* are not on this machine"
    ) as e:
        request(NAME)
    assert f"masa weights pull torchvision:{NAME}" in e.value.fix
    weights = torchvision.models.get_model_weights(NAME).DEFAULT
    (tmp_path / "checkpoints").mkdir()
    place = tmp_path / "checkpoints" / weights.url.rpartition("/")[2]
    place.touch()
    wanted = request(NAME, "people, traffic light")
    assert wanted.weights == place
    assert wanted.queries[-1].meanings == ((1,), (10,))  # COCO's own numbers
    assert len(request(NAME).classes) == 80


def test_what_does_not_fit_is_told(file, names, tmp_path):
    with pytest.raises(SettingsError, match='no detector "yolo"') as caught:
        request("yolo")
    assert NAME in caught.value.fix
    with pytest.raises(WeightsError, match=r"none.pth is not a file"):
        request(f"{NAME}@none.pth")
    with pytest.raises(WeightsError, match=r"does not hold the weights of ssdlite320.* 91 classes"):
        request(f"{NAME}@{file}").build(SharedNetworks())
    (tmp_path / "bad.pth").write_bytes(b"nothing")
    with pytest.raises(WeightsError, match="does not hold the weights"):
        request(f"{NAME}@{tmp_path / 'bad.pth'}").build(SharedNetworks())
    with pytest.raises(SettingsError, match="sees images of one size"):
        request(f"{NAME}@{file}", names=names).build(SharedNetworks(side=320))
    with pytest.raises(SettingsError, match='does not know "unicorn"'):
        request(f"{NAME}@{file}", "unicorn", names=names)
