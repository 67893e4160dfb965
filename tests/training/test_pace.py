"""A quickened network is the same function, with the same gradients and names."""

import copy

import pytest
import torch
from torch import nn

from masa_cli.models.backbones import mobilenet
from masa_cli.training.training_run import quicken


@pytest.fixture
def network():
    """The backbone of lite up to stride 16, its statistics as if it had learned some."""
    torch.manual_seed(0)
    network = mobilenet([6, 8]).to_empty(device="cpu")
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight)
        elif isinstance(layer, nn.BatchNorm2d):
            for each, low, high in (
                (layer.weight, 0.5, 1.5),
                (layer.bias, -0.5, 0.5),
                (layer.running_mean, -0.5, 0.5),
                (layer.running_var, 0.5, 2.0),
            ):
                nn.init.uniform_(each, low, high)
    return network.eval()


@pytest.fixture
def images():
    return torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))


def learned(network, images):
    """Its maps, and by name the gradients of a loss of them."""
    maps = network(images)
    sum(x.square().mean() for x in maps).backward()
    return maps, {name: weight.grad for name, weight in network.named_parameters()}


def test_outputs_and_gradients_are_those_of_the_network(network, images):
    quick = copy.deepcopy(network)
    quicken(quick)
    assert list(quick.state_dict()) == list(network.state_dict())
    (own, gradients), (maps, quick_gradients) = learned(network, images), learned(quick, images)
    for x, y in zip(own, maps, strict=True):
        torch.testing.assert_close(x, y, rtol=1e-4, atol=1e-4)
    for name, gradient in gradients.items():
        spread = float(gradient.abs().max())
        torch.testing.assert_close(quick_gradients[name], gradient, rtol=0, atol=1e-3 * spread)


def test_statistics_that_are_learned_still_are(network, images):
    quicken(network)
    before = network.state_dict()["0.1.running_mean"].clone()
    network.train()(images)
    assert not torch.equal(network.state_dict()["0.1.running_mean"], before)


@pytest.mark.parametrize("learns", [True, False])
def test_only_depthwise_convolutions_that_learn_stay_in_float32(network, images, learns):
    quicken(network.requires_grad_(learns))
    types = {}
    for layer in network.modules():
        if isinstance(layer, nn.Sequential) and isinstance(layer[0], nn.Conv2d) and len(layer) == 3:
            layer.register_forward_hook(
                lambda layer, _, y: types.update({layer[0].groups > 1: y.dtype})
            )
    with torch.autocast("cpu", torch.bfloat16):
        network(images)
    assert types == {True: torch.float32 if learns else torch.bfloat16, False: torch.bfloat16}
