"""The detector that finds what a text describes: Grounding-DINO (spec section 8.1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.ops import box_convert, nms

from masa_cli.detectors.prompt import Prompt
from masa_cli.detectors.tokens import Caption
from masa_cli.models.frame_features import FrameFeatures
from masa_cli.models.grounding_dino import GroundingDino
from masa_cli.structures import Detections, Frame

MAX_BOXES = 300  # of one frame, as in the official code


@dataclass(frozen=True, slots=True)
class Choice:
    """Which boxes are given on; `EVERYTHING` is the official code's."""

    min_score: float = 0.2  # boxes below it are left out, where the prompt says nothing else
    max_overlap: float = 0.7  # IoU above which the weaker of two boxes, of any class, is left out


EVERYTHING = Choice(min_score=0.0, max_overlap=1.0)


class TextDetector:
    """Finds each phrase of a prompt. The prompt is read once, when the detector is made.

    Args:
        network: evaluates only.
        features: of the backbone that belongs to it.
        prompt: its phrases are the classes.
        captions: the prompt's tokens.
        choice: which boxes are given on.
    """

    def __init__(
        self,
        network: GroundingDino,
        features: FrameFeatures,
        prompt: Prompt,
        captions: Sequence[Caption],
        choice: Choice,
    ) -> None:
        self._network, self._features, self._prompt = network, features, prompt
        self._max_overlap = choice.max_overlap
        with torch.inference_mode():
            self._texts = [network.text(caption.ids, caption.sentences) for caption in captions]
            device = self._texts[0].features.device
            self._shares = [_shares(caption).to(device) for caption in captions]
            self._least = torch.tensor(prompt.least_scores(choice.min_score), device=device)

    @property
    def classes(self) -> tuple[str, ...]:
        """The phrases of the prompt."""
        return self._prompt.classes

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
        seen = self._features.of(frames)
        scores, boxes = [], []
        for text, shares in zip(self._texts, self._shares, strict=True):
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
        kept = kept[nms(corners[kept], best[kept], self._max_overlap)]
        return Detections(*(column[kept].cpu().numpy() for column in (corners, best, labels)))


def _shares(caption: Caption) -> Tensor:
    """(tokens, classes) what each token's probability adds to each class: the mean of its own."""
    shares = torch.zeros(len(caption.ids), len(caption.lengths))
    for label, span in enumerate(caption.spans):
        shares[span, label] = 1 / caption.lengths[label]
    return shares
