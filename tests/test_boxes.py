import numpy as np
import pytest

from masa_cli.boxes import iou, xywh_to_xyxy


@pytest.mark.parametrize("precision", [np.float32, np.float64])
def test_iou_is_of_the_precision_of_the_boxes(precision):
    xywh = np.array([[0, 0, 3, 1], [10, 0, 1, 1]], precision)
    boxes = xywh_to_xyxy(xywh)
    shares = iou(boxes[:1], np.array([[1, 0, 4, 1], [9, 9, 9, 9]], precision))
    assert (boxes.dtype, shares.dtype) == (precision, precision)
    # 2 of 4 square pixels are shared; a box without area shares nothing
    assert shares.tolist() == [[0.5, 0]]


def test_float64_keeps_what_float32_would_lose():
    boxes = np.array([[0, 0, 1, 3.0]])
    assert iou(boxes, np.array([[0, 0, 1, 1.0]]))[0, 0] == pytest.approx(1 / 3, abs=1e-16)
