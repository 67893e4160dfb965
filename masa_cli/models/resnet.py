"""ResNet-50 as MASA-R50 has it: torchvision's, with the strides where Caffe has them."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchvision.models import resnet50
from torchvision.models._utils import IntermediateLayerGetter


class ResNet50(IntermediateLayerGetter):  # type: ignore[misc] # torchvision has no types
    """Pictures in, the outputs of the four stages out."""

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
