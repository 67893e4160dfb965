import pytest

from masa_cli.errors import SourceError
from masa_cli.formats.polygons import read_polygons

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
