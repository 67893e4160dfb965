"""The detector of objects of any class, on the maps that embeddings are made of (spec 7)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from segment_anything import SamAutomaticMaskGenerator, SamPredictor
from segment_anything.modeling import Sam
from torch import Tensor

from masa_cli.boxes import xywh_to_xyxy
from masa_cli.detectors import BoxSettings, DetectorRequest
from masa_cli.detectors.lite import OnMaps, best_large, in_source
from masa_cli.masks import as_array
from masa_cli.models import SharedNetworks
from masa_cli.models.device import choose_placement, ready
from masa_cli.models.features import FrameFeatures, Pyramid
from masa_cli.models.object_branch import ObjectFinder, ObjectSettings
from masa_cli.models.published_weights import load_parts
from masa_cli.models.sam import SamMasks, build_sam_masks, image_embedding
from masa_cli.models.variants import find_variant
from masa_cli.structures import Detections, Frame, Image, Mask


def build_adapter_detector(request: DetectorRequest, networks: SharedNetworks) -> ObjectDetector:
    """The detector by the branch that MASA learned for it, on maps of the same weights.

    Raises:
        SettingsError: it cannot work on this machine.
        WeightsError: the file is not that of the model.
    """
    name, weights, own = request.row.weights, _weights_of(request), request.settings
    settings = ObjectSettings(
        min_score=own.min_score,
        max_overlap=own.max_overlap,
        max_boxes=ObjectSettings().max_proposals,
    )
    pyramid = networks.pyramid(name, weights)
    with torch.device("meta"):
        finder = ObjectFinder(find_variant(name), settings)
    load_parts(weights, name, {"objects": finder})
    ready(finder, *choose_placement(networks.device, networks.precision))
    return ObjectDetector(finder, pyramid, own)


def build_grid_detector(request: DetectorRequest, networks: SharedNetworks) -> GridDetector:
    """The detector that asks for masks at a grid of points, on the encoder of the same weights.

    Raises:
        SettingsError, WeightsError: as `build_adapter_detector`.
    """
    name, weights = request.row.weights, _weights_of(request)
    features = networks.backbone(name, weights)
    device = next(features.network.parameters()).device
    return GridDetector(features, build_sam_masks(name, weights, device), request.settings)


def _weights_of(request: DetectorRequest) -> Path:
    if request.weights is None:
        raise ValueError(f"{request.row.name} was requested without its weights")
    return request.weights


class ObjectDetector(OnMaps):
    """Finds objects.

    Args:
        finder: evaluates only; gives more boxes than are wanted.
        pyramid: the maps it looks at, to be shared with an adapter.
        settings: which of the boxes are returned.
    """

    classes = ("object",)

    def __init__(self, finder: ObjectFinder, pyramid: Pyramid, settings: BoxSettings) -> None:
        super().__init__(pyramid)
        self._finder, self._settings = finder, settings

    def _found(
        self, levels: Sequence[Tensor], frames: Sequence[Frame], unpadded: tuple[int, int]
    ) -> list[Detections]:
        found = []
        for index, frame in enumerate(frames):
            boxes, scores = self._finder([x[index : index + 1] for x in levels], unpadded)
            shown = Detections(
                in_source(boxes, frame, unpadded),
                scores.float().cpu().numpy(),
                np.zeros(len(boxes), np.int64),
            )
            found.append(best_large(shown, self._settings.min_area, self._settings.max_boxes))
        return found


class GridDetector:
    """Finds objects with their masks; a score is what the decoder thinks of its mask.

    Args:
        features: of the image encoder.
        masks: what is behind it.
        settings: which of the boxes are returned.
    """

    classes = ("object",)

    def __init__(self, features: FrameFeatures, masks: SamMasks, settings: BoxSettings) -> None:
        sam = Sam(features.network, masks.prompt_encoder, masks.mask_decoder).eval()
        sam = sam.to(next(masks.parameters()).device)
        self._generator = SamAutomaticMaskGenerator(
            sam, box_nms_thresh=settings.max_overlap, output_mode="coco_rle"
        )
        self._generator.predictor = self._predictor = _SharedPredictor(sam, features)
        self._settings = settings

    def detect(self, frames: Sequence[Frame]) -> list[Detections]:
        """Boxes around masks, in source pixels, the best first."""
        return [self._detect(frame) for frame in frames]

    def _detect(self, frame: Frame) -> Detections:
        self._predictor.frame = frame
        found = self._generator.generate(frame.image)  # the best first
        boxes = np.array([record["bbox"] for record in found], np.float32).reshape(-1, 4)
        boxes[:, 2:] += 1  # their last pixel is inside
        size = frame.image.shape[:2]
        detections = Detections(
            xywh_to_xyxy(boxes),
            np.array([record["predicted_iou"] for record in found], np.float32),
            np.zeros(len(found), np.int64),
            as_array([Mask(size, record["segmentation"]["counts"]) for record in found]),
        )
        sure = detections[detections.scores > self._settings.min_score]
        return best_large(sure, self._settings.min_area, self._settings.max_boxes)


class _SharedPredictor(SamPredictor):  # type: ignore[misc] # segment-anything has no types
    """Takes the embedding of a frame from the shared encoder.

    Attributes:
        frame: whose image will be set next.
    """

    frame: Frame

    def __init__(self, sam: Sam, features: FrameFeatures) -> None:
        super().__init__(sam)
        self._shared = features

    @torch.inference_mode()
    def set_image(self, image: Image, image_format: str = "RGB") -> None:
        """Look at `frame`; the image is that of the frame."""
        seen = self._shared.of([self.frame])
        self.features = image_embedding(self._shared, seen)
        self.original_size, self.input_size = image.shape[:2], seen.unpadded
        self.is_image_set = True
