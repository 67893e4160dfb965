"""What boxes are found on and described by: fused maps, made once for all who look at a frame."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
from torch import Tensor, nn

from masa_cli.models.frame_features import FrameFeatures
from masa_cli.models.fusion import NoFusion
from masa_cli.structures import Frame


class Pyramid:
    """A neck and a fusion behind a backbone, and what they made last, by the index of the frame.

    As with `FrameFeatures`, only the frames of the last run are remembered.

    Args:
        features: of the backbone.
        neck: its maps to a pyramid.
        fusion: the pyramid to maps that know of each other.
    """

    def __init__(self, features: FrameFeatures, neck: nn.Module, fusion: nn.Module) -> None:
        self.features = features
        self._neck, self._fusion = neck, fusion
        self._made: dict[int, dict[int, Tensor]] = {}

    @staticmethod
    def unfused(features: FrameFeatures) -> Pyramid:
        """The maps of the backbone as they are."""
        return Pyramid(features, nn.Identity(), NoFusion())

    @torch.inference_mode()
    def of(self, frames: Sequence[Frame], levels: Collection[int]) -> dict[int, Tensor]:
        """Levels (B, C, H, W) of frames of one size, at least those that are asked for."""
        known = [self._made.get(frame.index, {}) for frame in frames]
        if all(set(levels) <= each.keys() for each in known):
            return {level: torch.cat([each[level] for each in known]) for level in levels}
        self._made = {}  # let go of the old maps before there are new ones
        maps: dict[int, Tensor] = self._fusion(
            self._neck(self.features.of(frames).maps), set(levels)
        )
        self._made = {
            frame.index: {level: x[place : place + 1] for level, x in maps.items()}
            for place, frame in enumerate(frames)
        }
        return maps
