"""One backbone for all who look at a frame: it runs once, whoever asks first."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from masa_cli.models.device import ready
from masa_cli.models.neck import NoFusion
from masa_cli.models.variants import Picture
from masa_cli.structures import FloatArray, Frame, Image

_FILTERS = MappingProxyType({"linear": cv2.INTER_LINEAR, "area": cv2.INTER_AREA})


def picture_size(image: Image, picture: Picture) -> tuple[int, int]:
    """Height and width that a frame is resized to, in its own proportions, before padding."""
    sides = image.shape[:2]
    scale = min(picture.long_side / max(sides), picture.short_side / min(sides))
    if not picture.enlarges:
        scale = min(1.0, scale)
    height, width = (max(1, int(side * scale + 0.5)) for side in sides)
    return height, width


def to_tensor(
    images: Sequence[Image],
    picture: Picture,
    mean: tuple[float, float, float],
    std: tuple[float, float, float],
    device: torch.device,
    dtype: torch.dtype,
) -> tuple[Tensor, tuple[int, int]]:
    """Pictures of one size as a backbone's input.

    Args:
        images: B pictures, (H, W, 3) uint8 RGB.
        picture: how to prepare them.
        mean: RGB, of values in 0..1, subtracted.
        std: RGB, by which what is left is divided.
        device: where the tensor shall be.
        dtype: of the tensor.

    Returns:
        (B, 3, height, width), padded at the right and below with the mean colour; height and
        width without the padding.
    """
    resized = np.stack([_resized(image, picture) for image in images])
    # Bytes, where they stay bytes, travel to the device in a quarter of the time.
    x = torch.from_numpy(resized).to(device).permute(0, 3, 1, 2)  # (B, 3, height, width)
    means, deviations = (
        torch.tensor(values, device=device).view(1, 3, 1, 1) * 255 for values in (mean, std)
    )
    x = (x.float() - means) / deviations
    height, width = x.shape[2:]
    x = F.pad(x, (0, -width % picture.divisor, 0, -height % picture.divisor))
    return x.to(dtype), (height, width)


def _resized(image: Image, picture: Picture) -> NDArray[np.uint8] | NDArray[np.float32]:
    height, width = picture_size(image, picture)
    source = image if picture.rounds else image.astype(np.float32)
    if (height, width) == image.shape[:2]:
        return source
    return cv2.resize(source, (width, height), interpolation=_FILTERS[picture.filter])  # type: ignore[return-value]


def boxes_in_picture(
    boxes: FloatArray, image: Image, size: tuple[int, int], *, clips: bool
) -> FloatArray:
    """Source boxes in the coordinates of the resized picture.

    A picture of W pixels spans 0 to W and pixel 0 has its middle at 0.5, in the source as in the
    resized picture, and so with the cells of a map, whose first spans one stride: that is what
    RoIAlign takes for granted when `aligned`. (By the padding of its convolutions alone, a cell
    would look 3.5 pixels further left and above. By its gradients it does not, and moving the
    boxes to make up for it made embeddings worse.)

    Args:
        boxes: (N, 4) xyxy in source pixels.
        image: the source.
        size: height and width it was resized to.
        clips: whether parts outside the image are cut off.

    Returns:
        (N, 4) float32 xyxy in pixels of the resized picture.
    """
    (height, width), (new_height, new_width) = image.shape[:2], size
    limits = np.array([width, height, width, height], np.float32)
    scale = np.array([new_width, new_height, new_width, new_height], np.float32) / limits
    inside = np.clip(boxes, 0, limits) if clips else boxes
    scaled: FloatArray = (inside * scale).astype(np.float32)
    return scaled


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
