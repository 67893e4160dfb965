"""The adapter: frames and boxes in, embeddings that tell objects apart out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.ops import roi_align

from masa_cli.models.backbones import Backbone, load_backbone
from masa_cli.models.device import choose_placement
from masa_cli.models.pictures import boxes_in_picture, reduced_size, to_tensor
from masa_cli.models.scene_mean import SceneMean
from masa_cli.models.variants import Variant, find_variant
from masa_cli.structures import FloatArray, Frame, State

# RoIAlign reads 2x2 points per cell of its grid, whatever the size of the box: a box that fills the
# frame costs no more than others.
_POINTS_PER_CELL = 2


def build_adapter(name: str, *, device: str = "auto", precision: str = "float32") -> Adapter:
    """The adapter of that name, ready to embed.

    Args:
        name: one of `variants.VARIANTS`.
        device: auto, cpu, cuda or mps.
        precision: of the network; float32, bfloat16 or float16. Embeddings are always float32.

    Raises:
        SettingsError: for an unknown name, or one that cannot work on this machine.
    """
    variant = find_variant(name)
    placement = choose_placement(device, precision)
    return Adapter(variant, load_backbone(variant.backbone), *placement)


class Adapter:
    """Describes boxes by what the backbone sees in them: horizontal stripes, centred, of length 1.

    It remembers the mean of the frames it has seen (`SceneMean`), so frames must come in order;
    how they are split into calls changes nothing beyond float noise.

    Args:
        variant: how embeddings are made.
        backbone: is moved to `device` and `dtype`.
        device: where the network runs.
        dtype: what it computes in.
    """

    def __init__(
        self, variant: Variant, backbone: Backbone, device: torch.device, dtype: torch.dtype
    ) -> None:
        self._variant = variant
        self._backbone = backbone
        network = backbone.network.to(device, dtype)
        # The order in memory in which convolutions are a third faster on the cpu.
        self._network = network.to(memory_format=torch.channels_last)
        self._device, self._dtype = device, dtype
        self._scene = SceneMean(backbone.channels)

    @property
    def temperature(self) -> float:
        """Dot products of embeddings are divided by it before a softmax."""
        return self._variant.temperature

    @property
    def dim(self) -> int:
        """Numbers per embedding."""
        return self._backbone.channels * self._variant.rows

    def embed(self, frames: Sequence[Frame], boxes: Sequence[FloatArray]) -> list[FloatArray]:
        """Embeddings of the boxes of each frame, in order.

        Frames of one size share a forward pass; a frame without boxes is not looked at.

        Args:
            frames: the next frames of the video, with pictures wherever there are boxes.
            boxes: (N, 4) xyxy in source pixels for each frame.

        Returns:
            (N, dim) float32 for each frame, rows of length 1 (of 0 for a box that looks exactly
            like the mean of everything).
        """
        by_size: dict[tuple[int, ...], list[int]] = {}
        for place, (frame, rows) in enumerate(zip(frames, boxes, strict=True)):
            if len(rows):
                by_size.setdefault(frame.image.shape, []).append(place)
        looks: dict[int, tuple[FloatArray, FloatArray]] = {}
        for places in by_size.values():
            same_size = [frames[place] for place in places], [boxes[place] for place in places]
            looks.update(zip(places, self._look(*same_size), strict=True))
        # In the order of the frames, as the mean needs it.
        none = np.empty((0, self.dim), np.float32)
        return [
            _unit_rows(self._centred(*looks[place])) if place in looks else none
            for place in range(len(frames))
        ]

    def state(self) -> State:
        """What `restore` needs."""
        return self._scene.state()

    def restore(self, state: State) -> None:
        """Go on from a `state()`."""
        self._scene.restore(state)

    @torch.inference_mode()
    def _look(
        self, frames: Sequence[Frame], boxes: Sequence[FloatArray]
    ) -> list[tuple[FloatArray, FloatArray]]:
        """Each frame's mean over its map, (C,), and its boxes' stripes, (N, C, rows)."""
        variant, backbone = self._variant, self._backbone
        images = [frame.image for frame in frames]
        if not images[0].size:
            raise ValueError(f"frame {frames[0].index} has boxes to embed, but no picture")
        size = reduced_size(images[0], variant.max_side)
        x = to_tensor(images, size, backbone, self._device, self._dtype)
        x = self._network(x)  # (B, C, H/stride, W/stride)
        x = x.float().contiguous()  # RoIAlign knows float32 on every device
        rois = [
            torch.from_numpy(boxes_in_picture(rows, images[0], size)).to(self._device)
            for rows in boxes
        ]
        grid = (variant.rows, variant.columns)
        cells: Tensor = roi_align(x, rois, grid, 1 / backbone.stride, _POINTS_PER_CELL, True)
        stripes = cells.mean(dim=3)  # (boxes of all frames, C, rows)
        means = x.mean(dim=(2, 3)).cpu().numpy()  # (B, C)
        ends = np.cumsum([len(rows) for rows in boxes])
        return list(zip(means, np.split(stripes.cpu().numpy(), ends[:-1]), strict=True))

    def _centred(self, frame: FloatArray, stripes: FloatArray) -> NDArray[np.float64]:
        """(N, C, rows) stripes minus the mean of all frames up to theirs, whose own is (C,)."""
        return stripes - self._scene.after(frame)[:, None]


def _unit_rows(vectors: NDArray[np.float64]) -> FloatArray:
    """(N, ...) arrays as (N, dim) float32 rows of length 1; zeros stay zeros."""
    rows = vectors.reshape(len(vectors), -1)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    units: FloatArray = (rows / np.maximum(lengths, 1e-12)).astype(np.float32)
    return units
