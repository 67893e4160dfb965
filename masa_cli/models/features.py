"""Frames become network inputs and shared features: each network runs once, whoever asks first."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from threading import Lock
from types import MappingProxyType
from typing import Generic, TypeVar

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from masa_cli.models.device import ready
from masa_cli.models.neck import NUM_LEVELS, NoFusion
from masa_cli.models.variants import Preprocessing
from masa_cli.structures import FloatArray, Frame, Image

T = TypeVar("T")

_FILTERS = MappingProxyType({"linear": cv2.INTER_LINEAR, "area": cv2.INTER_AREA})


def input_size(image: Image, preprocessing: Preprocessing) -> tuple[int, int]:
    """Height and width that a frame is resized to, in its own proportions, before padding."""
    sides = image.shape[:2]
    scale = min(preprocessing.long_side / max(sides), preprocessing.short_side / min(sides))
    if not preprocessing.enlarges:
        scale = min(1.0, scale)
    height, width = (max(1, int(side * scale + 0.5)) for side in sides)
    return height, width


def to_tensor(
    images: Sequence[Image],
    preprocessing: Preprocessing,
    mean: tuple[float, float, float],
    std: tuple[float, float, float],
    device: torch.device,
    dtype: torch.dtype,
) -> tuple[Tensor, tuple[int, int]]:
    """Images of one size as a backbone's input.

    Args:
        images: B images, (H, W, 3) uint8 RGB.
        preprocessing: how to prepare them.
        mean: RGB, of values in 0..1, subtracted.
        std: RGB, by which what is left is divided.
        device: where the tensor shall be.
        dtype: of the tensor.

    Returns:
        (B, 3, height, width), padded at the right and below with the mean colour; height and
        width without the padding.
    """
    if device.type == "cpu" and preprocessing.rounds:
        x, size = _looked_up(images, preprocessing, _values_of_bytes(mean, std))
        return x.to(dtype), size
    resized = np.stack([_resized(image, preprocessing) for image in images])
    # Bytes, where they stay bytes, travel to the device in a quarter of the time.
    x = _sent(torch.from_numpy(resized), device).permute(0, 3, 1, 2)  # (B, 3, height, width)
    x = _normalised(x.float(), mean, std)
    height, width = x.shape[2:]
    x = F.pad(x, (0, -width % preprocessing.divisor, 0, -height % preprocessing.divisor))
    return x.to(dtype), (height, width)


def _sent(x: Tensor, device: torch.device) -> Tensor:
    """A tensor on its way to a device: a GPU fetches pinned memory while this thread goes on."""
    if device.type == "cuda":
        return x.pin_memory().to(device, non_blocking=True)
    return x.to(device)


def _normalised(
    x: Tensor, mean: tuple[float, float, float], std: tuple[float, float, float]
) -> Tensor:
    """(B, 3, H, W) values of 0 to 255 as a network takes them."""
    means, deviations = (
        torch.tensor(values, device=x.device).view(1, 3, 1, 1) * 255 for values in (mean, std)
    )
    return (x - means) / deviations


@cache
def _values_of_bytes(
    mean: tuple[float, float, float], std: tuple[float, float, float]
) -> FloatArray:
    """(1, 256, 3) what each byte of each channel is normalised to: the same numbers, made once."""
    values = torch.arange(256.0).view(1, 1, 1, 256).expand(1, 3, 1, 256)
    found: FloatArray = _normalised(values, mean, std)[0, :, 0].T[None].contiguous().numpy()
    return found


def _looked_up(
    images: Sequence[Image], preprocessing: Preprocessing, values: FloatArray
) -> tuple[Tensor, tuple[int, int]]:
    """As `to_tensor`, in one pass over the resized bytes."""
    height, width = input_size(images[0], preprocessing)
    divisor = preprocessing.divisor
    padded = (height + -height % divisor, width + -width % divisor)
    x = (np.empty if padded == (height, width) else np.zeros)((len(images), *padded, 3), np.float32)
    for image, own in zip(images, x, strict=True):
        cv2.LUT(_resized(image, preprocessing), values, dst=own[:height, :width])
    return torch.from_numpy(x).permute(0, 3, 1, 2), (height, width)  # (B, 3, H, W)


def _resized(image: Image, preprocessing: Preprocessing) -> NDArray[np.uint8] | NDArray[np.float32]:
    height, width = input_size(image, preprocessing)
    source = image if preprocessing.rounds else image.astype(np.float32)
    if (height, width) == image.shape[:2]:
        return source
    return cv2.resize(source, (width, height), interpolation=_FILTERS[preprocessing.filter])  # type: ignore[return-value]


def boxes_in_input(
    boxes: FloatArray, image: Image, size: tuple[int, int], *, clips: bool
) -> FloatArray:
    """Source boxes in the coordinates of the resized preprocessing.

    An image of W pixels spans 0 to W and pixel 0 has its middle at 0.5, in the source as in the
    network input, and so with the cells of a map, whose first spans one stride: that is what
    RoIAlign takes for granted when `aligned`. (By the padding of its convolutions alone, a cell
    would look 3.5 pixels further left and above. By its gradients it does not, and moving the
    boxes to make up for it made embeddings worse.)

    Args:
        boxes: (N, 4) xyxy in source pixels.
        image: the source.
        size: height and width it was resized to.
        clips: whether parts outside the image are cut off.

    Returns:
        (N, 4) float32 xyxy in pixels of the resized preprocessing.
    """
    (height, width), (new_height, new_width) = image.shape[:2], size
    limits = np.array([width, height, width, height], np.float32)
    scale = np.array([new_width, new_height, new_width, new_height], np.float32) / limits
    inside = np.clip(boxes, 0, limits) if clips else boxes
    scaled: FloatArray = (inside * scale).astype(np.float32)
    return scaled


# Images of one size to a backbone's input, (B, 3, H, W), and the height and width in it that are
# no padding.
Prepare = Callable[[Sequence[Image]], tuple[Tensor, tuple[int, int]]]


@dataclass(frozen=True)
class Features:
    """What a backbone makes of B frames of one size.

    Attributes:
        maps: (B, C, h, w) each, finest first.
        padded: height and width of the backbone's input.
        unpadded: height and width of the part that shows the frame; the rest is padding.
    """

    maps: list[Tensor]
    padded: tuple[int, int]
    unpadded: tuple[int, int]

    def of(self, index: int) -> Features:
        """The same for one of the frames."""
        return Features([x[index : index + 1] for x in self.maps], self.padded, self.unpadded)


class _Made(Generic[T]):
    """What was made of the frames of the last runs, by their indices.

    Threads may be at the next frames while boxes of these are described, and the later of two runs
    may be done first; so those of the earliest frames are let go, not those that were made first.

    Attributes:
        num_runs: that are remembered.
    """

    def __init__(self) -> None:
        self.num_runs = 2  # that of a GPU, or of frames of two sizes in one batch
        self._lock = Lock()
        self._runs: tuple[Mapping[int, T], ...] = ()  # is replaced, never changed

    def get(self, index: int) -> T | None:
        """What was made of a frame, if that is remembered."""
        return next((run[index] for run in reversed(self._runs) if index in run), None)

    def add(self, run: Mapping[int, T]) -> None:
        """Remember a run, and no more than there is room for."""
        with self._lock:
            self._runs = (*self._latest(self.num_runs - 1), run)

    def make_room(self) -> None:
        """Let go of a run before there is a new one."""
        with self._lock:
            self._runs = self._latest(self.num_runs - 1)

    def _latest(self, number: int) -> tuple[Mapping[int, T], ...]:
        return tuple(sorted(self._runs, key=min)[-number:] if number else ())


class FrameFeatures:
    """A backbone and what it made last, by the index of the frame.

    Detector and adapter are given the same one; neither knows the other. Only the frames of the
    last two runs are remembered, or of as many as `remember` says, so a run must not be followed by
    one for earlier frames.

    Args:
        network: (B, 3, H, W) to maps; evaluates only, and is where `prepare` puts its tensors.
        prepare: makes its input.

    Attributes:
        dtype: of that input, where `prepared` made this.
    """

    def __init__(self, network: nn.Module, prepare: Prepare) -> None:
        self.network, self.dtype = network, torch.float32
        self._prepare = prepare
        self._made: _Made[Features] = _Made()

    @staticmethod
    def prepared(
        network: nn.Module,
        preprocessing: Preprocessing,
        mean: tuple[float, float, float],
        std: tuple[float, float, float],
        device: torch.device,
        dtype: torch.dtype,
    ) -> FrameFeatures:
        """A network with its weights, made ready; the rest as for `to_tensor`."""

        def prepare(images: Sequence[Image]) -> tuple[Tensor, tuple[int, int]]:
            return to_tensor(images, preprocessing, mean, std, device, features.dtype)

        features = FrameFeatures(ready(network, device, dtype), prepare)
        features.dtype = dtype
        return features

    def remember(self, num_runs: int) -> None:
        """Keep what is made of the frames of so many runs; threads may ask for these at a time."""
        self._made.num_runs = num_runs

    @torch.inference_mode()
    def of(self, frames: Sequence[Frame]) -> Features:
        """The features of frames of one size, in order; those that are new share a forward pass."""
        made = {frame.index: self._made.get(frame.index) for frame in frames}
        if new := [frame for frame in frames if made[frame.index] is None]:
            self._made.make_room()
            x, unpadded = self._prepare([frame.image for frame in new])
            features = Features(self.network(x), (x.shape[2], x.shape[3]), unpadded)
            made |= {frame.index: features.of(index) for index, frame in enumerate(new)}
            self._made.add({index: each for index, each in made.items() if each is not None})
            if len(new) == len(frames):
                return features
        each = [own for frame in frames if (own := made[frame.index]) is not None]
        if len(each) == 1:
            return each[0]
        maps = [torch.cat(level) for level in zip(*(one.maps for one in each), strict=True)]
        return Features(maps, each[0].padded, each[0].unpadded)


class Pyramid:
    """A neck and a fusion behind a backbone, and what they made last, by the index of the frame.

    As with `FrameFeatures`, only the frames of the last runs are remembered.

    Args:
        features: of the backbone.
        neck: its maps to a pyramid.
        fusion: the pyramid to maps that know of each other.
    """

    def __init__(self, features: FrameFeatures, neck: nn.Module, fusion: nn.Module) -> None:
        self.features = features
        self._neck, self._fusion = neck, fusion
        self._convert: Callable[[nn.Module, int], nn.Module] | None = None
        self._converted: dict[int, nn.Module] = {}  # by the finest level that they give
        self._lock = Lock()
        self._made: _Made[dict[int, Tensor]] = _Made()

    @staticmethod
    def unfused(features: FrameFeatures) -> Pyramid:
        """The maps of the backbone as they are."""
        return Pyramid(features, nn.Identity(), NoFusion())

    @torch.inference_mode()
    def of(self, frames: Sequence[Frame], levels: Collection[int]) -> dict[int, Tensor]:
        """Levels (B, C, H, W) of frames of one size, at least those that are asked for."""
        known = [self._made.get(frame.index) or {} for frame in frames]
        if all(set(levels) <= each.keys() for each in known):
            if len(known) == 1:
                return known[0]
            return {level: torch.cat([each[level] for each in known]) for level in levels}
        self._made.make_room()
        maps = self._fused(self.features.of(frames).maps, levels)
        self._made.add(
            {
                frame.index: {level: x[index : index + 1] for level, x in maps.items()}
                for index, frame in enumerate(frames)
            }
        )
        return maps

    def remember(self, num_runs: int) -> None:
        """As of `FrameFeatures`."""
        self._made.num_runs = num_runs

    def convert_with(self, convert: Callable[[nn.Module, int], nn.Module]) -> None:
        """Let another runtime compute the levels; it is given a network and its finest level.

        The network takes a list of the backbone's maps, and gives that level and all coarser ones.
        """
        self._convert = convert

    def _fused(self, maps: list[Tensor], levels: Collection[int]) -> dict[int, Tensor]:
        """At least the levels that are asked for."""
        if self._convert is None:
            fused: dict[int, Tensor] = self._fusion(self._neck(maps), set(levels))
            return fused
        finest = min(levels)
        with self._lock:
            if finest not in self._converted:
                network = _CoarserThan(finest, self._neck, self._fusion)
                self._converted[finest] = self._convert(network, finest)
        return dict(enumerate(self._converted[finest](maps), start=finest))


class _CoarserThan(nn.Module):
    """A neck and a fusion, from one of the levels on."""

    def __init__(self, finest: int, neck: nn.Module, fusion: nn.Module) -> None:
        super().__init__()
        self.neck, self.fusion, self.levels = neck, fusion, range(finest, NUM_LEVELS)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        fused = self.fusion(self.neck(maps), set(self.levels))
        return [fused[level] for level in self.levels]
