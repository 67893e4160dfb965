"""The backbones by name, each a thin wrapper of a well-kept network, imported when it is built."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import cast

from torch import nn

# ruff: noqa: PLC0415 - the packages behind some backbones take seconds to import


def build_backbone(name: str) -> nn.Module:
    """(B, 3, H, W) normalised RGB to a list of maps, from fine to coarse.

    Its weights are still to be loaded: `checkpoint_file.load_parts`, or `load_packaged`.
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
    from masa_cli.models.mobilenet import STRIDE_8, mobilenet

    return mobilenet([STRIDE_8])


def _mobilenet_v2_pyramid() -> nn.Module:
    from masa_cli.models.mobilenet import STRIDE_8, STRIDE_16, STRIDE_32, mobilenet

    return mobilenet([STRIDE_8, STRIDE_16, STRIDE_32])


def _fill_mobilenet(backbone: nn.Module) -> None:
    from masa_cli.models.mobilenet import MobileNet, fill_from_package

    fill_from_package(cast(MobileNet, backbone))


def _resnet_50() -> nn.Module:
    from masa_cli.models.resnet import resnet_50

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
    from masa_cli.models.sam import sam_vit

    return sam_vit(channels=768, depth=12, num_heads=12)


def _sam_vit_l() -> nn.Module:
    from masa_cli.models.sam import sam_vit

    return sam_vit(channels=1024, depth=24, num_heads=16)


def _sam_vit_h() -> nn.Module:
    from masa_cli.models.sam import sam_vit

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
