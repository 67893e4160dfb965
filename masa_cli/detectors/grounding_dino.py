"""The detector that finds what a text describes: Grounding-DINO (spec section 8.1)."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor
from torchvision.ops import box_convert, nms

from masa_cli.detectors import DetectorRequest
from masa_cli.detectors.lite import best_large
from masa_cli.detectors.prompt import Caption
from masa_cli.models import SharedNetworks
from masa_cli.models.backbones import build_backbone
from masa_cli.models.device import choose_placement, ready
from masa_cli.models.features import FrameFeatures
from masa_cli.models.grounding_dino_network import GroundingDino, empty_detector
from masa_cli.models.published_weights import load_parts
from masa_cli.models.variants import VARIANTS
from masa_cli.structures import Detections, Frame

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TextModel:
    """How one kind of Grounding-DINO is built."""

    backbone: str  # name in models.backbones.BACKBONES
    channels: tuple[int, ...]  # of the backbone's maps, from fine to coarse
    # The last layer takes a side of a box, or its distance to an edge, for so much if it is less;
    # a part of the picture. Where the network comes from decides.
    min_side: float


# By the names of their weights in the manifest.
TEXT_MODELS: Mapping[str, TextModel] = MappingProxyType(
    {
        "gdino": TextModel("swin-b-12", (256, 512, 1024), min_side=1e-5),
        "gdino-swinb": TextModel("swin-b-12", (256, 512, 1024), min_side=1e-3),
        "gdino-swint": TextModel("swin-t", (192, 384, 768), min_side=1e-3),
    }
)


def build_text_detector(request: DetectorRequest, networks: SharedNetworks) -> TextDetector:
    """The detector for a request; its backbone is shared with an adapter of the same file.

    Raises:
        SettingsError: it cannot work on this machine.
        WeightsError: the file is not that of the model.
    """
    name, weights = request.row.weights, request.weights
    if weights is None:
        raise ValueError(f"{request.row.name} was requested without its weights")
    model, placement = TEXT_MODELS[name], choose_placement(networks.device, networks.precision)
    backbone = build_backbone(model.backbone)
    network = empty_detector(model.channels, model.min_side)
    load_parts(weights, name, {"backbone": backbone, "detector": network})
    # All kinds of Grounding-DINO want the same pictures.
    own = VARIANTS["gdino"]
    preprocessing = own.preprocess_as(networks.preprocessing, networks.side)
    features = FrameFeatures.prepared(backbone, preprocessing, own.mean, own.std, *placement)
    networks.share(name, weights, features)
    ready(network, *placement)
    if networks.converts:
        network.convert_with(
            lambda step, part, example: networks.converted(step, f"{part} of {name}", example)
        )
        logger.info("the decoder of %s stays in torch; OpenVINO computes all before it", name)
    return TextDetector(network, features, request)


class TextDetector:
    """Finds each phrase of a prompt. The prompt is read once, when the detector is made.

    Args:
        network: evaluates only.
        features: of the backbone that belongs to it.
        request: what to look for; its queries are captions.
    """

    def __init__(
        self, network: GroundingDino, features: FrameFeatures, request: DetectorRequest
    ) -> None:
        self._network, self._features = network, features
        self.classes, self._settings = request.classes, request.settings
        captions: Sequence[Caption] = request.queries
        with torch.inference_mode():
            texts = [network.text(each.ids, each.sentences) for each in captions]
            device = texts[0].features.device
            shares = [_shares(caption).to(device) for caption in captions]
            self._captions = list(zip(texts, shares, strict=True))
            self._min_scores = torch.tensor(request.min_scores, device=device)

    def detect(self, frames: Sequence[Frame]) -> list[Detections]:
        """Boxes in source pixels, the best first; frames of one size share a forward pass."""
        by_size: dict[tuple[int, ...], list[int]] = {}
        for index, frame in enumerate(frames):
            by_size.setdefault(frame.image.shape, []).append(index)
        found: dict[int, Detections] = {}
        for indices in by_size.values():
            found.update(zip(indices, self._detect([frames[i] for i in indices]), strict=True))
        return [found[index] for index in range(len(frames))]

    @torch.inference_mode()
    def _detect(self, frames: Sequence[Frame]) -> list[Detections]:
        """The same for frames of one size."""
        seen = self._features.of(frames)
        scores, boxes = [], []
        for text, shares in self._captions:
            logits, found = self._network(
                seen.maps, text, padded=seen.padded, unpadded=seen.unpadded
            )
            scores.append(logits.float().sigmoid() @ shares)  # (B, Q, classes of the caption)
            boxes.append(found)
        height, width = frames[0].image.shape[:2]
        return [
            self._post_process(
                torch.block_diag(*(t[index] for t in scores)),  # type: ignore[no-untyped-call]
                torch.cat([part[index] for part in boxes]),
                (width, height),
            )
            for index in range(len(frames))
        ]

    def _post_process(self, scores: Tensor, boxes: Tensor, size: tuple[int, int]) -> Detections:
        """The detections of one frame.

        Args:
            scores: (Q, classes), 0 for classes that a query was not asked about.
            boxes: (Q, 4), centre x and y, width and height as parts of the frame.
            size: width and height of the frame.
        """
        best, cells = scores.flatten().topk(min(self._settings.max_boxes, scores.numel()))
        labels = cells % scores.shape[1]
        corners = box_convert(boxes[cells // scores.shape[1]], "cxcywh", "xyxy").clamp(0, 1)
        corners = corners * torch.tensor([*size, *size], device=corners.device)
        has_area = (corners[:, 2:] > corners[:, :2]).all(1)
        kept = torch.nonzero((best > 0) & (best >= self._min_scores[labels]) & has_area)[:, 0]
        kept = kept[nms(corners[kept], best[kept], self._settings.max_overlap)]
        found = Detections(*(column[kept].cpu().numpy() for column in (corners, best, labels)))
        return best_large(found, self._settings.min_area, self._settings.max_boxes)


def _shares(caption: Caption) -> Tensor:
    """(tokens, classes) what each token's probability adds to each class: the mean of its own."""
    shares = torch.zeros(len(caption.ids), len(caption.lengths))
    for label, span in enumerate(caption.spans):
        shares[span, label] = 1 / caption.lengths[label]
    return shares
