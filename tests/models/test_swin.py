"""Swin-B of groundingdino-py against the official backbone."""

import sys

import pytest
import torch

from masa_cli.models.checkpoint_file import load_parts
from masa_cli.models.swin import swin_b
from tests.golden import assert_samples_close, golden
from tests.recipe import published_state_dict, recipe_input


@pytest.fixture(scope="module")
def swin(tmp_path_factory):
    file = tmp_path_factory.mktemp("swin") / "gdino.pth"
    torch.save(published_state_dict("gdino", ["detector.backbone."]), file)
    network = swin_b(window=12).eval()
    load_parts(file, "gdino", {"backbone": network})
    file.unlink()
    return network


def test_the_maps_are_those_of_the_official_backbone(swin):
    file = golden("full/full_gdino")
    with torch.inference_mode():
        maps = swin(recipe_input("image/gdino", tuple(file["image_shape"])))
    for level, x in enumerate(maps):
        assert_samples_close(x, file, f"backbone_{level}")


@pytest.mark.parametrize("size", [(97, 200), (32, 32), (61, 33)])
def test_pictures_of_any_size_give_maps_of_strides_8_16_and_32(swin, size):
    with torch.inference_mode():
        maps = swin(torch.zeros(2, 3, *size))
    expected = [
        (2, 128 * 2**level, *(-(-side // 2 ** (level + 2)) for side in size)) for level in (1, 2, 3)
    ]
    assert [tuple(x.shape) for x in maps] == expected


def test_window_7_is_that_of_detic():
    assert swin_b(window=7).layers[0].blocks[0].attn.relative_position_bias_table.shape == (169, 4)


def test_building_leaves_torchs_random_numbers_alone():
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    swin_b(window=7)
    assert torch.rand(1) == expected


def test_groundingdino_py_is_used_without_nltk_and_compiled_operators():
    assert "groundingdino" in sys.modules
    assert not {"nltk", "groundingdino._C"} & set(sys.modules)
