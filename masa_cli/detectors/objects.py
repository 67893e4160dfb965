"""The detector of objects of any class, on the maps that embeddings are made of (spec 7)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import numpy as np
import torch
from torch import Tensor

from masa_cli.boxes import area
from masa_cli.detectors.everything import Everything, ObjectChoice
from masa_cli.models.checkpoint_file import load_parts
from masa_cli.models.device import choose_placement
from masa_cli.models.folding import ready
from masa_cli.models.fpn import NUM_LEVELS
from masa_cli.models.objects import ObjectFinder, ObjectSettings
from masa_cli.models.pyramid import Pyramid
from masa_cli.models.variants import find_variant
from masa_cli.structures import Detections, Frame


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


class ObjectDetector:
    """Finds objects.

    Args:
        finder: evaluates only; gives more boxes than are wanted.
        pyramid: the maps it looks at, to be shared with an adapter.
        choice: which objects are given on.
    """

    classes = ("object",)

    def __init__(self, finder: ObjectFinder, pyramid: Pyramid, choice: ObjectChoice) -> None:
        self._finder, self._pyramid, self._choice = finder, pyramid, choice

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
        levels = [maps[level] for level in range(NUM_LEVELS)]
        found = []
        for place, frame in enumerate(frames):
            boxes, scores = self._finder([x[place : place + 1] for x in levels], filled)
            found.append(self._choose(boxes, scores, frame, filled))
        return found

    def _choose(
        self, found: Tensor, scores: Tensor, frame: Frame, filled: tuple[int, int]
    ) -> Detections:
        """The detections of one frame, of boxes (N, 4) in its picture and their scores (N,)."""
        height, width = frame.image.shape[:2]
        scale = np.tile([width / filled[1], height / filled[0]], 2).astype(np.float32)
        boxes = found.float().cpu().numpy() * scale
        areas = area(boxes)
        kept = np.flatnonzero((areas > 0) & (areas >= self._choice.min_area))
        kept = kept[: self._choice.max_objects]
        return Detections(
            boxes[kept], scores.float().cpu().numpy()[kept], np.zeros(len(kept), np.int64)
        )
