"""Masks by Segment Anything, prompted with boxes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from masa_cli.models.frame_features import FrameFeatures
from masa_cli.models.pictures import boxes_in_picture
from masa_cli.models.sam_masks import LOGITS_SIDE, SamMasks, build_sam_masks, image_embedding
from masa_cli.segmenters.windows import MaskWindows, WindowSettings
from masa_cli.structures import FloatArray, Frame, Mask

# Boxes the decoder is given at once; it unfolds some 60 MB for each. On a cpu, more are slower.
_AT_ONCE = {"cpu": 2, "cuda": 64, "mps": 16}


def build_sam_segmenter(name: str, weights: Path, features: FrameFeatures) -> SamSegmenter:
    """The segmenter on an encoder of the same file, see `sam_masks`."""
    device = next(features.network.parameters()).device
    return SamSegmenter(features, build_sam_masks(name, weights, device))


class SamSegmenter:
    """Finds what boxes are drawn around; the encoder looks at a frame once, whoever asks first.

    Args:
        features: of the image encoder.
        masks: what is behind it.
        settings: of what becomes of its logits.
    """

    def __init__(
        self, features: FrameFeatures, masks: SamMasks, settings: WindowSettings | None = None
    ) -> None:
        self._features, self._masks = features, masks
        self._settings = settings or WindowSettings()
        self._windows: MaskWindows | None = None  # for frames of the size seen last

    @torch.inference_mode()
    def segment(self, frame: Frame, boxes: FloatArray) -> Sequence[Mask | None]:
        """See `Segmenter`; boxes are cut off at the edges of the frame."""
        masks: list[Mask | None] = [None] * len(boxes)
        height, width = frame.image.shape[:2]
        inside = np.clip(boxes, 0, np.array([width, height, width, height], np.float32))
        rows = np.flatnonzero((inside[:, 2:] > inside[:, :2]).all(axis=1))
        if not len(rows):
            return masks
        seen = self._features.of([frame])
        embedding = image_embedding(self._features, seen)
        prompts = torch.from_numpy(
            boxes_in_picture(inside[rows], frame.image, seen.filled, clips=True)
        ).to(embedding.device)
        windows = self._windows_for(seen.padded[0], seen.filled, (height, width))
        at_once = _AT_ONCE.get(embedding.device.type, 2)
        for start in range(0, len(rows), at_once):
            logits, _ = self._masks(embedding, prompts[start : start + at_once])
            some = rows[start : start + at_once].tolist()
            for row, values in zip(some, logits.cpu().numpy(), strict=True):
                masks[row] = windows.mask(values, inside[row])
        return masks

    def _windows_for(
        self, padded: int, filled: tuple[int, int], size: tuple[int, int]
    ) -> MaskWindows:
        if self._windows is None or self._windows.key != (filled, size):
            self._windows = MaskWindows(LOGITS_SIDE, padded, filled, size, self._settings)
        return self._windows
