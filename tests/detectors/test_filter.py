from fractions import Fraction

import cv2
import numpy as np
import pytest

from masa_cli.detectors import Detector
from masa_cli.detectors.filter import FromFile, Selection, parse_classes, read_polygons, within_any
from masa_cli.errors import SettingsError, SourceError, UsageError
from masa_cli.formats.tables import DetectionTable
from masa_cli.structures import Detections, Frame

TRIANGLE = ((0.0, 0.0), (10.0, 0.0), (0.0, 10.5))
TEXT = "[[0, 0], [10, 0], [0, 10.5]]"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (TEXT, (TRIANGLE,)),
        (f"[{TEXT}, {TEXT}]", (TRIANGLE, TRIANGLE)),
        (f'{{"type": "Polygon", "coordinates": [{TEXT}]}}', (TRIANGLE,)),
        (f'{{"type": "MultiPolygon", "coordinates": [[{TEXT}], [{TEXT}]]}}', (TRIANGLE,) * 2),
        (
            '{"type": "FeatureCollection", "features": [{"type": "Feature", "geometry": '
            f'{{"type": "Polygon", "coordinates": [{TEXT}]}}}}]}}',
            (TRIANGLE,),
        ),
    ],
)
def test_polygons_of_every_kind(tmp_path, text, expected):
    path = tmp_path / "roi.json"
    path.write_text(text)
    assert read_polygons(path) == expected


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "is not JSON"),
        ("[", "is not JSON"),
        ("[]", "0 points"),
        ("[[0, 0], [1, 1]]", "2 points, at least 3"),
        ('[[0, 0], [1, 1], "a"]', "expected points"),
        ("[[0, 0], [1, 1], [1e99, 0]]", "expected points"),
        ("[" * 40 + "]" * 40, "expected points"),
        ("3", "expected points"),
        ('{"type": "Point", "coordinates": [0, 0]}', "GeoJSON of type Point"),
        (f'{{"type": "Polygon", "coordinates": [{TEXT}, {TEXT}]}}', "has holes"),
        ('{"type": "Feature"}', "expected points"),
        ('{"type": "FeatureCollection", "features": []}', "has no polygon"),
    ],
)
def test_what_is_none_is_an_error_that_names_the_file(tmp_path, text, problem):
    path = tmp_path / "roi.json"
    path.write_text(text)
    with pytest.raises(SourceError, match=problem) as error:
        read_polygons(path)
    assert "roi.json" in error.value.problem


def test_a_missing_file_is_an_error(tmp_path):
    with pytest.raises(SourceError, match="does not exist"):
        read_polygons(tmp_path / "none.json")


CLASSES = ("car", "person")
SQUARE = ((10.0, 10.0), (50.0, 10.0), (50.0, 50.0), (10.0, 50.0))
# A square with a bite out of its right side: the middle is outside.
NOTCHED = ((0.0, 0.0), (40.0, 0.0), (20.0, 20.0), (40.0, 40.0), (0.0, 40.0))


def found(*rows):
    """Rows of x1, y1, x2, y2 and perhaps score, label."""
    columns = np.array([(*row, *(0.9, 0)[len(row) - 4 :]) for row in rows]).reshape(-1, 6)
    return Detections(
        columns[:, :4].astype(np.float32),
        columns[:, 4].astype(np.float32),
        columns[:, 5].astype(np.int64),
    )


def kept(selection, *rows):
    given = found(*rows)
    boxes = [tuple(box) for box in given.boxes.tolist()]
    return [boxes.index(tuple(box)) for box in selection.of(given, CLASSES).boxes.tolist()]


def test_by_default_all_are_wanted():
    assert kept(Selection(), (0, 0, 1, 1), (5, 5, 9, 9, -3, 1)) == [0, 1]
    assert kept(Selection()) == []


def test_classes_each_with_their_own_least_score():
    rows = [(0, 0, 9, 9, 0.3, 0), (1, 0, 9, 9, 0.3, 1), (2, 0, 9, 9, 0.6, 1)]
    assert kept(Selection({"person": 0.5}), *rows) == [2]
    assert kept(Selection({"person": 0.7, "car": -np.inf}), *rows) == [0]
    assert kept(Selection({"car": 0.7}), (0, 0, 9, 9, 0.7)) == [0]  # float32(0.7) is below 0.7
    assert kept(Selection({"car": 0.25, "person": 0.25}), *rows) == [0, 1, 2]
    assert kept(Selection({"car": 0.5})) == []


def test_small_boxes_are_left_out_by_area():
    assert kept(Selection(min_area=100), (0, 0, 10, 10), (0, 0, 9, 10), (0, 0, 50, 2)) == [0, 2]


@pytest.mark.parametrize(
    ("placement", "expected"), [("centre", [0, 1]), ("foot", [0, 2]), ("overlap", [0])]
)
def test_the_place_is_that_of_centre_foot_or_most_of_the_box(placement, expected):
    rows = [
        (20, 20, 40, 40),  # wholly inside
        (0, 11, 60, 70),  # its centre is; less than half of it
        (20, -70, 40, 15),  # only its foot
        (60, 60, 90, 90),
    ]
    selection = Selection(inside=(SQUARE,), placement=placement)
    assert kept(selection, *rows) == expected
    left_out = Selection(outside=(SQUARE,), placement=placement)
    assert kept(left_out, *rows) == [place for place in range(4) if place not in expected]


def test_inside_one_of_several_and_outside_of_all():
    far = tuple((x + 100, y) for x, y in SQUARE)
    rows = [(20, 20, 40, 40), (120, 20, 140, 40), (60, 20, 80, 40)]
    assert kept(Selection(inside=(SQUARE, far)), *rows) == [0, 1]
    assert kept(Selection(inside=(SQUARE, far), outside=(far,)), *rows) == [0]


def test_points_in_a_polygon_that_is_not_convex():
    points = np.array([[10, 20], [30, 20], [30, 5], [30, 35], [-1, 20], [45, 1]])
    assert within_any(points.astype(float), (NOTCHED,)).tolist() == [
        True,
        False,
        True,
        True,
        False,
        False,
    ]


def test_points_agree_with_opencv():
    rng = np.random.default_rng(0)
    polygon = rng.uniform(0, 100, (9, 2))
    points = rng.uniform(-10, 110, (2000, 2))
    mask = np.zeros((1300, 1300), np.uint8)
    cv2.fillPoly(mask, [np.round((polygon + 10) * 10).astype(np.int32)], 1)
    drawn = mask[tuple(np.clip(np.round((points + 10) * 10), 0, 1299).astype(int).T[::-1])] > 0
    ours = within_any(points, (tuple(map(tuple, polygon.tolist())),))
    assert (ours == drawn).mean() > 0.99  # but for the pixels of the edges


def test_an_unknown_class_is_named_with_those_there_are():
    Selection({"car": 0.0}).check(CLASSES)
    with pytest.raises(SettingsError, match='no class "dog"') as error:
        Selection({"dog": 0.0}).check(CLASSES)
    assert "car, person" in error.value.fix


@pytest.mark.parametrize("text", ["car:x", ":0.5", "car:nan", "car:"])
def test_what_is_no_class_is_a_usage_error(text):
    with pytest.raises(UsageError, match="--classes"):
        parse_classes(text)


def test_classes_are_parsed_with_their_scores():
    assert parse_classes("car, a b:0.6,") == {"car": float("-inf"), "a b": 0.6}
    assert parse_classes("") == {}


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


def test_boxes_below_the_minimum_score_are_left_out():
    found = FromFile(TABLE, min_score=0.5).detect(frames(0, 2))
    assert [detections.scores.tolist() for detections in found] == [[], [0.5]]


def test_classes_whose_names_have_commas_are_in_quotes():
    parsed = parse_classes('car, "bus, red":0.5,"a ""b"", c"')
    assert parsed == {"car": float("-inf"), "bus, red": 0.5, 'a "b", c': float("-inf")}
    selection = Selection(parse_classes("bus, red"))
    with pytest.raises(SettingsError, match=r'fix: name some of: car, "bus, red"'):
        selection.check(("car", "bus, red"))
