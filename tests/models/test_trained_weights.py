"""What training exports is found again by everything that loads adapters."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from masa_cli.errors import WeightsError
from masa_cli.models.adapter import build_adapter, resolve
from masa_cli.models.published_weights import load_parts
from masa_cli.models.trained_weights import describe_trained, save_trained
from masa_cli.structures import Frame
from masa_cli.training.objectives import OBJECTIVES, initial_weights
from masa_cli.training.validation import adapter_of
from masa_cli.weights import manifest as packaged
from tests.training.networks import lite


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    file = tmp_path_factory.mktemp("run") / "best.safetensors"
    parts = initial_weights(
        "lite-learned", list(OBJECTIVES.values()), ("object",), start=None, weights_dir=None, seed=3
    )
    save_trained(file, "lite-learned", parts, {"seed": 3})
    return file


def test_a_trained_file_says_what_it_is(trained):
    assert resolve(str(trained)) == ("lite-learned", trained)
    assert describe_trained(trained).about == {"seed": 3}


def test_the_adapter_of_a_file_is_the_network_that_was_trained(tmp_path):
    trainee = lite(seed=5).eval()
    save_trained(tmp_path / "x.safetensors", "lite-learned", dict(trainee.parts), {})
    image = np.random.default_rng(0).integers(0, 255, (120, 160, 3), np.uint8)
    boxes = np.array([[10, 10, 60, 90], [0, 0, 160, 120]], np.float32)
    frame = Frame(0, 0, image)
    (expected,) = adapter_of(trainee).embed([frame], [boxes])
    adapter = build_adapter("lite-learned", weights=tmp_path / "x.safetensors", device="cpu")
    (found,) = adapter.embed([frame], [boxes])
    assert found.shape == (2, 256)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_file_that_version_0_1_0_trained_is_of_the_row_it_was_trained_as(tmp_path):
    parts = dict(lite(seed=5).eval().parts)
    save_trained(tmp_path / "old.safetensors", "lite", parts, {"trained": {}, "scores": {}})
    assert resolve(str(tmp_path / "old.safetensors"))[0] == "lite-learned"
    frame = Frame(0, 0, np.full((64, 64, 3), 90, np.uint8))
    boxes = np.array([[0, 0, 32, 40]], np.float32)
    save_trained(tmp_path / "new.safetensors", "lite-learned", parts, {})
    rows = []
    for name in ("old", "new"):
        variant, weights = resolve(str(tmp_path / f"{name}.safetensors"))
        adapter = build_adapter(variant, weights=weights, device="cpu")
        rows += adapter.embed([frame], [boxes])
    np.testing.assert_allclose(*rows, atol=1e-6)  # tensors lie elsewhere in the two files


def test_half_numbers_come_back_as_float32(tmp_path):
    part = nn.Linear(3, 2)
    save_trained(tmp_path / "half.safetensors", "lite", {"x": part}, {}, torch.float16)
    again = nn.Linear(3, 2)
    load_parts(tmp_path / "half.safetensors", "lite", {"x": again})
    assert again.weight.dtype == torch.float32
    torch.testing.assert_close(again.weight, part.weight, atol=1e-3, rtol=1e-3)


def test_lite_by_name_is_the_file_that_comes_with_the_program(tmp_path, monkeypatch):
    monkeypatch.setattr(packaged, "FOLDERS", (tmp_path,))
    with pytest.raises(WeightsError, match="do not come with this installation") as caught:
        resolve("lite")
    assert "masa train run" in caught.value.fix
    (tmp_path / "lite.safetensors").write_bytes(b"its own")
    assert resolve("lite") == ("lite", tmp_path / "lite.safetensors")


def test_files_that_are_none_of_ours_are_refused(trained, tmp_path):
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(trained.read_bytes()[:1000])
    with pytest.raises(WeightsError, match="damaged"):
        resolve(str(cut))
    other = tmp_path / "other.safetensors"
    save_trained(other, "no-such", {"x": nn.Linear(1, 1)}, {})
    with pytest.raises(WeightsError, match="unknown variant"):
        resolve(str(other))
    with pytest.raises(WeightsError, match="cannot be read"):
        resolve(str(tmp_path / "none.safetensors"))


@pytest.mark.parametrize("part", [nn.Linear(5, 2), nn.Linear(3, 2, bias=False)])
def test_weights_of_another_shape_are_refused_and_nothing_is_changed(tmp_path, part):
    save_trained(tmp_path / "x.safetensors", "lite", {"x": nn.Linear(3, 2)}, {})
    before = part.weight.clone()
    with pytest.raises(WeightsError, match="does not fit"):
        load_parts(tmp_path / "x.safetensors", "lite", {"x": part})
    assert torch.equal(part.weight, before)
    with pytest.raises(WeightsError, match="of lite, not of r50"):
        load_parts(tmp_path / "x.safetensors", "r50", {"x": nn.Linear(3, 2)})


@pytest.mark.parametrize(
    ("about", "said"),
    [
        ([1], "must be an object"),
        ({"classes": "person"}, '"classes" .* a list of names'),
        ({"objectness": [0.5]}, '"objectness" .* two numbers'),
        ({"association": ["birth_score=0.5"]}, '"association" .* by name'),
        ({"association of objects": {"hybrid": "x"}}, '"association of objects" .* by name'),
    ],
)
def test_a_header_that_cannot_be_is_refused_by_what_is_wrong(tmp_path, about, said):
    file = tmp_path / "x.safetensors"
    save_trained(file, "lite", {"head": nn.Linear(1, 1)}, about)
    with pytest.raises(WeightsError, match=said):
        describe_trained(file)


def test_a_header_that_is_no_json_is_refused(tmp_path):
    file = tmp_path / "x.safetensors"
    save_file({"head.x": torch.zeros(1)}, file, {"masa.variant": "lite", "masa.about": "{"})
    with pytest.raises(WeightsError, match="no JSON"):
        describe_trained(file)
