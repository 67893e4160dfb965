"""A detector that training imitates: what it says at each cell of a view, whatever the view shows.

It is asked about the view as it was augmented, so a few thousand photographs give as many lessons
as there are steps, whether they have labels or not (knowledge distillation as function matching,
arXiv 2106.05237). Its cells are those of the network that learns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from scipy.special import softmax

from masa_cli.detectors.prompt import load_vocabulary
from masa_cli.errors import SettingsError
from masa_cli.structures import FloatArray, Image

STRIDES = (8, 16, 32, 64)
_BGR_MEAN = (103.53, 116.28, 123.675)  # those of ImageNet, as PaddleDetection writes them
_BGR_STD = (57.375, 57.12, 58.395)
_FIX = "give PicoDet's ONNX file as PaddleDetection exports it without post-processing"


@dataclass(frozen=True, slots=True, eq=False)
class Lesson:
    """What a teacher says of one view.

    Attributes:
        scores: (N, K) float16, 0 to 1, of each class at each cell, level by level, row by row.
        boxes: (N, 4) float16 xyxy, pixels of the view.
    """

    scores: FloatArray
    boxes: FloatArray

    def reduced(self, factor: int, size: int) -> Lesson:
        """That of a view made smaller by a power of 2: without the finest levels.

        Args:
            factor: how much smaller.
            size: side of the view before, pixels.
        """
        finest = STRIDES[: factor.bit_length() - 1]
        start = sum((-(-size // stride)) ** 2 for stride in finest) if len(self.scores) else 0
        return Lesson(self.scores[start:], self.boxes[start:] / np.float16(factor))

    @staticmethod
    def nothing(num_classes: int = 0) -> Lesson:
        """Of no cell."""
        return Lesson(np.empty((0, num_classes), np.float16), np.empty((0, 4), np.float16))


class Teacher:
    """PicoDet (arXiv 2111.00902) with COCO's classes: scores and distributions of sides per cell.

    The network is built where it is first used, so a teacher travels to other processes.

    Args:
        file: ONNX, with one output of scores and one of distributions for each of STRIDES.
        classes: of the network that learns; those that the teacher does not know stay 0.
        size: side of the views, pixels.

    Raises:
        SettingsError: it is no such file, or made for views of another size.
    """

    def __init__(self, file: Path, classes: Sequence[str], size: int) -> None:
        self._file, self._size = file, size
        known = load_vocabulary().classes
        self._columns = [known.index(name) if name in known else -1 for name in classes]
        self._network: Any = None
        own = _input_size(file)
        if own != size:
            raise SettingsError(
                f"{file} looks at {own} x {own} pixels, the views have {size}",
                fix=f"add --set views.size={own}",
            )

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_network": None}

    def __call__(self, image: Image) -> Lesson:
        """What it says of a view (size, size, 3) uint8 RGB."""
        if self._network is None:
            self._network = _compiled(self._file)
        pixels = image[:, :, ::-1].astype(np.float32)
        pixels -= _BGR_MEAN
        pixels /= _BGR_STD
        found = self._network(np.ascontiguousarray(pixels.transpose(2, 0, 1)[None]))
        outputs = [found[index][0] for index in range(2 * len(STRIDES))]
        scores = np.concatenate(outputs[: len(STRIDES)])
        # One more column of zeros stands for classes that it does not know.
        scores = np.pad(scores, ((0, 0), (0, 1)))[:, self._columns]
        boxes = [
            _boxes(sides, stride, -(-self._size // stride))
            for sides, stride in zip(outputs[len(STRIDES) :], STRIDES, strict=True)
        ]
        return Lesson(scores.astype(np.float16), np.concatenate(boxes).astype(np.float16))


def _boxes(bins: FloatArray, stride: int, count: int) -> FloatArray:
    """(count², 4) xyxy from (count², 4 * B) distributions of sides over 0 to B - 1 strides."""
    shares = softmax(bins.reshape(len(bins), 4, -1), axis=2)
    sides = shares @ np.arange(shares.shape[2]) * stride  # left, top, right, bottom
    y, x = np.divmod(np.arange(count * count), count)
    centres = (np.stack([x, y], axis=1) + 0.5) * stride
    boxes: FloatArray = np.concatenate([centres - sides[:, :2], centres + sides[:, 2:]], axis=1)
    return boxes


def _input_size(file: Path) -> int:
    import openvino

    try:
        model = openvino.Core().read_model(file)
    except RuntimeError as error:
        raise SettingsError(
            f"{file} cannot be read as ONNX: {str(error).splitlines()[0]}", fix=_FIX
        ) from None
    shapes = [output.partial_shape for output in model.outputs]
    if len(model.inputs) != 1 or len(shapes) != 2 * len(STRIDES):
        raise SettingsError(
            f"{file} has outputs of the shapes {', '.join(map(str, shapes))}, not scores and "
            f"distributions for {len(STRIDES)} strides",
            fix=_FIX,
        )
    return int(model.inputs[0].partial_shape[2].get_length())


def _compiled(file: Path) -> Any:  # noqa: ANN401 - OpenVINO has no types
    import openvino

    cv2.setNumThreads(0)
    settings = {"INFERENCE_NUM_THREADS": 1}
    return openvino.Core().compile_model(file, "CPU", settings)
