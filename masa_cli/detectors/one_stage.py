"""The detector with fixed classes, on the maps that embeddings are made of."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import numpy as np
import torch
from torch import Tensor

from masa_cli.detectors.class_search import MODEL, ClassSearch
from masa_cli.errors import WeightsError
from masa_cli.models.checkpoint_file import load_parts
from masa_cli.models.device import choose_placement
from masa_cli.models.folding import ready
from masa_cli.models.fpn import NUM_LEVELS
from masa_cli.models.one_stage import OneStage, OneStageSettings, choose
from masa_cli.models.pyramid import Pyramid
from masa_cli.models.trained_file import classes_of
from masa_cli.models.variants import find_variant
from masa_cli.structures import Detections, Frame


def build_class_detector(
    search: ClassSearch, pyramid: Pyramid, *, device: str, precision: str
) -> ClassDetector:
    """The detector for a search.

    Args:
        search: what to find.
        pyramid: of the same weights.
        device: auto, cpu, cuda or mps.
        precision: float32, bfloat16 or float16.

    Raises:
        SettingsError: it cannot work on this machine.
        WeightsError: the file has no detector, or none for these classes.
    """
    names = classes_of(search.weights)
    if missing := [name for meaning in search.meanings for name in meaning if name not in names]:
        raise WeightsError(
            f'{search.weights} was not trained to find "{missing[0]}"',
            fix=f"name what it was trained for: {', '.join(names)}",
        )
    with torch.device("meta"):
        network = OneStage(find_variant(MODEL), names)
    load_parts(search.weights, MODEL, {"detector": network})
    ready(network, *choose_placement(device, precision))
    columns = [[names.index(name) for name in meaning] for meaning in search.meanings]
    return ClassDetector(network, pyramid, search, columns)


class ClassDetector:
    """Finds objects of the classes that a prompt names.

    Args:
        network: evaluates only.
        pyramid: the maps it looks at, to be shared with an adapter.
        search: which boxes are given on.
        columns: for each phrase the classes of the network it stands for.
    """

    def __init__(
        self,
        network: OneStage,
        pyramid: Pyramid,
        search: ClassSearch,
        columns: Sequence[Sequence[int]],
    ) -> None:
        self._network, self._pyramid, self._columns = network, pyramid, columns
        self.classes = search.classes
        self._least = np.array(search.prompt.least_scores(search.choice.min_score), np.float32)
        self._settings = OneStageSettings(
            min_score=float(self._least.min()), max_overlap=search.choice.max_overlap
        )

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
        logits, boxes = self._network([maps[level] for level in range(NUM_LEVELS)])
        phrases = torch.stack([logits[..., own].amax(-1) for own in self._columns], dim=-1)
        return [
            self._chosen(own, rows, frame, filled)
            for own, rows, frame in zip(phrases, boxes, frames, strict=True)
        ]

    def _chosen(
        self, logits: Tensor, boxes: Tensor, frame: Frame, filled: tuple[int, int]
    ) -> Detections:
        shown, scores, labels = (
            x.cpu().numpy() for x in choose(logits, boxes, filled, self._settings)
        )
        height, width = frame.image.shape[:2]
        scale = np.tile([width / filled[1], height / filled[0]], 2).astype(np.float32)
        kept = (scores >= self._least[labels]) & (shown[:, 2:] > shown[:, :2]).all(axis=1)
        return Detections(shown[kept] * scale, scores[kept], labels[kept].astype(np.int64))
