"""Detectors exported to ONNX, computed by OpenVINO: frames become input, outputs become boxes.

OpenVINO is there anyway, and as fast on a CPU as ONNX Runtime. What a file is, is found out before,
in `onnx_graph`.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from itertools import takewhile
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from masa_cli.detectors import DetectorRequest
from masa_cli.detectors.closed_set import own_classes, select
from masa_cli.detectors.onnx_decoding import Context, Decoded
from masa_cli.detectors.onnx_graph import (
    FURTHER_INPUTS,
    HELP,
    Graph,
    fix_sizes,
    of_image,
    read_graph,
)
from masa_cli.detectors.onnx_images import Placement, normalised, place, shrunk
from masa_cli.errors import SettingsError, WeightsError
from masa_cli.models import SharedNetworks
from masa_cli.structures import Detections, FloatArray, Frame

if TYPE_CHECKING:
    from masa_cli.models.graphs import Requests

_STRIDE = 32  # that sides of an input of any size are multiples of
_MOST_SIZES = 4  # of inputs, each compiled by itself
_UNIT = 2.0  # boxes in shares of the image end before it, those in pixels after it
_SLACK = 0.01  # by which a score may pass 1

logger = logging.getLogger(__name__)


def build_onnx_detector(request: DetectorRequest, networks: SharedNetworks) -> OnnxDetector:
    """The detector for a request.

    Raises:
        SettingsError: the input has another size than the user asks for.
        WeightsError: the file cannot be computed here.
    """
    graph: Graph = request.queries[0]
    side, stride = networks.side, _STRIDE
    if side is not None and not graph.is_fixed:
        side = -(-side // stride) * stride
        graph = replace(graph, size=(side, side))
    elif side is not None and side != max(graph.size):
        raise SettingsError(
            f"--imgsz {side}: the input of {graph.file.name} is fixed at {graph.size[1]} x "
            f"{graph.size[0]}",
            fix="leave out --imgsz, or export the model with that size, or with dynamic sizes",
        )
    keeps = graph.layout.keeps_size and side is None and not graph.is_fixed
    return OnnxDetector(request, graph, Computed(graph, networks), keeps_size=keeps)


class Computed:
    """A graph that OpenVINO computes, compiled for each size that comes.

    Args:
        graph: what it is.
        networks: tells the precision, and who counts the time of compiling.
    """

    def __init__(self, graph: Graph, networks: SharedNetworks) -> None:
        self._graph, self._networks = graph, networks
        self._share = networks.share_of_cores
        self._requests: dict[tuple[int, int, int], Requests] = {}
        self._lock = Lock()  # of all that is made for all callers

    def __call__(self, images: Sequence[FloatArray], frame: tuple[int, int]) -> list[FloatArray]:
        """The outputs for (H, W, 3) images of one size, of frames of (height, width)."""
        size = (images[0].shape[0], images[0].shape[1])
        with self._lock:
            requests = self._compiled(len(images), size)
        with requests.lent() as request:
            return self._computed(request, images, frame)

    def _computed(
        self,
        request: Any,  # noqa: ANN401 - of OpenVINO
        images: Sequence[FloatArray],
        frame: tuple[int, int],
    ) -> list[FloatArray]:
        size = (images[0].shape[0], images[0].shape[1])
        for index, port in enumerate(request.model_inputs):
            if index == self._graph.input:
                given = self._as_input(images)
            else:
                one = FURTHER_INPUTS[port.get_any_name()](frame, size)
                given = np.repeat(one[None], len(images), axis=0)
            given = given.astype(port.get_element_type().to_dtype(), copy=False)
            from masa_cli.models.graphs import openvino

            request.set_input_tensor(index, openvino().Tensor(np.ascontiguousarray(given)))
        request.infer()
        outputs = [request.get_output_tensor(index).data for index in self._graph.ports]
        return [np.array(each, np.float32) for each in outputs]

    def _as_input(self, images: Sequence[FloatArray]) -> FloatArray:
        batch = np.stack(images)
        if not self._graph.channels_last:
            batch = batch.transpose(0, 3, 1, 2)
        return batch[0] if self._graph.rank == 3 else batch

    def _compiled(self, batch: int, size: tuple[int, int]) -> Requests:
        key = (batch, *size)
        if key not in self._requests:
            if len(self._requests) >= _MOST_SIZES:
                self._requests.clear()
            with self._networks.preparing():
                self._requests[key] = self._compile(batch, size)
        return self._requests[key]

    def _compile(self, batch: int, size: tuple[int, int]) -> Requests:
        from masa_cli.models.graphs import compiled

        model = read_graph(self._graph.file)
        fix_sizes(model, self._graph, batch, size)
        try:
            return compiled(
                model, self._networks.precision, self._share.threads, self._share.callers
            )
        except RuntimeError as error:
            logger.debug("%s: %s", self._graph.file, error)
            raise WeightsError(
                f"OpenVINO cannot compute {self._graph.file} for images of {size[1]} x {size[0]}",
                fix="export it with a fixed size, and with another opset",
            ) from None


class OnnxDetector:
    """Finds boxes with an exported network.

    Args:
        request: what to find, and which boxes are returned.
        graph: what the network takes and gives.
        network: computes it.
        keeps_size: whether frames are shown as large as they are.
    """

    def __init__(
        self, request: DetectorRequest, graph: Graph, network: Computed, *, keeps_size: bool
    ) -> None:
        self.classes = request.classes
        self._request, self._graph, self._network = request, graph, network
        self._keeps_size = keeps_size
        self._own = own_classes(request)
        self._batch = graph.batch
        named = len(self._own.names) - graph.layout.first_label
        self._num_classes, self._num_further = named, graph.num_further
        if not keeps_size and not graph.layout.input.shrinks:
            network._compiled(graph.batch or 1, graph.size)

    def detect(self, frames: Sequence[Frame]) -> list[Detections]:
        """Boxes in source pixels, the best first; frames of one size share a pass, if they may."""
        found: list[Detections] = []
        while len(found) < len(frames):
            first = frames[len(found)]
            shape, waiting = first.image.shape, frames[len(found) :][: self._batch]
            run = takewhile(lambda frame: frame.image.shape == shape, waiting)  # noqa: B023
            found += self._detect(list(run))
        return found

    def _detect(self, frames: Sequence[Frame]) -> list[Detections]:
        """The same for some of the first frames, which are of one size."""
        layout, size = self._graph.layout, self._size_for(frames[0])
        placed = [place(frame.image, layout.input, size) for frame in frames]
        raw = self._graph.dtype == "u8"
        images = [x.astype(np.float32) if raw else normalised(x, layout.input) for x, _ in placed]
        missing = (self._batch or 1) - len(images)
        images += images[-1:] * missing  # of a batch of fixed size
        outputs = self._network(images, frames[0].image.shape[:2])
        if len(images) > 1 and any(len(each) != len(images) for each in outputs):
            self._batch = 1  # such outputs do not tell which image a box is of
            return self._detect(frames[:1])
        about = Context(
            size, self._num_classes, self._num_further, min(self._request.min_scores, default=0)
        )
        return [
            self._selected(
                layout.decode([of_image(each, index, len(images)) for each in outputs], about),
                frame,
                placement,
                size,
            )
            for index, (frame, (_, placement)) in enumerate(zip(frames, placed, strict=True))
        ]

    def _size_for(self, frame: Frame) -> tuple[int, int]:
        """Height and width of the input for a frame."""
        height, width = frame.image.shape[:2]
        if self._keeps_size:
            return height, width
        wanted, size = self._graph.layout.input, self._graph.size
        if wanted.shrinks and not self._graph.is_fixed:
            return shrunk(frame.image, wanted, size, _STRIDE)
        return size

    def _selected(
        self, decoded: Decoded, frame: Frame, placement: Placement, size: tuple[int, int]
    ) -> Detections:
        layout, (boxes, scores, labels) = self._graph.layout, decoded
        is_box = scores > 0  # lists of one length are filled up with others
        boxes, scores, labels = boxes[is_box], scores[is_box], labels[is_box]
        numbers = self._checked(scores, labels)
        height, width = frame.image.shape[:2]
        is_unit = layout.space == "unit" or (
            layout.space == "either" and np.abs(boxes).max(initial=0) <= _UNIT
        )
        if is_unit:
            boxes = boxes * np.tile([size[1], size[0]], 2)
        if layout.space != "source":
            boxes = placement.to_source(boxes)
        if layout.clips:
            boxes = np.clip(boxes, 0, np.tile([width, height], 2))
        found = Detections(
            np.ascontiguousarray(boxes, np.float32),
            np.ascontiguousarray(scores, np.float32),
            numbers,
        )
        return select(found, self._request, (width, height))

    def _checked(self, scores: FloatArray, labels: FloatArray) -> NDArray[np.int64]:
        """Labels as whole numbers; WeightsError if these cannot be scores and labels."""
        name = self._graph.file.name
        numbers = np.rint(labels).astype(np.int64)
        if scores.max(initial=0) > 1 + _SLACK or np.abs(labels - numbers).max(initial=0) > _SLACK:
            raise WeightsError(
                f"{name} gives no scores up to 1 with whole numbers of classes where the layout "
                f"{self._graph.layout.name} has them",
                fix=HELP,
            )
        self._own.check(numbers, name)
        if self._graph.layout.has_gaps and not self._request.options.names and (numbers == 0).any():
            raise WeightsError(
                f"{name} found a box of class number 0, which COCO's numbers do not have",
                fix="give the names of its classes, a line each: --names FILE",
            )
        return numbers
