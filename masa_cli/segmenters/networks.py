"""Masks by published networks: Segment Anything's decoder, and Detic's own.

Both read maps that detector and adapter may share, so a frame is looked at once.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
import torch

from masa_cli.masks import pack
from masa_cli.models import SharedNetworks
from masa_cli.models.detic import DeticMasks, paste
from masa_cli.models.device import choose_placement, ready
from masa_cli.models.features import FrameFeatures, Pyramid, boxes_in_input
from masa_cli.models.neck import NUM_LEVELS
from masa_cli.models.published_weights import load_parts
from masa_cli.models.sam import LOGITS_SIDE, SamMasks, build_sam_masks, image_embedding
from masa_cli.segmenters import SegmenterRequest
from masa_cli.segmenters.upsampling import MaskWindows, WindowSettings
from masa_cli.structures import FloatArray, Frame, Mask

logger = logging.getLogger(__name__)

# Boxes that the decoder of Segment Anything is given at once; it unfolds some 60 MB for each. On a
# cpu, more are slower.
_SAM_AT_ONCE = {"cpu": 2, "cuda": 64, "mps": 16}


def build_sam_segmenter(request: SegmenterRequest, networks: SharedNetworks) -> SamSegmenter:
    """The segmenter on an encoder of the same file, see `build_sam_masks`."""
    weights = request.file
    features = networks.backbone(request.name, weights)
    device = next(features.network.parameters()).device
    if networks.converts:
        logger.info("the decoder of %s stays in torch; OpenVINO computes its encoder", request.name)
    return SamSegmenter(features, build_sam_masks(request.name, weights, device))


def build_detic_segmenter(request: SegmenterRequest, networks: SharedNetworks) -> DeticSegmenter:
    """The masks of the detector in a file, on the maps that it finds boxes on.

    Raises:
        WeightsError: the file is not that of the detector.
    """
    name, weights = request.name, request.file
    pyramid = networks.detector_pyramid(name, weights)
    with torch.device("meta"):
        masks = DeticMasks()
    load_parts(weights, name, {"masks": masks})
    ready(masks, *choose_placement(networks.device, networks.precision))
    return DeticSegmenter(pyramid, masks)


class DeticSegmenter:
    """Detic's own masks: of 28 x 28 points over a box, whatever class it has.

    Args:
        pyramid: the maps, to be shared with the detector.
        masks: evaluates only.
    """

    def __init__(self, pyramid: Pyramid, masks: DeticMasks) -> None:
        self._pyramid, self._masks = pyramid, masks

    @torch.inference_mode()
    def segment(self, frame: Frame, boxes: FloatArray) -> Sequence[Mask | None]:
        """See `Segmenter`; boxes are cut off at the edges of the frame."""
        found: list[Mask | None] = [None] * len(boxes)
        size = frame.image.shape[0], frame.image.shape[1]
        inside = np.clip(boxes, 0, np.array([size[1], size[0]] * 2, np.float32))
        rows = np.flatnonzero((inside[:, 2:] > inside[:, :2]).all(axis=1))
        if not len(rows):
            return found
        maps = self._pyramid.of([frame], range(NUM_LEVELS))
        levels = [maps[level] for level in range(NUM_LEVELS)]
        unpadded = self._pyramid.features.of([frame]).unpadded
        shown = boxes_in_input(inside[rows], frame.image, unpadded, clips=True)
        masks = self._masks(levels, torch.from_numpy(shown).to(levels[0].device)).cpu()
        for row, probabilities in zip(rows.tolist(), masks, strict=True):
            pixels, corner = paste(probabilities, torch.from_numpy(inside[row]), size)
            found[row] = pack(pixels.numpy(), corner, size)
        return found


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
            boxes_in_input(inside[rows], frame.image, seen.unpadded, clips=True)
        ).to(embedding.device)
        windows = self._windows_for(seen.padded[0], seen.unpadded, (height, width))
        at_once = _SAM_AT_ONCE.get(embedding.device.type, 2)
        for start in range(0, len(rows), at_once):
            logits, _ = self._masks(embedding, prompts[start : start + at_once])
            some = rows[start : start + at_once].tolist()
            for row, values in zip(some, logits.cpu().numpy(), strict=True):
                masks[row] = windows.mask(values, inside[row])
        return masks

    def _windows_for(
        self, padded: int, unpadded: tuple[int, int], size: tuple[int, int]
    ) -> MaskWindows:
        if self._windows is None or self._windows.key != (unpadded, size):
            self._windows = MaskWindows(LOGITS_SIDE, padded, unpadded, size, self._settings)
        return self._windows
