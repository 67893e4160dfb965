"""How exported detectors want their images, and what their outputs mean: LAYOUTS, a row each.

A layout is recognised by names and shapes of outputs. Each row follows the program that its family
comes from in how an image is fitted, rounded and padded, and where the centre of a cell is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Literal

from masa_cli.detectors.onnx_decoding import (
    Context,
    Decoded,
    boxes_in_columns,
    boxes_in_lists,
    boxes_in_lists_of_tensorflow,
    boxes_with_matrix,
    decode_fastestdet,
    decode_gfl,
    decode_nanodet_plus,
    decode_sigmoid,
    decode_softmax,
    decode_ultralytics_rtdetr,
    decode_yolov5,
    decode_yolov8,
    decode_yolox,
    scored_boxes_in_lists,
)
from masa_cli.detectors.onnx_images import PLAIN, NetworkInput
from masa_cli.detectors.onnx_signature import (
    NUM_BINS,
    Port,
    Role,
    Signature,
    assign,
    classes_of_sigmoid,
    classes_of_yolov8,
    columns_less,
    has_lists,
    has_none_class,
    has_two,
    is_flat,
    is_gfl,
    is_head,
    is_of_cells,
    is_short,
    matrix_columns,
    named,
    shapes,
)
from masa_cli.structures import FloatArray

# Where its boxes are: pixels of the network input, shares of it, either (numbers tell), or already
# pixels of the source.
Space = Literal["input", "unit", "either", "source"]


Decode = Callable[[Sequence[FloatArray], Context], Decoded]


@dataclass(frozen=True, slots=True)
class Layout:
    """One kind of exported detector.

    Attributes:
        name: as users write it.
        summary: one line for users.
        decode: makes boxes of the outputs of one image, float32 without the batch.
        fits: whether a network is of this kind, as far as its signature tells.
        roles: what outputs it reads, in the order in which `decode` has them; none: all of them.
        counts: from the shapes of those outputs to the number of classes; None if they do not tell.
        input: how an image is made the network's input.
        space: where its boxes are.
        max_overlap: IoU above which NMS drops the weaker box; 1 where the network has done that.
        clips: whether boxes end at the edges of the image.
        first_label: the number of the first class.
        has_gaps: whether classes are numbered as in COCO's files, if nothing names them.
        keeps_size: whether a network for any size fits images itself.
    """

    name: str
    summary: str
    decode: Decode
    fits: Callable[[Signature], bool]
    roles: tuple[Role, ...] = ("rows",)
    counts: Callable[[Signature, Sequence[Port]], int | None] = lambda signature, ports: None
    input: NetworkInput = PLAIN
    space: Space = "input"
    max_overlap: float = 1.0
    clips: bool = False
    first_label: int = 0
    has_gaps: bool = False
    keeps_size: bool = False

    def ports(self, signature: Signature) -> tuple[int, ...] | None:
        """Which outputs it reads; None if they are not there."""
        if not self.roles:
            return tuple(range(len(signature.outputs)))
        return assign(signature.outputs, self.roles)


def recognise(signature: Signature) -> Layout | None:
    """The layout of a network; None if it is none that is known."""
    for layout in LAYOUTS.values():
        if layout.fits(signature) and layout.ports(signature) is not None:
            return layout
    return None


_LISTS: tuple[Role, ...] = ("boxes", "scores", "labels")
_TWO: tuple[Role, ...] = ("boxes", "matrix")
_YOLO = NetworkInput("centre", shrinks=True)
_NAS = NetworkInput("centre", margin=4)
_STRETCHED = NetworkInput("stretch", resize="antialias")
_IMAGENET = NetworkInput(
    "stretch",
    resize="antialias",
    mean=(123.675, 116.28, 103.53),
    std=(58.395, 57.12, 57.375),
)
_BGR_MEAN, _BGR_STD = (103.53, 116.28, 123.675), (57.375, 57.12, 58.395)
_GFL = NetworkInput("centre", pad=0, order="bgr", mean=_BGR_MEAN, std=_BGR_STD, resize="area")
_FIVE = partial(columns_less, 5)

# In the order in which they are tried: what has a mark of its own first.
_ROWS = (
    Layout(
        "rt-detr",
        "RT-DETR, D-FINE, DEIM as their authors export them: the size of the source goes in",
        boxes_in_lists,
        lambda s: "orig_target_sizes" in s.further_inputs and has_lists(s),
        _LISTS,
        input=_STRETCHED,
        space="source",
        clips=True,
    ),
    Layout(
        "paddle",
        "PaddleDetection with NMS: rows of label, score, box",
        partial(boxes_in_columns, box=2, score=1, label=0),
        lambda s: "scale_factor" in s.further_inputs,
        input=_IMAGENET,
        space="source",
        clips=True,
    ),
    Layout(
        "ssd-tensorflow",
        "TensorFlow's detection API: detection_boxes, detection_scores, detection_classes",
        boxes_in_lists_of_tensorflow,
        lambda s: named(s, "detection_boxes", "detection_scores", "detection_classes"),
        _LISTS,
        input=NetworkInput("stretch"),
        space="unit",
        clips=True,
        first_label=1,
        has_gaps=True,
        keeps_size=True,
    ),
    Layout(
        "ssd-openvino",
        "Caffe's and OpenVINO's SSD: rows of image, label, score, box",
        partial(boxes_in_columns, box=3, score=2, label=1),
        lambda s: shapes(s, 4) and s.outputs[0].shape[3] == 7,
        input=NetworkInput("stretch", order="bgr", std=(1, 1, 1)),
        space="unit",
        clips=True,
    ),
    Layout(
        "fastestdet",
        "FastestDet: one map of objectness, box and classes",
        decode_fastestdet,
        lambda s: shapes(s, 4) and (s.outputs[0].shape[1] or 0) > 5,
        counts=lambda s, ports: (ports[0].shape[1] or 0) - 5,
        input=NetworkInput("stretch", order="bgr", resize="area"),
        space="unit",
        max_overlap=0.45,
    ),
    Layout(
        "gfl",
        "NanoDet, PicoDet: a map of classes and one of distances for each stride",
        decode_gfl,
        is_gfl,
        (),
        lambda s, ports: ports[0].shape[2],
        _GFL,
        max_overlap=0.6,
    ),
    Layout(
        "rf-detr",
        "RF-DETR: dets, labels",
        decode_sigmoid,
        lambda s: has_two(s) and named(s, "dets", "labels"),
        _TWO,
        classes_of_sigmoid,
        _IMAGENET,
        space="unit",
        clips=True,
    ),
    Layout(
        "detr",
        "DETR, YOLOS: logits with a class for none, pred_boxes",
        decode_softmax,
        lambda s: has_two(s) and is_short(s) and has_none_class(s),
        _TWO,
        lambda s, ports: (ports[1].shape[-1] or 1) - 1,
        _IMAGENET,
        space="unit",
        clips=True,
    ),
    Layout(
        "rt-detr-logits",
        "RT-DETR, D-FINE before post-processing: logits, pred_boxes",
        decode_sigmoid,
        lambda s: has_two(s) and is_short(s) and not is_of_cells(s),
        _TWO,
        matrix_columns,
        _STRETCHED,
        space="unit",
        clips=True,
    ),
    Layout(
        "yolo-nas",
        "YOLO-NAS before NMS: boxes and the scores of all classes",
        boxes_with_matrix,
        has_two,
        _TWO,
        matrix_columns,
        _NAS,
        max_overlap=0.7,
        clips=True,
    ),
    Layout(
        "mmdeploy",
        "MMDetection (RTMDet and others) by MMDeploy: dets with scores, labels",
        scored_boxes_in_lists,
        lambda s: s.outputs[0].shape[-1] == 5 and shapes(s, 3, 2),
        ("rows", "labels"),
        input=NetworkInput("corner", order="bgr", mean=_BGR_MEAN, std=_BGR_STD),
    ),
    Layout(
        "yolo-nas-batch",
        "YOLO-NAS with NMS, format batch: num_predictions, boxes, scores, classes",
        boxes_in_lists,
        lambda s: len(s.outputs) == 4 and has_lists(s) and (s.is_uint8 or named(s, "pred_")),
        _LISTS,
        input=_NAS,
        clips=True,
    ),
    Layout(
        "yolo-batch",
        "YOLO with TensorRT's NMS: num_dets, det_boxes, det_scores, det_classes",
        boxes_in_lists,
        lambda s: len(s.outputs) == 4 and has_lists(s) and named(s, "num"),
        _LISTS,
        input=_YOLO,
        clips=True,
    ),
    Layout(
        "ssd",
        "SSD, Faster R-CNN and the like, as torchvision exports them: boxes, labels, scores",
        boxes_in_lists,
        has_lists,
        _LISTS,
        input=NetworkInput("stretch"),
        space="either",
        clips=True,
        has_gaps=True,
        keeps_size=True,
    ),
    Layout(
        "ssd-imagenet",
        "the same, for images normalised as for ImageNet",
        boxes_in_lists,
        lambda s: False,
        _LISTS,
        input=_IMAGENET,
        space="either",
        clips=True,
        has_gaps=True,
        keeps_size=True,
    ),
    Layout(
        "yolo-nas-flat",
        "YOLO-NAS with NMS, format flat: rows of image, box, score, label",
        partial(boxes_in_columns, box=1, score=5, label=6),
        lambda s: is_flat(s) and (s.is_uint8 or named(s, "pred")),
        input=_NAS,
        clips=True,
    ),
    Layout(
        "yolov7-flat",
        "YOLOv7 with NMS: rows of image, box, label, score",
        partial(boxes_in_columns, box=1, score=6, label=5),
        is_flat,
        input=_YOLO,
        clips=True,
    ),
    Layout(
        "yolo-end2end",
        "YOLOv10, YOLO26, and Ultralytics' others with NMS: rows of box, score, label",
        partial(boxes_in_columns, box=0, score=4, label=5),
        partial(is_head, "yolo-end2end"),
        input=_YOLO,
        clips=True,
    ),
    Layout(
        "yolov8",
        "YOLOv8, 9, 11, 12 before NMS: 4 numbers of a box and its classes",
        decode_yolov8,
        partial(is_head, "yolov8"),
        counts=classes_of_yolov8,
        input=_YOLO,
        max_overlap=0.7,
        clips=True,
    ),
    Layout(
        "yolov5",
        "YOLOv5, YOLOv7 before NMS: box, objectness, classes of 3 anchors a cell",
        decode_yolov5,
        partial(is_head, "yolov5"),
        counts=_FIVE,
        input=_YOLO,
        max_overlap=0.45,
        clips=True,
    ),
    Layout(
        "yolov6",
        "YOLOv6 before NMS: box, objectness, classes of each cell",
        decode_yolov5,
        partial(is_head, "yolov6"),
        counts=_FIVE,
        input=_YOLO,
        max_overlap=0.45,
        clips=True,
    ),
    Layout(
        "yolox",
        "YOLOX, decoded or not: box, objectness, classes of each cell",
        decode_yolox,
        partial(is_head, "yolox"),
        counts=_FIVE,
        input=NetworkInput("corner", order="bgr", std=(1, 1, 1), truncates=True),
        max_overlap=0.6,
    ),
    Layout(
        "nanodet-plus",
        "NanoDet-Plus: classes and distances of each cell",
        decode_nanodet_plus,
        partial(is_head, "nanodet-plus"),
        counts=partial(columns_less, 4 * NUM_BINS),
        input=_GFL,
        max_overlap=0.6,
    ),
    Layout(
        "rt-detr-ultralytics",
        "RT-DETR as Ultralytics exports it: rows of box and classes",
        decode_ultralytics_rtdetr,
        partial(is_head, "rt-detr-ultralytics"),
        counts=partial(columns_less, 4),
        input=NetworkInput("stretch"),
        space="unit",
        clips=True,
    ),
)
LAYOUTS: Mapping[str, Layout] = MappingProxyType({row.name: row for row in _ROWS})
