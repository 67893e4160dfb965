"""The detector of objects of any class, on the maps that embeddings are made of (spec 7)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from segment_anything import SamAutomaticMaskGenerator, SamPredictor
from segment_anything.modeling import Sam
from torch import Tensor

from masa_cli.boxes import xywh_to_xyxy
from masa_cli.detectors.lite import OnMaps, best_large, in_source
from masa_cli.detectors.request import Everything, ObjectChoice
from masa_cli.masks import as_array
from masa_cli.models.device import choose_placement, ready
from masa_cli.models.features import FrameFeatures, Pyramid
from masa_cli.models.object_branch import ObjectFinder, ObjectSettings
from masa_cli.models.published_weights import load_parts
from masa_cli.models.sam import SamMasks, build_sam_masks, image_embedding
from masa_cli.models.variants import find_variant
from masa_cli.structures import Detections, Frame, Image, Mask


def build_object_detector(
    search: Everything, pyramid: Pyramid, *, device: str, precision: str
) -> ObjectDetector:
    """The detector for a search.

    Args:
        search: what to find, and with what.
        pyramid: of the same model.
        device: auto, cpu, cuda or mps.
        precision: float32, bfloat16 or float16.

    Raises:
        SettingsError: it cannot work on this machine.
        WeightsError: the file is not that of the model.
    """
    choice, most = search.choice, ObjectSettings().max_proposals
    settings = ObjectSettings(
        min_score=choice.min_score, max_overlap=choice.max_overlap, max_boxes=most
    )
    with torch.device("meta"):
        finder = ObjectFinder(find_variant(search.model), settings)
    load_parts(search.weights, search.model, {"objects": finder})
    ready(finder, *choose_placement(device, precision))
    return ObjectDetector(finder, pyramid, choice)


class ObjectDetector(OnMaps):
    """Finds objects.

    Args:
        finder: evaluates only; gives more boxes than are wanted.
        pyramid: the maps it looks at, to be shared with an adapter.
        choice: which objects are given on.
    """

    classes = ("object",)

    def __init__(self, finder: ObjectFinder, pyramid: Pyramid, choice: ObjectChoice) -> None:
        super().__init__(pyramid)
        self._finder, self._choice = finder, choice

    def _found(
        self, levels: Sequence[Tensor], frames: Sequence[Frame], filled: tuple[int, int]
    ) -> list[Detections]:
        found = []
        for place, frame in enumerate(frames):
            boxes, scores = self._finder([x[place : place + 1] for x in levels], filled)
            shown = Detections(
                in_source(boxes, frame, filled),
                scores.float().cpu().numpy(),
                np.zeros(len(boxes), np.int64),
            )
            found.append(best_large(shown, self._choice.min_area, self._choice.max_objects))
        return found


def build_grid_detector(search: Everything, features: FrameFeatures) -> GridDetector:
    """The detector for a search, on an encoder of the same file.

    Raises:
        WeightsError: the file is not that of the model.
    """
    device = next(features.network.parameters()).device
    masks = build_sam_masks(search.model, search.weights, device)
    return GridDetector(features, masks, search.choice)


class GridDetector:
    """Finds objects with their masks; a score is what the decoder thinks of its mask.

    Args:
        features: of the image encoder.
        masks: what is behind it.
        choice: which objects are given on.
    """

    classes = ("object",)

    def __init__(self, features: FrameFeatures, masks: SamMasks, choice: ObjectChoice) -> None:
        sam = Sam(features.network, masks.prompt_encoder, masks.mask_decoder).eval()
        sam = sam.to(next(masks.parameters()).device)
        self._generator = SamAutomaticMaskGenerator(
            sam, box_nms_thresh=choice.max_overlap, output_mode="coco_rle"
        )
        self._generator.predictor = self._predictor = _SharedPredictor(sam, features)
        self._choice = choice

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
        sure = detections[detections.scores > self._choice.min_score]
        return best_large(sure, self._choice.min_area, self._choice.max_objects)


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
        self.original_size, self.input_size = image.shape[:2], seen.filled
        self.is_image_set = True
