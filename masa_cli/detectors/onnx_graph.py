"""What a file of ONNX is: found out by OpenVINO's reader, before anything is computed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from masa_cli.detectors import DetectorRequest
from masa_cli.detectors.closed_set import (
    coco_names_with_gaps,
    named_or_numbered,
    parse_names_in_model,
    read_names,
    with_own_classes,
)
from masa_cli.detectors.onnx_decoding import Context
from masa_cli.detectors.onnx_layouts import LAYOUTS, Layout, recognise
from masa_cli.detectors.onnx_signature import Port, Signature
from masa_cli.errors import SettingsError, WeightsError
from masa_cli.structures import FloatArray

_SIDE = 640  # of an input of any size, unless the file or the user says otherwise
_TASKS = ("detect", "segment", "pose")  # of Ultralytics, that find upright boxes
HELP = "name its layout with --onnx-layout"

# What is asked beside the image, by name: of the frame's and the input's (height, width).
_Further = Callable[[tuple[int, int], tuple[int, int]], NDArray[Any]]
FURTHER_INPUTS: Mapping[str, _Further] = MappingProxyType(
    {
        "orig_target_sizes": lambda frame, size: np.array([frame[1], frame[0]], np.int64),
        "im_shape": lambda frame, size: np.array(size, np.float32),
        "scale_factor": lambda frame, size: np.array(
            [size[0] / frame[0], size[1] / frame[1]], np.float32
        ),
        "pixel_mask": lambda frame, size: np.ones(size, np.int64),
    }
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Graph:
    """What a file of ONNX takes and gives.

    Attributes:
        file: it is read from.
        layout: of its outputs.
        ports: the outputs that the layout reads.
        input: number of the image among the inputs.
        size: height and width of the input, as exported, or as the file asks for.
        is_fixed: whether no other size is possible.
        batch: images at a time; None: any number.
        channels_last: whether an image is (H, W, 3).
        rank: of the input: 3 for one without a batch.
        dtype: of the input.
        num_further: numbers of a box after its classes.
    """

    file: Path
    layout: Layout
    ports: tuple[int, ...]
    input: int
    size: tuple[int, int]
    is_fixed: bool
    batch: int | None
    channels_last: bool
    rank: int
    dtype: str
    num_further: int


def with_graph(request: DetectorRequest) -> DetectorRequest:
    """The request with what its file is, and with the classes that it finds; says which layout.

    Raises:
        WeightsError: the file cannot be read, or is no detector of a known kind.
        SettingsError: names or layout do not fit it, or it does not know what is asked for.
    """
    file, options = request.weights, request.options
    if file is None:
        raise ValueError("a request for a file of ONNX without the file")
    if options.layout is not None and options.layout not in LAYOUTS:
        raise SettingsError(
            f'--onnx-layout: unknown layout "{options.layout}"',
            fix=f"use one of: {', '.join(LAYOUTS)}",
        )
    model = read_graph(file)
    metadata = _metadata(model)
    _check_task(file, metadata)
    own = parse_names_in_model(metadata.get("names", ""))
    names = read_names(options.names) if options.names else own
    if names and own and len(names) != len(own):
        named_or_numbered(len(own), names, file.name)  # tells the difference
    graph, signature = _graph_of(file, model, metadata)
    signature = replace(signature, num_classes=len(names) if names else None)
    layout = _layout_of(file, signature, options.layout)
    ports = layout.ports(signature)
    if ports is None:
        raise _unknown(file, signature, f"does not fit the layout {layout.name}")
    num_classes = layout.counts(signature, [signature.outputs[port] for port in ports])
    if not _can_decode(layout, signature, ports, num_classes):
        raise _unknown(file, signature, f"does not fit the layout {layout.name}")
    own_names = _names(layout, names, num_classes, file.name)
    logger.info(
        "%s: %s, %s; %d classes, input %s %d x %d",
        file.name,
        layout.name,
        "as --onnx-layout says" if options.layout else "as its outputs tell",
        len([name for name in own_names if name]),
        "of" if graph.is_fixed else "of any size, here",
        graph.size[1],
        graph.size[0],
    )
    graph = replace(graph, layout=layout, ports=ports, num_further=signature.num_further)
    completed = replace(request, queries=(graph,), model=file.name)
    completed = with_own_classes(completed, own_names, max_overlap=layout.max_overlap)
    return replace(completed, model=f"{file.name} {layout.name}")


def _names(
    layout: Layout, names: Sequence[str] | None, num_classes: int | None, where: str
) -> tuple[str, ...]:
    if layout.has_gaps and names is None:
        logger.warning(
            "%s does not name its classes: taken for COCO's, numbered 1 to 90 (else --names FILE)",
            where,
        )
        return coco_names_with_gaps()
    found = named_or_numbered(num_classes, names, where)
    return ("",) * layout.first_label + found


def _layout_of(file: Path, signature: Signature, wanted: str | None) -> Layout:
    if wanted is not None:
        return LAYOUTS[wanted]
    layout = recognise(signature) or recognise(replace(signature, num_classes=None))
    if layout is None:
        raise _unknown(file, signature, "has outputs of no known layout")
    return layout


def _can_decode(
    layout: Layout, signature: Signature, ports: Sequence[int], num_classes: int | None
) -> bool:
    """Whether outputs of these shapes can be read so; what they say is not known yet."""
    if num_classes is not None and num_classes < 1:
        return False
    shapes = [signature.outputs[port].shape for port in ports]
    empty = [np.zeros([side or 1 for side in shape], np.float32) for shape in shapes]
    about = Context(signature.size, num_classes or 1, signature.num_further, 0.0)
    batch = len(empty[0]) if len({len(each) for each in empty}) == 1 else 1
    try:
        decoded = layout.decode([of_image(each, 0, batch) for each in empty], about)
    except (ValueError, IndexError):
        return False
    return decoded[0].shape[1:] == (4,)


def _unknown(file: Path, signature: Signature, what: str) -> WeightsError:
    shapes = ", ".join(
        f"{port.name} ({', '.join('?' if side is None else str(side) for side in port.shape)})"
        for port in signature.outputs
    )
    return WeightsError(
        f"{file.name} {what}: {shapes}",
        fix=f"if it is a detector, {HELP}: one of {', '.join(LAYOUTS)}",
    )


def _check_task(file: Path, metadata: Mapping[str, str]) -> None:
    task = metadata.get("task", _TASKS[0])
    if task not in _TASKS:
        raise WeightsError(
            f'{file.name} is for the task "{task}", and finds no upright boxes',
            fix=f"export a model for one of: {', '.join(_TASKS)}",
        )


def read_graph(file: Path) -> Any:  # noqa: ANN401 - an openvino.Model
    """Raises WeightsError where there is no such file, or it is something else."""
    if not file.is_file():
        raise WeightsError(f"{file} is not a file", fix="give the path of an ONNX file")
    from masa_cli.models.graphs import openvino

    openvino()
    from openvino import frontend as reading

    # Not `read_model`, which has all its readers try what one of them cannot read.
    frontend = reading.FrontEndManager().load_by_framework("onnx")
    try:
        return frontend.convert(frontend.load(str(file)))
    except (
        RuntimeError,
        reading.GeneralFailure,
        reading.InitializationFailure,
        reading.NotImplementedFailure,
        reading.OpConversionFailure,
        reading.OpValidationFailure,
    ) as error:
        logger.debug("%s: %s", file, error)
        raise WeightsError(
            f"{file} cannot be read: it is damaged, no ONNX, or has operations unknown to OpenVINO",
            fix="export it anew, with opset 11 to 17 and without plug-ins of TensorRT",
        ) from None


def _metadata(model: Any) -> dict[str, str]:  # noqa: ANN401
    if not model.has_rt_info(["framework"]):
        return {}
    found = model.get_rt_info(["framework"]).value
    return {name: str(getattr(each, "value", each)) for name, each in found.items()}


def _graph_of(file: Path, model: Any, metadata: Mapping[str, str]) -> tuple[Graph, Signature]:  # noqa: ANN401
    """The graph without its layout, and what tells the layout."""
    shapes = [_sides(each.get_partial_shape()) for each in model.inputs]
    index = next((i for i, shape in enumerate(shapes) if _is_image(shape)), None)
    if index is None:
        given = ", ".join(f"({', '.join(str(n or '?') for n in shape)})" for shape in shapes)
        raise WeightsError(
            f"{file.name} takes no image of three channels, but {given or 'nothing'}",
            fix="export a detector for images in colour",
        )
    shape, rank = shapes[index], len(shapes[index])
    channels_last = shape[-1] == 3 and shape[-3] != 3
    height, width = shape[-3:-1] if channels_last else shape[-2:]
    asked = metadata.get("imgsz", "").strip("[]() ").split(",")
    sides = [int(each) for each in asked if each.strip().isdecimal()] or [_SIDE]
    size = height or sides[0], width or sides[-1]
    further = [each.get_any_name() for i, each in enumerate(model.inputs) if i != index]
    if strange := [name for name in further if name not in FURTHER_INPUTS]:
        raise WeightsError(
            f'{file.name} wants to be given "{strange[0]}" beside the image',
            fix="export it with the image as its only input",
        )
    dtype = model.inputs[index].get_element_type().get_type_name()
    graph = Graph(
        file,
        layout=next(iter(LAYOUTS.values())),
        ports=(),
        input=index,
        size=size,
        is_fixed=None not in (height, width),
        batch=1 if rank == 3 else shape[0],
        channels_last=channels_last,
        rank=rank,
        dtype=dtype,
        num_further=0,
    )
    fix_sizes(model, graph, graph.batch or 1, size)
    outputs = tuple(
        Port(
            min(port.get_names(), default=f"output {number}"),
            _sides(port.get_partial_shape()),
            port.get_element_type().is_integral(),
        )
        for number, port in enumerate(model.outputs)
    )
    is_uint8 = dtype == "u8"
    return graph, Signature(outputs, size, tuple(further), is_uint8, None, metadata)


def _sides(shape: Any) -> tuple[int | None, ...]:  # noqa: ANN401 - an openvino.PartialShape
    if shape.rank.is_dynamic:
        return ()
    return tuple(None if side.is_dynamic else side.get_length() for side in shape)


def _is_image(shape: tuple[int | None, ...]) -> bool:
    """Three channels, first or last; an exporter may leave even their number open."""
    is_open = len(shape) == 4 and shape[1] is None and shape[3] != 1
    return len(shape) in (3, 4) and (3 in (shape[-1], shape[-3]) or is_open)


def fix_sizes(model: Any, graph: Graph, batch: int, size: tuple[int, int]) -> None:  # noqa: ANN401
    """Fix the sizes of inputs, as far as the graph allows it."""
    sides = (*size, 3) if graph.channels_last else (3, *size)
    shapes: dict[int, list[int]] = {graph.input: [*([batch] if graph.rank == 4 else []), *sides]}
    for index, port in enumerate(model.inputs):
        if index != graph.input:
            one = FURTHER_INPUTS[port.get_any_name()](size, size)
            shapes[index] = [batch, *one.shape]
    try:
        model.reshape(shapes)
    except RuntimeError as error:
        logger.debug("%s keeps its sizes open: %s", graph.file, error)


def of_image(output: FloatArray, index: int, batch: int) -> FloatArray:
    """The part of an output that is of one image."""
    if batch == 1 and (output.ndim == 1 or len(output) != 1):
        return output
    own: FloatArray = output[index]
    return own
