"""The detector that finds what a text describes: Grounding-DINO (spec section 8.1)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.ops import box_convert, nms

from masa_cli.detectors.prompt import Caption
from masa_cli.detectors.request import TEXT_MODELS, TextSearch
from masa_cli.models.backbones import build_backbone
from masa_cli.models.device import choose_placement, ready
from masa_cli.models.features import FrameFeatures
from masa_cli.models.grounding_dino_network import GroundingDino, empty_detector
from masa_cli.models.published_weights import load_parts
from masa_cli.models.variants import VARIANTS
from masa_cli.structures import Detections, Frame

MAX_BOXES = 300  # of one frame, as in the official code


def build_text_detector(
    search: TextSearch, *, device: str, precision: str, preparation: str, side: int | None = None
) -> TextDetector:
    """The detector for a search, ready to detect.

    Args:
        search: what to look for, and with what.
        device: auto, cpu, cuda or mps.
        precision: float32, bfloat16 or float16.
        preparation: how frames become pictures, a name in `variants.PREPARATIONS`.
        side: pixels that the longer side of frames is fitted to instead of the usual size.

    Raises:
        SettingsError: it cannot work on this machine.
        WeightsError: the file is not that of the model.
    """
    model, placement = TEXT_MODELS[search.model], choose_placement(device, precision)
    backbone = build_backbone(model.backbone)
    network = empty_detector(model.channels, model.least_side)
    load_parts(search.weights, search.model, {"backbone": backbone, "detector": network})
    # All kinds of Grounding-DINO want the same pictures.
    own = VARIANTS["gdino"]
    features = FrameFeatures.prepared(
        backbone, own.picture(preparation, side), own.mean, own.std, *placement
    )
    ready(network, *placement)
    return TextDetector(network, features, search)


class TextDetector:
    """Finds each phrase of a prompt. The prompt is read once, when the detector is made.

    Args:
        network: evaluates only.
        features: of the backbone that belongs to it.
        search: what to look for.

    Attributes:
        features: to be shared with an adapter on the same backbone.
    """

    def __init__(self, network: GroundingDino, features: FrameFeatures, search: TextSearch) -> None:
        self._network, self.features, self._search = network, features, search
        with torch.inference_mode():
            texts = [network.text(each.ids, each.sentences) for each in search.captions]
            device = texts[0].features.device
            shares = [_shares(caption).to(device) for caption in search.captions]
            self._captions = list(zip(texts, shares, strict=True))
            least = search.prompt.least_scores(search.choice.min_score)
            self._least = torch.tensor(least, device=device)

    @property
    def classes(self) -> tuple[str, ...]:
        """The phrases of the prompt."""
        return self._search.classes

    def detect(self, frames: Sequence[Frame]) -> list[Detections]:
        """Boxes in source pixels, the best first; frames of one size share a forward pass."""
        by_size: dict[tuple[int, ...], list[int]] = {}
        for place, frame in enumerate(frames):
            by_size.setdefault(frame.image.shape, []).append(place)
        found: dict[int, Detections] = {}
        for places in by_size.values():
            found.update(zip(places, self._detect([frames[p] for p in places]), strict=True))
        return [found[place] for place in range(len(frames))]

    @torch.inference_mode()
    def _detect(self, frames: Sequence[Frame]) -> list[Detections]:
        """The same for frames of one size."""
        seen = self.features.of(frames)
        scores, boxes = [], []
        for text, shares in self._captions:
            logits, found = self._network(seen.maps, text, padded=seen.padded, filled=seen.filled)
            scores.append(logits.float().sigmoid() @ shares)  # (B, Q, classes of the caption)
            boxes.append(found)
        height, width = frames[0].image.shape[:2]
        return [
            self._choose(
                torch.block_diag(*(t[place] for t in scores)),  # type: ignore[no-untyped-call]
                torch.cat([part[place] for part in boxes]),
                (width, height),
            )
            for place in range(len(frames))
        ]

    def _choose(self, scores: Tensor, boxes: Tensor, size: tuple[int, int]) -> Detections:
        """The detections of one frame.

        Args:
            scores: (Q, classes), 0 for classes that a query was not asked about.
            boxes: (Q, 4), centre x and y, width and height as parts of the frame.
            size: width and height of the frame.
        """
        best, places = scores.flatten().topk(min(MAX_BOXES, scores.numel()))
        labels = places % scores.shape[1]
        corners = box_convert(boxes[places // scores.shape[1]], "cxcywh", "xyxy").clamp(0, 1)
        corners = corners * torch.tensor([*size, *size], device=corners.device)
        has_area = (corners[:, 2:] > corners[:, :2]).all(1)
        kept = torch.nonzero((best > 0) & (best >= self._least[labels]) & has_area)[:, 0]
        kept = kept[nms(corners[kept], best[kept], self._search.choice.max_overlap)]
        return Detections(*(column[kept].cpu().numpy() for column in (corners, best, labels)))


def _shares(caption: Caption) -> Tensor:
    """(tokens, classes) what each token's probability adds to each class: the mean of its own."""
    shares = torch.zeros(len(caption.ids), len(caption.lengths))
    for label, span in enumerate(caption.spans):
        shares[span, label] = 1 / caption.lengths[label]
    return shares
