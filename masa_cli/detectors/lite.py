"""The detector with fixed classes, on the maps that embeddings are made of."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from masa_cli.boxes import area
from masa_cli.detectors import DetectorRequest
from masa_cli.errors import WeightsError
from masa_cli.models import SharedNetworks, example_levels
from masa_cli.models.device import choose_placement, ready
from masa_cli.models.features import Pyramid
from masa_cli.models.lite_heads import (
    SECOND_PART,
    OneStage,
    OneStageSettings,
    ProposalSettings,
    SecondStage,
    postprocess,
    read_boxes,
    select_proposals,
    shifted,
)
from masa_cli.models.neck import NUM_LEVELS
from masa_cli.models.operators import clip_boxes
from masa_cli.models.published_weights import load_parts
from masa_cli.models.runtime import one_thread_beside
from masa_cli.models.trained_weights import classes_of, has_part, objectness_of
from masa_cli.models.variants import find_variant
from masa_cli.structures import Detections, FloatArray, Frame, of_one_size


class OnMaps(ABC):
    """Finds boxes on the levels of a pyramid.

    Args:
        pyramid: the maps it looks at, to be shared with an adapter.
    """

    def __init__(self, pyramid: Pyramid) -> None:
        self._pyramid = pyramid

    def detect(self, frames: Sequence[Frame]) -> list[Detections]:
        """Boxes in source pixels, the best first; neighbours of one size share a forward pass."""
        return [found for run in of_one_size(frames) for found in self._detect(run)]

    @torch.inference_mode()
    def _detect(self, frames: Sequence[Frame]) -> list[Detections]:
        """The same for frames of one size."""
        unpadded = self._pyramid.features.of(frames).unpadded
        maps = self._pyramid.of(frames, range(NUM_LEVELS))
        return self._found([maps[level] for level in range(NUM_LEVELS)], frames, unpadded)

    @abstractmethod
    def _found(
        self, levels: Sequence[Tensor], frames: Sequence[Frame], unpadded: tuple[int, int]
    ) -> list[Detections]:
        """What there is in each frame.

        Args:
            levels: (B, C, H, W) each.
            frames: B.
            unpadded: height and width of the pictures without padding.
        """


def in_source(boxes: Tensor, frame: Frame, unpadded: tuple[int, int]) -> FloatArray:
    """(N, 4) boxes of a picture in the pixels of its frame."""
    height, width = frame.image.shape[:2]
    scale = np.tile([width / unpadded[1], height / unpadded[0]], 2).astype(np.float32)
    scaled: FloatArray = boxes.float().cpu().numpy() * scale
    return scaled


def best_large(found: Detections, min_area: float, max_boxes: int) -> Detections:
    """The first `max_boxes` boxes that have an area, and at least that one, square pixels."""
    areas = area(found.boxes)
    return found[(areas > 0) & (areas >= min_area)][:max_boxes]


def build_class_detector(request: DetectorRequest, networks: SharedNetworks) -> ClassDetector:
    """The detector for a request, on maps of the same weights.

    Raises:
        SettingsError: it cannot work on this machine.
        WeightsError: the file has no detector, or none for these classes.
    """
    name, weights = request.row.weights, request.weights
    if weights is None:
        raise ValueError(f"{request.row.name} was requested without its weights")
    names = classes_of(weights)
    columns = _columns(request, names)
    own, pyramid = first_stage(name, weights, networks)
    if request.prompt is None:
        return ClassDetector(own, pyramid, request, columns, objectness=objectness_of(weights))
    has_second = has_part(weights, SECOND_PART)
    second = _refiner(name, weights, pyramid, networks, len(names)) if has_second else None
    return ClassDetector(own, pyramid, request, columns, second)


def first_stage(name: str, weights: Path, networks: SharedNetworks) -> tuple[nn.Module, Pyramid]:
    """The `OneStage` in a file of a variant, as the runtime computes it, and the maps it reads.

    Raises:
        WeightsError: the file has no detector.
    """
    with torch.device("meta"):
        network = OneStage(find_variant(name), classes_of(weights))
    pyramid = networks.pyramid(name, weights)
    load_parts(weights, name, {"detector": network})
    ready(network, *choose_placement(networks.device, networks.precision))
    own = networks.converted(network, f"the detector of {name}", lambda: [example_levels(name)])
    return own, pyramid


def _refiner(
    name: str, weights: Path, pyramid: Pyramid, networks: SharedNetworks, num_classes: int
) -> BoxRefiner:
    variant = find_variant(name)
    with torch.device("meta"):
        stage = SecondStage(variant, num_classes)
    load_parts(weights, name, {SECOND_PART: stage})
    device, _ = choose_placement(networks.device, networks.precision)
    ready(stage, device, torch.float32)
    read, logits = stage.num_read, num_classes + 1
    own = networks.converted(
        stage,
        f"the second stage of {name}",
        lambda: [torch.zeros(2, read), torch.zeros(2, logits)],
        "float32",
        varies=True,
        is_one=True,
    )
    return BoxRefiner(own, stage.narrow, pyramid, variant.strides)


def _columns(request: DetectorRequest, names: Sequence[str]) -> tuple[tuple[int, ...], ...]:
    """For each class of a request the scores of the network, whose last one says: any object."""
    if request.prompt is None:
        return ((len(names),),)
    if missing := [name for meaning in request.queries for name in meaning if name not in names]:
        raise WeightsError(
            f'{request.weights} was not trained to find "{missing[0]}"',
            fix=f"name what it was trained for: {', '.join(names)}",
        )
    return tuple(tuple(names.index(name) for name in meaning) for meaning in request.queries)


class BoxRefiner:
    """Classifies and places the best boxes of frames anew.

    Args:
        stage: a `SecondStage`, which evaluates only, in float32.
        narrow: what that reads of the backbone's maps.
        pyramid: the maps that the boxes come from.
        strides: of the backbone's maps, pixels of the network input per cell.
        settings: which boxes these are.
    """

    def __init__(
        self,
        stage: nn.Module,
        narrow: Callable[[Sequence[Tensor]], Sequence[Tensor]],
        pyramid: Pyramid,
        strides: Sequence[int],
        settings: ProposalSettings | None = None,
    ) -> None:
        self._stage, self._narrow = stage, narrow
        self._pyramid, self._strides = pyramid, strides
        self._settings = settings or ProposalSettings()

    def __call__(
        self,
        frame: Frame,
        levels: Sequence[Tensor],
        logits: Tensor,
        boxes: Tensor,
        wanted: Sequence[int],
    ) -> tuple[Tensor, Tensor]:
        """Logits (M, K) and boxes (M, 4) of those worth it, from those of all cells of a frame.

        Args:
            frame: whose boxes they are.
            levels: its fused maps, (1, C, H, W) each.
            logits: (N, K + 1).
            boxes: (N, 4) xyxy, pixels of the network input.
            wanted: the columns that count.
        """
        seen = self._pyramid.features.of([frame])
        own = logits[:, [*wanted, -1]]  # what is any object may be one of the wanted
        rows = select_proposals(own, boxes, seen.unpadded, self._settings)
        logits, boxes = logits[rows], clip_boxes(boxes[rows], seen.unpadded)
        if not len(rows):
            return logits[:, :-1], boxes
        maps = self._narrow(seen.maps)
        read = read_boxes(maps, levels, self._strides, boxes, seen.unpadded)
        scores, shifts = self._stage(read, logits).split([logits.shape[1] - 1, 4], dim=1)
        return scores, shifted(boxes, shifts)


class ClassDetector(OnMaps):
    """Finds objects of some classes, or of any.

    Args:
        network: a `OneStage`, which evaluates only.
        pyramid: the maps it looks at, to be shared with an adapter.
        request: what to find, and which boxes are returned.
        columns: for each class the scores of the network that it stands for, of which the best
            counts.
        second: classifies and places the best boxes anew; None: what the network says of a cell
            counts.
        objectness: scale and offset of the logits, where any object is asked for.
    """

    def __init__(
        self,
        network: nn.Module,
        pyramid: Pyramid,
        request: DetectorRequest,
        columns: Sequence[tuple[int, ...]],
        second: BoxRefiner | None = None,
        objectness: tuple[float, float] = (1.0, 0.0),
    ) -> None:
        super().__init__(pyramid)
        self._second, self._objectness = second, objectness
        self._network, self._columns = network, columns
        self.classes, self._settings = request.classes, request.settings
        self._min_scores = np.array(request.min_scores, np.float32)
        self._nms = OneStageSettings(
            min_score=float(self._min_scores.min()), max_overlap=self._settings.max_overlap
        )

    def detect(self, frames: Sequence[Frame]) -> list[Detections]:
        """As all on maps."""
        with one_thread_beside(self._network):
            return super().detect(frames)

    def _found(
        self, levels: Sequence[Tensor], frames: Sequence[Frame], unpadded: tuple[int, int]
    ) -> list[Detections]:
        of_all = zip(*self._network(levels), strict=True)
        found = []
        for index, (frame, (logits, boxes)) in enumerate(zip(frames, of_all, strict=True)):
            if self._second is not None:
                own = [x[index : index + 1] for x in levels]
                wanted = [column for columns in self._columns for column in columns]
                logits, boxes = self._second(frame, own, logits, boxes, wanted)  # noqa: PLW2901
            found.append(self._post_process(logits, boxes, frame, unpadded))
        return found

    def _post_process(
        self, logits: Tensor, boxes: Tensor, frame: Frame, unpadded: tuple[int, int]
    ) -> Detections:
        scale, offset = self._objectness
        wanted = [logits[:, own].amax(-1) * scale + offset for own in self._columns]
        found, *rest = postprocess(torch.stack(wanted, dim=-1), boxes, unpadded, self._nms)
        scores, labels = (x.cpu().numpy() for x in rest)
        shown = Detections(in_source(found, frame, unpadded), scores, labels.astype(np.int64))
        sure = shown[scores >= self._min_scores[labels]]
        return best_large(sure, self._settings.min_area, self._settings.max_boxes)
