"""The detector with fixed classes, on the maps that embeddings are made of."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import torch
from torch import Tensor

from masa_cli.boxes import area
from masa_cli.detectors.request import MODEL, ClassSearch, Everything
from masa_cli.errors import WeightsError
from masa_cli.models.device import choose_placement, ready
from masa_cli.models.features import Pyramid
from masa_cli.models.lite_heads import OneStage, OneStageSettings, choose
from masa_cli.models.neck import NUM_LEVELS
from masa_cli.models.published_weights import load_parts
from masa_cli.models.trained_weights import classes_of
from masa_cli.models.variants import find_variant
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


@dataclass(frozen=True, slots=True)
class BoxChoice:
    """Which boxes are given on, and as what.

    Attributes:
        classes: names that labels index.
        columns: for each the scores of the network that it stands for, of which the best counts.
        least: for each the score below which its boxes are left out, 0 to 1.
        max_overlap: IoU above which the weaker of two of one class is left out.
        min_area: smaller boxes are left out, square pixels of the source.
        max_boxes: of one frame, the best.
    """

    classes: tuple[str, ...]
    columns: tuple[tuple[int, ...], ...]
    least: tuple[float, ...]
    max_overlap: float
    min_area: float = 0.0
    max_boxes: int = OneStageSettings().max_boxes


def build_class_detector(
    search: ClassSearch | Everything, pyramid: Pyramid, *, device: str, precision: str
) -> ClassDetector:
    """The detector for a search.

    Args:
        search: what to find: some classes, or any object.
        pyramid: of the same weights.
        device: auto, cpu, cuda or mps.
        precision: float32, bfloat16 or float16.

    Raises:
        SettingsError: it cannot work on this machine.
        WeightsError: the file has no detector, or none for these classes.
    """
    names = classes_of(search.weights)
    choice = (
        _of_classes(search, names) if isinstance(search, ClassSearch) else _of_any(search, names)
    )
    with torch.device("meta"):
        network = OneStage(find_variant(MODEL), names)
    load_parts(search.weights, MODEL, {"detector": network})
    ready(network, *choose_placement(device, precision))
    return ClassDetector(network, pyramid, choice)


def _of_classes(search: ClassSearch, names: Sequence[str]) -> BoxChoice:
    """For the phrases of a prompt."""
    if missing := [name for meaning in search.meanings for name in meaning if name not in names]:
        raise WeightsError(
            f'{search.weights} was not trained to find "{missing[0]}"',
            fix=f"name what it was trained for: {', '.join(names)}",
        )
    return BoxChoice(
        search.classes,
        tuple(tuple(names.index(name) for name in meaning) for meaning in search.meanings),
        tuple(search.prompt.least_scores(search.choice.min_score)),
        search.choice.max_overlap,
    )


def _of_any(search: Everything, names: Sequence[str]) -> BoxChoice:
    """For whatever there is: the last score of the network says so."""
    own = search.choice
    return BoxChoice(
        search.classes,
        ((len(names),),),
        (own.min_score,),
        own.max_overlap,
        own.min_area,
        own.max_objects,
    )


class ClassDetector(OnMaps):
    """Finds objects of some classes, or of any.

    Args:
        network: evaluates only.
        pyramid: the maps it looks at, to be shared with an adapter.
        choice: which boxes are given on.
    """

    def __init__(self, network: OneStage, pyramid: Pyramid, choice: BoxChoice) -> None:
        super().__init__(pyramid)
        self._network, self._choice = network, choice
        self._least = np.array(choice.least, np.float32)
        self._settings = OneStageSettings(
            min_score=float(self._least.min()), max_overlap=choice.max_overlap
        )

    @property
    def classes(self) -> tuple[str, ...]:
        """Names that labels index."""
        return self._choice.classes

    def _found(
        self, levels: Sequence[Tensor], frames: Sequence[Frame], filled: tuple[int, int]
    ) -> list[Detections]:
        logits, boxes = self._network(levels)
        wanted = [logits[..., own].amax(-1) for own in self._choice.columns]
        return [
            self._chosen(own, rows, frame, filled)
            for own, rows, frame in zip(torch.stack(wanted, dim=-1), boxes, frames, strict=True)
        ]

    def _chosen(
        self, logits: Tensor, boxes: Tensor, frame: Frame, filled: tuple[int, int]
    ) -> Detections:
        found, *rest = choose(logits, boxes, filled, self._settings)
        scores, labels = (x.cpu().numpy() for x in rest)
        shown = Detections(in_source(found, frame, filled), scores, labels.astype(np.int64))
        sure = shown[scores >= self._least[labels]]
        return best_large(sure, self._choice.min_area, self._choice.max_boxes)
