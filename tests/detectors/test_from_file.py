from fractions import Fraction

import numpy as np

from masa_cli.detectors import Detector
from masa_cli.detectors.from_file import FromFile
from masa_cli.formats.tables import DetectionTable
from masa_cli.structures import Frame

TABLE = DetectionTable.from_rows(
    np.array([2, 0, 2]),
    np.array([[0, 0, 1, 1], [0, 0, 2, 2], [0, 0, 3, 3]], np.float32),
    np.array([0.5, -1, 0.1], np.float32),
    np.array([0, 1, 1]),
    ("cat", "dog"),
)


def frames(*indices: int) -> list[Frame]:
    return [Frame.without_image(index, Fraction(index)) for index in indices]


def test_each_frame_gets_its_boxes_whatever_the_order_asked():
    detector: Detector = FromFile(TABLE)
    found = detector.detect(frames(2, 0, 1, 99))
    assert [len(detections) for detections in found] == [2, 1, 0, 0]
    assert found[0].boxes[:, 2].tolist() == [1, 3]
    assert detector.classes == ("cat", "dog")


def test_boxes_below_the_least_score_are_left_out():
    found = FromFile(TABLE, min_score=0.5).detect(frames(0, 2))
    assert [detections.scores.tolist() for detections in found] == [[], [0.5]]
