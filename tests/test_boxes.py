import numpy as np
import pytest

from masa_cli.boxes import are_occluded, are_untruncated, iou, share_inside, xywh_to_xyxy


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


SIZE = (200, 100)
BOXES = np.array([[10, 10, 30, 60], [0, 10, 30, 60], [180, 60, 200, 110], [15, 10, 35, 60]], float)
BOXES = BOXES.astype(np.float32)


def test_both_of_two_that_overlap_are_hidden():
    overlap = iou(BOXES[[0, 2, 3]], BOXES[[0, 2, 3]])  # 15 of 25 are shared: 0.6
    assert are_occluded(overlap, 0.55).tolist() == [True, False, True]
    assert are_occluded(overlap, 0.65).tolist() == [False, False, False]


def test_boxes_at_the_edge_are_not_whole():
    assert are_untruncated(BOXES, SIZE, 0.02).tolist() == [True, False, False, True]
    # Ten pixels are a fifth of the height of 50.
    assert are_untruncated(BOXES, SIZE, 0.21).tolist() == [False, False, False, False]
    assert are_untruncated(BOXES, None, 0.02).all()


def test_the_share_inside_the_frame():
    boxes = np.array([[10, 10, 20, 20], [-5, 10, 5, 20], [300, 0, 310, 10]], np.float32)
    assert share_inside(boxes, SIZE) == pytest.approx([1, 0.5, 0])
    assert share_inside(boxes, None).tolist() == [1, 1, 1]


def test_no_boxes():
    none = np.empty((0, 4), np.float32)
    assert are_occluded(iou(none, none), 0.3).shape == (0,)
    assert are_untruncated(none, SIZE, 0.02).shape == share_inside(none, SIZE).shape == (0,)
