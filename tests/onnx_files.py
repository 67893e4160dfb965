"""Small files of ONNX that find the one bright rectangle of an image, laid out as others are."""

import numpy as np
from onnx import TensorProto, helper, numpy_helper, save

NUM_ROWS = 12  # boxes of a layout that may have any number


class Graph:
    """Nodes of a graph, one after the other; values are known by their names.

    Args:
        size: height and width of the input.
        batch, height, width: of its declared shape, None for any.
        kind: of its numbers, as numpy names them.
        channels_last, has_batch: of its shape.
        threshold: above which a pixel is bright.
    """

    def __init__(
        self,
        size=(160, 160),
        *,
        batch=1,
        fixed=True,
        kind="float32",
        channels_last=False,
        has_batch=True,
        threshold=0.5,
    ):
        self.size, self.nodes, self.constants = size, [], []
        height, width = size if fixed else ("height", "width")
        shape = [height, width, 3] if channels_last else [3, height, width]
        self.kind = getattr(
            TensorProto, {"uint8": "UINT8", "float16": "FLOAT16"}.get(kind, "FLOAT")
        )
        self.inputs = [
            helper.make_tensor_value_info(
                "images", self.kind, ([batch or "batch"] if has_batch else []) + shape
            )
        ]
        image = self.add("Cast", "images", to=TensorProto.FLOAT)
        if not has_batch:
            image = self.add("Unsqueeze", image, axes=[0])
        axis = 3 if channels_last else 1
        bright = self.add("ReduceMin", image, axes=[axis], keepdims=0)  # (B, H, W)
        bright = self.add("Cast", self.add("Greater", bright, self.number(threshold)), to=1)
        self.ends = [self._ends(bright, 1, width), self._ends(bright, 2, height)]

    def add(self, op, *inputs, **attributes):
        name = f"{op}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, [*inputs], [name], **attributes))
        return name

    def number(self, value, kind=np.float32):
        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.array(value, kind), name))
        return name

    def _ends(self, bright, across, side):
        """The first and the last position of what is bright, after all of axis `across`."""
        line = self.add("ReduceMax", bright, axes=[across], keepdims=0)  # (B, side)
        shape = self.add("Shape", line)
        length = self.add("Gather", shape, self.number(1, np.int64), axis=0)
        steps = self.add("Range", self.number(0, np.int64), length, self.number(1, np.int64))
        place = self.add("Cast", steps, to=1)
        whole = self.add("Cast", length, to=1)
        last = self.add("Mul", line, self.add("Add", place, self.number(1)))
        first = self.add("Mul", line, self.add("Sub", whole, place))
        end = self.add("ReduceMax", last, axes=[1], keepdims=1)
        start = self.add("Sub", whole, self.add("ReduceMax", first, axes=[1], keepdims=1))
        return start, end, whole

    def xyxy(self, unit=False):
        """(B, 4), pixels of the input or shares of it."""
        (x1, x2, width), (y1, y2, height) = self.ends
        if unit:
            x1, x2 = (self.add("Div", x, width) for x in (x1, x2))
            y1, y2 = (self.add("Div", y, height) for y in (y1, y2))
        return self.add("Concat", x1, y1, x2, y2, axis=1)

    def xywh(self, unit=False):
        matrix = np.array([[0.5, 0, -1, 0], [0, 0.5, 0, -1], [0.5, 0, 1, 0], [0, 0.5, 0, 1]])
        return self.add("MatMul", self.xyxy(unit), self.number(matrix))

    def row(self, box, *after, before=()):
        """(B, 1, K): a box between numbers."""
        parts = [self._of_batch(each, box) for each in before]
        parts += [box, *(self._of_batch(each, box) for each in after)]
        row = self.add("Concat", *parts, axis=1) if len(parts) > 1 else box
        return self.add("Unsqueeze", row, axes=[1])

    def _of_batch(self, numbers, like):
        zero = self.add("Mul", self.add("ReduceMax", like, axes=[1], keepdims=1), self.number(0))
        return self.add("Add", zero, self.number(np.atleast_1d(numbers)[None]))

    def rows(self, row, count=NUM_ROWS, position=3, fill=0.0):
        """(B, count, K): the row at a position among others that are all `fill`."""
        pads = self.number([0, position, 0, 0, count - position - 1, 0], np.int64)
        return self.add("Pad", row, pads, self.number(fill))

    def save(self, file, outputs, *, metadata=None, further=(), integers=()):
        """Write the file; outputs are names to values, of floats but for `integers`."""
        half = self.kind == TensorProto.FLOAT16
        infos = []
        for name, value in outputs.items():
            kind = TensorProto.INT64 if name in integers else 10 if half else TensorProto.FLOAT
            self.nodes.append(helper.make_node("Cast", [value], [name], to=kind))
            infos.append(helper.make_tensor_value_info(name, kind, None))
        graph = helper.make_graph(
            self.nodes, "finder", [*self.inputs, *further], infos, self.constants
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 12)], ir_version=8)
        for key, value in (metadata or {}).items():
            entry = model.metadata_props.add()
            entry.key, entry.value = key, value
        save(model, str(file))
        return file


def cells(size, strides=(8, 16, 32)):
    return sum(-(-size[0] // s) * -(-size[1] // s) for s in strides)


def one_hot(label, count, value=0.9, other=0.0):
    return [value if index == label else other for index in range(count)]


ULTRALYTICS = {"names": "{0: 'cat', 1: 'person', 2: 'van'}", "stride": "32", "task": "detect"}


def yolov8(file, classes=3, metadata=None, **how):
    graph = Graph(**how)
    head = graph.rows(graph.row(graph.xywh(), one_hot(1, classes)), cells(graph.size))
    head = graph.add("Transpose", head, perm=[0, 2, 1])
    return graph.save(file, {"output0": head}, metadata=metadata)
