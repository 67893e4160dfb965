"""What detectors have in common that look at the maps that embeddings are made of."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import groupby

import numpy as np
import torch
from torch import Tensor

from masa_cli.boxes import area
from masa_cli.models.fpn import NUM_LEVELS
from masa_cli.models.pyramid import Pyramid
from masa_cli.structures import Detections, FloatArray, Frame


class OnMaps(ABC):
    """Finds boxes on the levels of a pyramid.

    Args:
        pyramid: the maps it looks at, to be shared with an adapter.
    """

    def __init__(self, pyramid: Pyramid) -> None:
        self._pyramid = pyramid

    def detect(self, frames: Sequence[Frame]) -> list[Detections]:
        """Boxes in source pixels, the best first; neighbours of one size share a forward pass."""
        found = []
        for _, run in groupby(frames, lambda frame: frame.image.shape):
            found += self._detect(list(run))
        return found

    @torch.inference_mode()
    def _detect(self, frames: Sequence[Frame]) -> list[Detections]:
        """The same for frames of one size."""
        filled = self._pyramid.features.of(frames).filled
        maps = self._pyramid.of(frames, range(NUM_LEVELS))
        return self._found([maps[level] for level in range(NUM_LEVELS)], frames, filled)

    @abstractmethod
    def _found(
        self, levels: Sequence[Tensor], frames: Sequence[Frame], filled: tuple[int, int]
    ) -> list[Detections]:
        """What there is in each frame.

        Args:
            levels: (B, C, H, W) each.
            frames: B.
            filled: height and width of the pictures without padding.
        """


def in_source(boxes: Tensor, frame: Frame, filled: tuple[int, int]) -> FloatArray:
    """(N, 4) boxes of a picture in the pixels of its frame."""
    height, width = frame.image.shape[:2]
    scale = np.tile([width / filled[1], height / filled[0]], 2).astype(np.float32)
    scaled: FloatArray = boxes.float().cpu().numpy() * scale
    return scaled


def best_large(found: Detections, min_area: float, most: int) -> Detections:
    """The first `most` boxes that have an area, and at least that one, square pixels."""
    areas = area(found.boxes)
    return found[(areas > 0) & (areas >= min_area)][:most]
