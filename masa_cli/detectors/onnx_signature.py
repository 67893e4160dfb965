"""What names and shapes of an exported network's outputs tell of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

import numpy as np

from masa_cli.detectors.onnx_decoding import MORE_STRIDES, STRIDES, num_cells

Role = Literal["boxes", "matrix", "scores", "labels", "rows"]

_MOST_QUERIES = 1000  # a detector of DETR's kind, or one after NMS, gives no more boxes
_NUM_QUERIES = 300  # of RT-DETR
NUM_BINS = 8  # of a NanoDet-Plus' distances, which its shape does not tell


@dataclass(frozen=True, slots=True)
class Port:
    """One output: its shape with the batch; None for a side that is not fixed."""

    name: str
    shape: tuple[int | None, ...]
    is_integer: bool = False


@dataclass(frozen=True, slots=True)
class Signature:
    """What is known of a network before it is run.

    Attributes:
        outputs: in their order.
        size: height and width of the input, pixels.
        further_inputs: names of inputs beside the image.
        is_uint8: whether the image is given as whole numbers.
        num_classes: as far as names tell.
        metadata: that the exporter wrote.
    """

    outputs: tuple[Port, ...]
    size: tuple[int, int]
    further_inputs: tuple[str, ...] = ()
    is_uint8: bool = False
    num_classes: int | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)

    @property
    def head(self) -> Port | None:
        """The output with all boxes, where there is one; masks may have a second one."""
        lists = [port for port in self.outputs if len(port.shape) < 4]
        masks = [port for port in self.outputs if len(port.shape) == 4]
        is_alone = len(lists) == 1 and len(masks) <= 1  # more sides: heads before decoding
        return lists[0] if is_alone and len(lists[0].shape) == 3 else None

    @property
    def num_further(self) -> int:
        """Numbers of a box after its classes: of its mask, or of its points."""
        masks = [port.shape[1] for port in self.outputs if len(port.shape) == 4]
        if self.head and masks:
            return masks[0] or 0
        points = self.metadata.get("kpt_shape", "").strip("[]() ").split(",")
        return int(np.prod([int(n) for n in points])) if len(points) == 2 else 0

    def cells(self, strides: Sequence[int] = STRIDES) -> int:
        """Of all grids of a one-stage detector."""
        return num_cells(self.size, strides)


_HINTS: Mapping[Role, tuple[str, ...]] = MappingProxyType(
    {
        "boxes": ("box", "det", "loc"),
        "matrix": ("logit", "score", "cls", "class", "conf", "label", "prob"),
        "scores": ("score", "conf", "prob"),
        "labels": ("label", "class", "cls", "categor"),
        "rows": (),
    }
)


def assign(outputs: Sequence[Port], roles: Sequence[Role]) -> tuple[int, ...] | None:
    """For each role the output that has it: by its shape, and among several by its name."""
    chosen: dict[Role, int] = {}
    # What a box is, is plain; whole numbers are labels rather than scores.
    for role in sorted(roles, key=("boxes", "labels", "matrix", "scores", "rows").index):
        fitting = [
            index
            for index, port in enumerate(outputs)
            if index not in chosen.values() and _may_be(port, role)
        ]
        if not fitting:
            return None
        chosen[role] = max(fitting, key=lambda index: _likeness(outputs[index], role))
    return tuple(chosen[role] for role in roles)


def _likeness(port: Port, role: Role) -> tuple[bool, bool]:
    named = any(hint in port.name.lower() for hint in _HINTS[role])
    is_final = not port.name.lower().startswith("raw")  # TensorFlow gives those before NMS, too
    return named and is_final, role == "labels" and port.is_integer


def _may_be(port: Port, role: Role) -> bool:
    rank, last = len(port.shape), port.shape[-1] if port.shape else 0
    if role == "boxes":
        return rank in (2, 3) and last in (4, None) and not port.is_integer
    if role == "matrix":
        return rank == 3 and not port.is_integer
    if role in ("scores", "labels"):
        counts = port.name.lower().startswith("num") or "num_" in port.name.lower()
        is_list = rank in (1, 2) and not counts and not (rank == 2 and last == 1)
        return is_list and not (role == "scores" and port.is_integer)
    return rank >= 2 and not port.is_integer


# What tells a layout.


def _head_kind(signature: Signature) -> str:  # noqa: PLR0911 - a list of rules
    """Which kind of raw head, or of rows, the only output is; "" if it is none."""
    head = signature.head
    if head is None:
        shapes_of = [port.shape for port in signature.outputs]
        is_list = len(shapes_of) == 1 and len(shapes_of[0]) == 2 and shapes_of[0][1] == 6
        return "yolo-end2end" if is_list else ""
    rows, columns = head.shape[1:]
    classes, further = signature.num_classes, signature.num_further
    cells, more = signature.cells(), signature.cells(MORE_STRIDES)
    finer = signature.cells((4, *STRIDES))
    is_one_class = classes in (1, None) and rows in (cells, more, 3 * cells, 3 * more)
    if columns == 6 + further and (not is_one_class or _ends(signature)):
        return "yolo-end2end"
    if classes is None:
        if columns in (cells, more, finer, None) and (rows or 0) > 4 + further:
            return "yolov8"
    elif rows == 4 + classes + further:
        return "yolov8"
    if rows == more and columns == (classes or 80) + 4 * NUM_BINS:
        return "nanodet-plus"
    if columns == (columns if classes is None else 5 + classes + further):
        if rows in (3 * cells, 3 * more):
            return "yolov5"
        if rows in (cells, more):
            return "yolov6" if head.name == "outputs" else "yolox"
    if classes is not None and columns == 4 + classes + further and rows in (cells, more):
        return "yolov8"
    if columns and columns > 4 and rows == _NUM_QUERIES and classes in (None, columns - 4):
        return "rt-detr-ultralytics"
    return ""


def _ends(signature: Signature) -> bool:
    """Whether the exporter says that NMS is inside."""
    args = signature.metadata.get("args", "").replace(" ", "")
    return signature.metadata.get("end2end") == "True" or "'nms':True" in args


def is_head(kind: str, signature: Signature) -> bool:
    """Whether the only output is a head, or rows, of that kind."""
    return _head_kind(signature) == kind


def columns_less(number: int, signature: Signature, ports: Sequence[Port]) -> int | None:
    """Classes of a head that has so many further columns."""
    columns = ports[0].shape[-1]
    return None if columns is None else columns - number - signature.num_further


def classes_of_yolov8(signature: Signature, ports: Sequence[Port]) -> int | None:
    """How many a head with four numbers of a box has, whichever side they are on."""
    rows, columns = ports[0].shape[-2:]
    other = 4 + signature.num_further
    known = signature.num_classes
    if known is not None and columns == known + other:
        return known
    return None if rows is None else rows - other


def named(signature: Signature, *hints: str) -> bool:
    """Whether each hint is part of the name of an output."""
    names = [port.name.lower() for port in signature.outputs]
    return all(any(hint in name for name in names) for hint in hints)


def shapes(signature: Signature, *ranks: int) -> bool:
    """Whether the outputs have so many sides each, in whatever order."""
    return sorted(len(port.shape) for port in signature.outputs) == sorted(ranks)


def has_two(signature: Signature) -> bool:
    """Boxes, and a matrix of classes, of each query or cell."""
    both = assign(signature.outputs, ("boxes", "matrix"))
    lists = [port for port in signature.outputs if len(port.shape) < 4]
    is_named = named(signature, "logits", "pred_boxes")
    return both is not None and (len(lists) == 2 or is_named)


def is_short(signature: Signature) -> bool:
    """Whether boxes are no more than the queries of a DETR may be."""
    ports = assign(signature.outputs, ("boxes", "matrix")) or ()
    return all((signature.outputs[port].shape[-2] or 0) <= _MOST_QUERIES for port in ports)


def is_of_cells(signature: Signature) -> bool:
    """Whether there is a box for each cell of a grid, and no name tells of queries."""
    rows = signature.outputs[0].shape[1]
    return rows == signature.cells() and not named(signature, "logits")


def has_none_class(signature: Signature) -> bool:
    """Whether a matrix has a class more than there are names: for none."""
    both = assign(signature.outputs, ("boxes", "matrix"))
    columns = signature.outputs[both[1]].shape[-1] if both else None
    if signature.num_classes is None:
        return columns == 92  # COCO's 91 numbers, and none
    return columns == signature.num_classes + 1


def is_gfl(signature: Signature) -> bool:
    """Whether there is a map of classes and one of distances for each stride."""
    shapes = [port.shape for port in signature.outputs]
    half = len(shapes) // 2
    if len(shapes) not in (6, 8) or any(len(shape) != 3 for shape in shapes):
        return False
    classes, bins = shapes[:half], shapes[half:]
    return (
        all(a[1] == b[1] for a, b in zip(classes, bins, strict=True))
        and len({a[2] for a in classes}) == 1
        and all(b[2] and b[2] % 4 == 0 for b in bins)
    )


def has_lists(signature: Signature) -> bool:
    """Whether there are boxes, scores and labels, perhaps with their number."""
    lists = assign(signature.outputs, ("boxes", "scores", "labels"))
    return lists is not None and len(signature.outputs) in (3, 4)


def is_flat(signature: Signature) -> bool:
    """Whether there is one list of rows of seven numbers, of all images together."""
    return (
        len(signature.outputs) == 1
        and len(signature.outputs[0].shape) == 2
        and signature.outputs[0].shape[1] == 7
    )


def matrix_columns(signature: Signature, ports: Sequence[Port]) -> int | None:
    """How many classes the matrix beside the boxes has."""
    return ports[1].shape[-1]


def classes_of_sigmoid(signature: Signature, ports: Sequence[Port]) -> int | None:
    """A column more than there are names is of no class."""
    columns, known = ports[1].shape[-1], signature.num_classes
    return known if known is not None and columns == known + 1 else columns
