"""Masks by the small network of `lite`, on maps that detector and adapter may share.

A file of its own, for Segment Anything's package, which others need, is slow to import.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from masa_cli.masks import pack
from masa_cli.models import SharedNetworks
from masa_cli.models.features import Pyramid, boxes_in_input
from masa_cli.models.lite_heads import CELLS, MARGIN, PART, SIDE, MaskHead, mask_input
from masa_cli.models.published_weights import load_parts
from masa_cli.models.runtime import one_thread_beside
from masa_cli.models.variants import find_variant
from masa_cli.segmenters import SegmenterRequest
from masa_cli.segmenters.upsampling import WindowSettings, without_specks
from masa_cli.structures import BoolArray, FloatArray, Frame, Image, Mask

_AT_ONCE = 64  # boxes that are looked at together; each unfolds about 2 MB
_MIN_POINT = 1e-3  # pixels; so that boxes without area are no special case
_TO_POINTS = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP


def build_learned_segmenter(
    request: SegmenterRequest, networks: SharedNetworks
) -> LearnedSegmenter:
    """The segmenter in a file of weights of the variant of its name, on its own maps.

    Raises:
        WeightsError: there is none in it.
    """
    name, weights = request.name, request.file
    pyramid, variant = networks.pyramid(name, weights), find_variant(name)
    with torch.device("meta"):
        head = MaskHead(variant)
    load_parts(weights, name, {PART: head})
    device = next(pyramid.features.network.parameters()).device
    head = head.eval().to(device)
    own = networks.converted(
        head,
        f"the masks of {name}",
        lambda: [torch.zeros(2, len(head.scale.weight), CELLS, CELLS)],
        "float32",
        varies=True,
        is_one=True,
    )
    return LearnedSegmenter(pyramid, own, variant.strides[0])


class LearnedSegmenter:
    """Finds what boxes are drawn around; a mask never leaves its box.

    Args:
        pyramid: the maps, to be shared with detector and adapter.
        head: a `MaskHead`, which evaluates only, in float32.
        stride: pixels of the picture per cell of the finest maps.
        settings: of what becomes of its answers.
    """

    def __init__(
        self,
        pyramid: Pyramid,
        head: nn.Module,
        stride: int,
        settings: WindowSettings | None = None,
    ) -> None:
        self._pyramid, self._head, self._stride = pyramid, head, stride
        self._settings = settings or WindowSettings()

    @torch.inference_mode()
    def segment(self, frame: Frame, boxes: FloatArray) -> Sequence[Mask | None]:
        """See `Segmenter`; boxes are cut off at the edges of the frame."""
        masks: list[Mask | None] = []
        for start in range(0, len(boxes), _AT_ONCE):
            some = boxes[start : start + _AT_ONCE]
            looked_at = with_margins(some)
            with one_thread_beside(self._head):
                logits = self._head(self.cells(frame, looked_at)).cpu().numpy()
            for row in range(len(some)):
                masks.append(self._mask(frame.image, some[row], looked_at[row], logits[row]))
        return masks

    @torch.inference_mode()
    def cells(self, frame: Frame, boxes: FloatArray) -> Tensor:
        """What the network is given of (N, 4) boxes, which have their margins: (N, C, 28, 28)."""
        seen = self._pyramid.features.of([frame])
        fused = self._pyramid.of([frame], [0])[0]
        shown = boxes_in_input(boxes, frame.image, seen.unpadded, clips=False)
        colours = np.stack([points_of(frame.image, box) for box in boxes]).transpose(0, 3, 1, 2)
        return mask_input(
            [seen.maps[0], fused],
            self._stride,
            torch.from_numpy(shown).to(fused.device),
            torch.from_numpy(colours).to(fused.device).float() / 127.5 - 1,
        )

    def _mask(
        self, image: Image, box: FloatArray, looked_at: FloatArray, logits: FloatArray
    ) -> Mask | None:
        height, width = image.shape[:2]
        limits = np.array([width, height])
        start = np.clip(np.floor(box[:2]), 0, limits).astype(int)
        size = np.clip(np.ceil(box[2:]), 0, limits).astype(int) - start
        if (size <= 0).any():
            return None
        points = np.maximum((looked_at[2:] - looked_at[:2]) / SIDE, _MIN_POINT)
        matrix = _from_middles(1 / points, (start - looked_at[:2]) / points)
        pixels: BoolArray = (
            np.asarray(cv2.warpAffine(logits, matrix, size.tolist(), flags=_TO_POINTS)) > 0
        )
        if not pixels.any():
            return None
        solid = without_specks(pixels, self._settings.speck_share)
        return pack(solid, (int(start[0]), int(start[1])), (height, width))


def with_margins(boxes: FloatArray) -> FloatArray:
    """(N, 4) boxes and what is looked at around them."""
    margins = (boxes[:, 2:] - boxes[:, :2]) * np.float32(MARGIN)
    return np.concatenate([boxes[:, :2] - margins, boxes[:, 2:] + margins], axis=1)


def points_of(image: NDArray[np.uint8], box: FloatArray) -> NDArray[np.uint8]:
    """(112, 112) or (112, 112, 3) what a box shows; outside the image, that goes on as it ends."""
    points = np.maximum((box[2:] - box[:2]) / SIDE, _MIN_POINT)  # pixels of the image
    # Of large boxes four places are read for each point: fine patterns must not look coarse.
    finer = 2 if points.max() > 1 else 1
    part = cv2.warpAffine(
        image,
        _from_middles(points / finer, box[:2]),
        (SIDE * finer, SIDE * finer),
        flags=_TO_POINTS,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return cv2.resize(part, (SIDE, SIDE), interpolation=cv2.INTER_AREA)  # type: ignore[return-value]


def _from_middles(scale: NDArray[np.floating], start: NDArray[np.floating]) -> NDArray[np.float64]:
    """(2, 3) the matrix from pixels of a target to those of a source, as OpenCV counts them.

    Args:
        scale: pixels of the source per pixel of the target, x and y.
        start: where in the source the target's corner is.
    """
    shift = start + scale / 2 - 0.5  # OpenCV counts from the middle of the first pixel
    return np.array([[scale[0], 0, shift[0]], [0, scale[1], shift[1]]], np.float64)
