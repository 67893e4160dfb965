"""One backbone for all who look at a frame: it runs once, whoever asks first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from masa_cli.models.folding import ready
from masa_cli.models.pictures import to_tensor
from masa_cli.models.variants import Picture
from masa_cli.structures import Frame, Image

# Pictures of one size to a backbone's input, (B, 3, H, W), and the height and width in it that are
# no padding.
Prepare = Callable[[Sequence[Image]], tuple[Tensor, tuple[int, int]]]


@dataclass(frozen=True)
class Features:
    """What a backbone sees in B frames of one size.

    Attributes:
        maps: (B, C, h, w) each, finest first.
        padded: height and width of the backbone's input.
        filled: height and width of the part that shows the frame; the rest is padding.
    """

    maps: list[Tensor]
    padded: tuple[int, int]
    filled: tuple[int, int]

    def of(self, place: int) -> Features:
        """The same for one of the frames."""
        return Features([x[place : place + 1] for x in self.maps], self.padded, self.filled)


class FrameFeatures:
    """A backbone and what it saw last, by the index of the frame.

    Detector and adapter are given the same one; neither knows the other. Only the frames of the
    last run are remembered, so a run must not be followed by one for earlier frames.

    Args:
        network: (B, 3, H, W) to maps; evaluates only, and is where `prepare` puts its tensors.
        prepare: makes its input.
    """

    def __init__(self, network: nn.Module, prepare: Prepare) -> None:
        self.network = network
        self._prepare = prepare
        self._seen: dict[int, Features] = {}

    @staticmethod
    def prepared(
        network: nn.Module,
        picture: Picture,
        mean: tuple[float, float, float],
        std: tuple[float, float, float],
        device: torch.device,
        dtype: torch.dtype,
    ) -> FrameFeatures:
        """A network with its weights, made ready; the rest as for `pictures.to_tensor`."""

        def prepare(images: Sequence[Image]) -> tuple[Tensor, tuple[int, int]]:
            return to_tensor(images, picture, mean, std, device, dtype)

        return FrameFeatures(ready(network, device, dtype), prepare)

    @torch.inference_mode()
    def of(self, frames: Sequence[Frame]) -> Features:
        """What is seen in frames of one size, in order; those not seen yet share a forward pass."""
        new = [frame for frame in frames if frame.index not in self._seen]
        if new:
            x, filled = self._prepare([frame.image for frame in new])
            seen = Features(self.network(x), (x.shape[2], x.shape[3]), filled)
            known = {frame.index for frame in frames} - {frame.index for frame in new}
            self._seen = {index: self._seen[index] for index in known}
            self._seen |= {frame.index: seen.of(place) for place, frame in enumerate(new)}
            if len(new) == len(frames):
                return seen
        each = [self._seen[frame.index] for frame in frames]
        maps = [torch.cat(level) for level in zip(*(one.maps for one in each), strict=True)]
        return Features(maps, each[0].padded, each[0].filled)
