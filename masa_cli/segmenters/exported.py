"""Masks by Segment Anything and its heirs as exported to ONNX: an encoder's file and a decoder's.

Both are computed by OpenVINO. What belongs to what is told by names and shapes: the files of
segment-anything's own script (and of MobileSAM, EdgeSAM, EfficientViT-SAM, which follow it), those
of SAM 2 with its finer maps, and those of transformers' exporters.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from masa_cli.errors import SettingsError, WeightsError
from masa_cli.masks import pack
from masa_cli.models import SharedNetworks
from masa_cli.models.device import choose_device
from masa_cli.models.features import boxes_in_input, input_size, to_tensor
from masa_cli.models.graphs import compiled, openvino
from masa_cli.models.variants import SAM_PREPROCESSING, SAM_SIDE, VARIANTS
from masa_cli.segmenters import SegmenterRequest
from masa_cli.segmenters.upsampling import MaskWindows, WindowSettings, without_specks
from masa_cli.structures import FloatArray, Frame, Image, Mask

# What decoders are asked beside maps, by the names that exporters give it.
_POINTS = ("point_coords", "input_points", "points", "coords")
_LABELS = ("point_labels", "input_labels", "labels")
_BOXES = ("input_boxes", "boxes", "box_coords")
_MASK = ("mask_input", "input_masks", "mask_inputs")
_HAS_MASK = ("has_mask_input", "has_mask_inputs")
_SIZE = ("orig_im_size", "orig_im_sizes", "original_size", "original_sizes", "img_size")
_PROMPTS = (*_POINTS, *_LABELS, *_BOXES, *_MASK, *_HAS_MASK, *_SIZE)
_SMALL_MASKS = ("low_res_masks", "low_res_logits", "pred_masks")
_CORNERS = (2, 3)  # labels of the points that are corners of a box
_PATCH = 16  # pixels of the square that prompts are told in, per cell of the coarsest map
_AT_ONCE = 4  # boxes that a decoder is given, if it takes several

_Shape = tuple[int | None, ...]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Port:
    """An input or an output of a graph; a side of its shape is None where any is possible."""

    name: str
    shape: _Shape
    dtype: Any  # of numpy


@dataclass(frozen=True, slots=True)
class Export:
    """What two files take and give.

    Attributes:
        image: the encoder's input.
        side: pixels of the square that the encoder sees.
        prompt_side: pixels of the square that prompts are told in.
        squashes: whether frames are made square; otherwise they keep their proportions.
        maps: for each of the decoder's inputs that is a map, the number of the encoder's output.
        inputs: what else the decoder is asked.
        masks: number of the decoder's output.
        quality: of the masks, number of the output, if there is one.
        in_frame: whether masks are as large as the frame; otherwise they cover the square.
    """

    image: Port
    side: int
    prompt_side: int
    squashes: bool
    maps: tuple[tuple[str, int], ...]
    inputs: tuple[Port, ...]
    masks: int
    quality: int | None
    in_frame: bool

    @property
    def takes_several(self) -> bool:
        """Whether the decoder may be given several boxes at once."""
        prompts = [(port, 4 if port.name in _POINTS else 3) for port in self.inputs]
        return all(
            len(port.shape) == rank and port.shape[1] is None
            for port, rank in prompts
            if port.name in (*_POINTS, *_BOXES)
        )


def request_exported(wanted: str, folder: Path | None) -> SegmenterRequest:
    """The request for "encoder.onnx,decoder.onnx", whose files are there and fit each other.

    Args:
        wanted: as the user wrote it.
        folder: of weights, not used: these are the user's own.

    Raises:
        SettingsError: these are not two files.
        WeightsError: one cannot be read, or they are no encoder and its decoder.
    """
    files = [Path(each.strip()) for each in wanted.split(",")]
    if len(files) != 2:
        raise SettingsError(
            f"--segmenter {wanted}: expected two files of ONNX, got {len(files)}",
            fix="give the encoder and the decoder, with a comma between: encoder.onnx,decoder.onnx",
        )
    understood(*files)
    return SegmenterRequest("onnx", files[0], (files[1],), written=wanted)


def understood(encoder: Path, decoder: Path) -> Export:
    """What two files take and give.

    Raises:
        WeightsError: one cannot be read, or they are no encoder and its decoder.
    """
    graphs = _read(encoder), _read(decoder)
    (images, maps), (asked, given) = (
        (_ports(graph.inputs), _ports(graph.outputs)) for graph in graphs
    )
    if len(images) != 1 or not _is_image(images[0]):
        raise _strange(encoder, images, "takes no image alone, as an encoder does")
    inputs = tuple(port for port in asked if port.name in _PROMPTS)
    if not any(port.name in (*_POINTS, *_BOXES) for port in inputs):
        raise _strange(decoder, asked, "takes no points, as a decoder does")
    wanted = [port for port in asked if port not in inputs]
    pairs = _pairs(wanted, maps)
    if pairs is None:
        raise _strange(decoder, wanted, f"asks for other maps than {encoder.name} gives")
    square = [shape for each in wanted if _is_map(shape := _known(each, maps, pairs))]
    cells = min((shape[-1] for shape in square if shape[-1]), default=SAM_SIDE // _PATCH)
    masks = _masks_of(given)
    if masks is None:
        raise _strange(decoder, given, "gives no masks")
    quality = [
        index
        for index, port in enumerate(given)
        if ("iou" in port.name or "score" in port.name) and "object" not in port.name
    ]
    sides = [side for side in images[0].shape if side not in (None, 1, 3)]
    export = Export(
        images[0],
        side=max((side for side in sides if side), default=cells * _PATCH),
        prompt_side=cells * _PATCH,
        squashes=len({shape[-1] for shape in square}) > 1 or len(pairs) > 2,
        maps=tuple(pairs),
        inputs=inputs,
        masks=masks,
        quality=quality[0] if quality else None,
        in_frame=given[masks].name not in _SMALL_MASKS
        and any(port.name in _SIZE for port in inputs),
    )
    logger.info(
        "%s and %s: %s, input %d x %d",
        encoder.name,
        decoder.name,
        "SAM 2" if export.squashes else "Segment Anything",
        export.side,
        export.side,
    )
    return export


def _read(file: Path) -> Any:  # noqa: ANN401 - an openvino.Model
    if not file.is_file():
        raise WeightsError(f"{file} is not a file", fix="give the path of an ONNX file")
    try:
        return openvino().Core().read_model(file)
    except RuntimeError as error:
        logger.debug("%s: %s", file, error)
        raise WeightsError(
            f"{file} cannot be read: it is damaged, no ONNX, or has operations unknown to OpenVINO",
            fix="export it anew, with opset 13 to 17",
        ) from None


def _ports(ports: Sequence[Any]) -> list[Port]:
    found = []
    for number, port in enumerate(ports):
        shape = port.get_partial_shape()
        sides = (
            ()
            if shape.rank.is_dynamic
            else tuple(None if side.is_dynamic else int(side.get_length()) for side in shape)
        )
        dtype = port.get_element_type().to_dtype()
        # What an exporter made up for a step within has a slash.
        names = sorted(port.get_names(), key=lambda name: ("/" in name, name))
        found.append(Port(names[0] if names else f"number {number}", sides, dtype))
    return found


def _is_image(port: Port) -> bool:
    return len(port.shape) in (3, 4) and 3 in (port.shape[-1], port.shape[-3])


def _is_map(shape: _Shape) -> bool:
    return len(shape) == 4


def _known(port: Port, maps: Sequence[Port], pairs: Sequence[tuple[str, int]]) -> _Shape:
    """The shape of a map, by the side of it that knows more."""
    other = maps[dict(pairs)[port.name]].shape
    if len(port.shape) != len(other):
        return port.shape or other
    return tuple(a or b for a, b in zip(port.shape, other, strict=True))


def _pairs(wanted: Sequence[Port], maps: Sequence[Port]) -> list[tuple[str, int]] | None:
    """For each map that is wanted the number of what is given; None if something is missing.

    By its name; or else, in order, the first that has its shape and is not taken.
    """
    names = [port.name for port in maps]
    taken = {port.name: names.index(port.name) for port in wanted if port.name in names}
    for port in wanted:
        if port.name in taken:
            continue
        fitting = (
            index
            for index, other in enumerate(maps)
            if index not in taken.values() and _may_be(port.shape, other.shape)
        )
        index = next(fitting, None)
        if index is None:
            return None
        taken[port.name] = index
    return [(port.name, taken[port.name]) for port in wanted]


def _may_be(shape: _Shape, other: _Shape) -> bool:
    if not (shape and other):
        return True
    return len(shape) == len(other) and all(
        None in pair or pair[0] == pair[1] for pair in zip(shape, other, strict=True)
    )


def _masks_of(given: Sequence[Port]) -> int | None:
    """The number of the output to read: small maps of logits rather than masks of the frame."""
    for names in (_SMALL_MASKS, ("masks", "output_masks", "mask")):
        for index, port in enumerate(given):
            if port.name in names:
                return index
    large = [index for index, port in enumerate(given) if len(port.shape) in (4, 5)]
    return large[0] if large else None


def _strange(file: Path, ports: Sequence[Port], what: str) -> WeightsError:
    shapes = ", ".join(
        f"{port.name} ({', '.join('?' if side is None else str(side) for side in port.shape)})"
        for port in ports
    )
    return WeightsError(
        f"{file.name} {what}: {shapes}",
        fix="give the encoder and then the decoder of one export of Segment Anything or SAM 2",
    )


# Running it.


def build_exported_segmenter(
    request: SegmenterRequest, networks: SharedNetworks
) -> ExportedSegmenter:
    """The segmenter; it shares nothing.

    Raises:
        SettingsError: the user wants another device than the processor.
        WeightsError: the files are no encoder and its decoder.
    """
    if request.weights is None:
        raise ValueError(f"segmenter {request.name} was requested without its files")
    if (device := choose_device(networks.device)).type != "cpu":
        logger.info("OpenVINO computes %s on the processor, not on %s", request, device.type)
    files = request.weights, request.further[0]
    threads = torch.get_num_threads()
    encoder, decoder = (_call(_read(file), networks.precision, threads) for file in files)
    return ExportedSegmenter(understood(*files), encoder, decoder)


_Call = Callable[[dict[str, NDArray[Any]]], list[NDArray[Any]]]


def _call(graph: Any, precision: str, threads: int) -> _Call:  # noqa: ANN401 - an openvino.Model
    """What gives all outputs of a graph for inputs by name."""
    names = [port.name for port in _ports(graph.inputs)]  # once compiled, they have others, too
    requests = compiled(graph, precision, threads)
    num_outputs = len(graph.outputs)

    def run(inputs: dict[str, NDArray[Any]]) -> list[NDArray[Any]]:
        with requests.lent() as request:
            for index, name in enumerate(names):
                tensor = openvino().Tensor(np.ascontiguousarray(inputs[name]))
                request.set_input_tensor(index, tensor)
            request.infer()
            return [np.array(request.get_output_tensor(index).data) for index in range(num_outputs)]

    return run


class ExportedSegmenter:
    """Finds what boxes are drawn around; the encoder looks at a frame once.

    Args:
        export: what the files take and give.
        encoder: gives all maps for an image.
        decoder: gives masks for maps and prompts.
        settings: of what becomes of the masks.
    """

    def __init__(
        self,
        export: Export,
        encoder: _Call,
        decoder: _Call,
        settings: WindowSettings | None = None,
    ) -> None:
        self._export, self._encoder, self._decoder = export, encoder, decoder
        self._settings = settings or WindowSettings()
        self._windows: MaskWindows | None = None  # for frames of the size seen last
        self._seen: tuple[int, list[NDArray[Any]]] | None = None  # of the frame seen last

    def segment(self, frame: Frame, boxes: FloatArray) -> Sequence[Mask | None]:
        """See `Segmenter`; boxes are cut off at the edges of the frame."""
        masks: list[Mask | None] = [None] * len(boxes)
        size = frame.image.shape[0], frame.image.shape[1]
        inside = np.clip(boxes, 0, np.array([size[1], size[0]] * 2, np.float32))
        rows = np.flatnonzero((inside[:, 2:] > inside[:, :2]).all(axis=1))
        if not len(rows):
            return masks
        if self._seen is None or self._seen[0] != frame.index:
            image = {self._export.image.name: self._image(frame.image)}
            self._seen = frame.index, self._encoder(image)
        shown = _shown(frame.image, self._export.prompt_side, squashes=self._export.squashes)
        prompts = boxes_in_input(inside[rows], frame.image, shown, clips=True)
        at_once = _AT_ONCE if self._export.takes_several else 1
        for start in range(0, len(rows), at_once):
            logits = self._decode(self._seen[1], prompts[start : start + at_once], size)
            for row, values in zip(rows[start : start + at_once].tolist(), logits, strict=True):
                masks[row] = self._mask(values, inside[row], shown, size)
        return masks

    def _image(self, image: Image) -> NDArray[Any]:
        """An image as the encoder takes it: normalised (1, 3, S, S), or bytes (H, W, 3)."""
        export = self._export
        port, side, like = export.image, export.side, VARIANTS["sam-b"]
        is_raw = port.shape[-1] == 3 or port.dtype == np.uint8
        height, width = _shown(image, side, squashes=export.squashes)
        if is_raw or export.squashes:
            image = _resized(image, (height, width))
        if is_raw:
            x: NDArray[Any] = image if len(port.shape) == 3 else image[None]
            return (x if port.shape[-1] == 3 else np.moveaxis(x, -1, -3)).astype(port.dtype)
        preprocessing = replace(SAM_PREPROCESSING, long_side=side, short_side=side, divisor=side)
        cpu = torch.device("cpu")
        tensor, _ = to_tensor([image], preprocessing, like.mean, like.std, cpu, torch.float32)
        found: NDArray[Any] = tensor.numpy().astype(port.dtype)
        return found if len(port.shape) == 4 else found[0]

    def _decode(
        self, maps: Sequence[NDArray[Any]], boxes: FloatArray, size: tuple[int, int]
    ) -> FloatArray:
        """(N, h, w) logits of (N, 4) boxes, of the square or of the frame."""
        given = {name: maps[index] for name, index in self._export.maps}
        for port in self._export.inputs:
            given[port.name] = self._prompt(port, boxes, size).astype(port.dtype)
        outputs = self._decoder(given)
        masks = outputs[self._export.masks]
        masks = masks.reshape(len(boxes), -1, *masks.shape[-2:]).astype(np.float32)
        # Of four, the first is the one mask of what is sure; of three, each is a guess.
        best = np.zeros(len(boxes), int)
        if masks.shape[1] not in (1, 4) and self._export.quality is not None:
            quality = outputs[self._export.quality].reshape(len(boxes), -1)
            best = quality.argmax(axis=1)
        found: FloatArray = masks[np.arange(len(boxes)), best]
        return found

    def _prompt(self, port: Port, boxes: FloatArray, size: tuple[int, int]) -> NDArray[Any]:
        has_boxes = any(each.name in _BOXES for each in self._export.inputs)
        if port.name in _BOXES:
            return boxes[None] if len(port.shape) == 3 else boxes
        if port.name in _POINTS:
            corners = boxes.reshape(-1, 2, 2)[:, : 0 if has_boxes else 2]
            return corners[None] if len(port.shape) == 4 else corners
        if port.name in _LABELS:
            labels = np.tile(_CORNERS, (len(boxes), 1))[:, : 0 if has_boxes else 2]
            return labels[None] if len(port.shape) == 3 else labels
        if port.name in _SIZE:
            return np.array(size).reshape([1] * (len(port.shape) - 1) + [2])
        return np.zeros([side or 1 for side in port.shape])  # there is no earlier mask

    def _mask(
        self, logits: FloatArray, box: FloatArray, shown: tuple[int, int], size: tuple[int, int]
    ) -> Mask | None:
        if self._export.in_frame:
            return self._in_frame(logits, box, size)
        cells = logits.shape[-1]
        padded = cells if self._export.squashes else self._export.prompt_side
        filled = (cells, cells) if self._export.squashes else shown
        if self._windows is None or self._windows.key != (filled, size):
            self._windows = MaskWindows(cells, padded, filled, size, self._settings)
        return self._windows.mask(logits, box)

    def _in_frame(self, logits: FloatArray, box: FloatArray, size: tuple[int, int]) -> Mask | None:
        """Of logits of the whole frame, what is near the box."""
        margins = (box[2:] - box[:2]) * np.float32(self._settings.margin)
        limits = np.array([size[1], size[0]])
        start = np.clip(np.floor(box[:2] - margins), 0, limits).astype(int)
        stop = np.clip(np.ceil(box[2:] + margins), 0, limits).astype(int)
        pixels = logits[start[1] : stop[1], start[0] : stop[0]] > 0
        if not pixels.any():
            return None
        solid = without_specks(pixels, self._settings.speck_share)
        return pack(solid, (int(start[0]), int(start[1])), size)


def _shown(image: Image, side: int, *, squashes: bool) -> tuple[int, int]:
    """Height and width of the part of a square that shows the image."""
    if squashes:
        return side, side
    return input_size(image, replace(SAM_PREPROCESSING, long_side=side, short_side=side))


def _resized(image: Image, size: tuple[int, int]) -> Image:
    height, width = size
    shrinks = height * width < image.shape[0] * image.shape[1]
    filter_ = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return cv2.resize(image, (width, height), interpolation=filter_)  # type: ignore[return-value]
