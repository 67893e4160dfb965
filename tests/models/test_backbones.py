"""Every backbone of the table gives the maps its variant counts on."""

import pytest
import torch
from torch import nn

from masa_cli.detectors.text_search import TEXT_MODELS
from masa_cli.models.backbones import BACKBONES, build_backbone
from masa_cli.models.folding import ready
from masa_cli.models.resnet import resnet_50
from masa_cli.models.sam_variants import SAM_VARIANTS
from masa_cli.models.variants import VARIANTS

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
