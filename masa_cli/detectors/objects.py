"""The detector of objects of any class, on the maps that embeddings are made of (spec 7)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from masa_cli.detectors.everything import Everything, ObjectChoice
from masa_cli.detectors.on_maps import OnMaps, best_large, in_source
from masa_cli.models.checkpoint_file import load_parts
from masa_cli.models.device import choose_placement
from masa_cli.models.folding import ready
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
