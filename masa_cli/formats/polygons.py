"""Polygons out of JSON, in pixels: where in a picture boxes are wanted, or not.

[[x, y], [x, y], [x, y], …]                 one polygon
[[[x, y], …], [[x, y], …]]                  several
{"type": "Polygon", "coordinates": …}       GeoJSON: Polygon, MultiPolygon, Feature or
                                            FeatureCollection of them; without holes
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson

from masa_cli.errors import SourceError
from masa_cli.formats.detection_table import LARGEST
from masa_cli.formats.text_file import explained, shortened
from masa_cli.selection import Polygon

_FIX = "write a list of points, [[x, y], [x, y], [x, y]], a list of such lists, or GeoJSON"
_DEEPEST = 8


def read_polygons(path: Path) -> tuple[Polygon, ...]:
    """The polygons of a file, at least one.

    Raises:
        SourceError: it is no JSON of polygons, or a polygon has holes or less than three points.
    """
    with explained(path):
        data = path.read_bytes()
    try:
        content = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise SourceError(
            f"{path} line {error.lineno} column {error.colno} is not JSON: {error.msg}", fix=_FIX
        ) from None
    polygons = _polygons(content, path, 0)
    if not polygons:
        raise SourceError(f"{path} has no polygon", fix=_FIX)
    return tuple(polygons)


def _polygons(content: Any, path: Path, depth: int) -> list[Polygon]:  # noqa: ANN401 - JSON
    if isinstance(content, dict) and depth < _DEEPEST:
        return _geo(content, path, depth)
    if not isinstance(content, list):
        raise SourceError(f"{path}: expected points, got {shortened(str(content))}", fix=_FIX)
    if all(_is_point(each) for each in content):
        if len(content) < 3:
            raise SourceError(
                f"{path}: a polygon has {len(content)} points, at least 3 are needed", fix=_FIX
            )
        return [tuple((float(x), float(y)) for x, y in content)]
    if depth >= _DEEPEST or any(_is_point(each) for each in content):
        raise SourceError(f"{path}: expected points, got {shortened(str(content))}", fix=_FIX)
    return [polygon for each in content for polygon in _polygons(each, path, depth + 1)]


def _geo(content: dict[str, Any], path: Path, depth: int) -> list[Polygon]:
    kind, rings = content.get("type"), content.get("coordinates")
    if kind == "FeatureCollection" and isinstance(content.get("features"), list):
        return [
            polygon
            for feature in content["features"]
            for polygon in _polygons(feature, path, depth + 1)
        ]
    if kind == "Feature":
        return _polygons(content.get("geometry"), path, depth + 1)
    polygons = {"Polygon": [rings], "MultiPolygon": rings}.get(str(kind))
    if not isinstance(polygons, list) or not all(isinstance(each, list) for each in polygons):
        raise SourceError(f"{path}: GeoJSON of type {shortened(str(kind))}", fix=_FIX)
    if any(len(each) != 1 for each in polygons):
        raise SourceError(f"{path}: a polygon has holes", fix="draw it as several without")
    return [polygon for each in polygons for polygon in _polygons(each[0], path, depth + 1)]


def _is_point(each: object) -> bool:
    return (
        isinstance(each, list)
        and len(each) == 2
        and all(type(number) in (int, float) and abs(number) < LARGEST for number in each)
    )
