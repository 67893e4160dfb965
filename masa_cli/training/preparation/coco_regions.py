"""Regions from COCO json, for many images in one file, and from SA-1B's json, one for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import orjson
from pycocotools import mask as coco

from masa_cli.errors import SourceError
from masa_cli.formats.rle import first_bad
from masa_cli.structures import FloatArray, Image
from masa_cli.training.preparation.found import OBJECT, FoundRegion, hull_of

_FIX = "give COCO json with images and annotations, or a folder of SA-1B's json files"


class CocoRegions:
    """Annotations of many images, with masks or boxes.

    Args:
        file: COCO json.

    Raises:
        SourceError: it cannot be read.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        content = read_json(file)
        try:
            self._names = {
                int(row["id"]): str(row["name"]) for row in content.get("categories", [])
            }
            id_of = {row["id"]: str(row["file_name"]) for row in content["images"]}
            self._rows: dict[str, list[Mapping[str, Any]]] = {name: [] for name in id_of.values()}
            for row in content["annotations"]:
                if not row.get("iscrowd") and not row.get("ignore"):
                    self._rows[id_of[row["image_id"]]].append(row)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            what = f"{type(error).__name__}: {error}"
            raise SourceError(f"{file} is not COCO json ({what})", fix=_FIX) from None
        self._by_stem = {Path(name).name: rows for name, rows in self._rows.items()}

    def regions(self, name: str, image: Image) -> list[FoundRegion] | None:
        """See `RegionSource`."""
        rows = self._rows.get(name, self._by_stem.get(Path(name).name))
        return None if rows is None else regions_of(rows, image, self._names, self._file)


class Sa1bRegions:
    """SA-1B's json files in a folder, named like the images.

    Args:
        folder: of the files.
    """

    def __init__(self, folder: Path) -> None:
        self._by_stem = {file.stem: file for file in sorted(folder.rglob("*.json"))}

    def regions(self, name: str, image: Image) -> list[FoundRegion] | None:
        """See `RegionSource`."""
        file = self._by_stem.get(Path(name).stem)
        if file is None:
            return None
        content = read_json(file)
        rows = content.get("annotations") if isinstance(content, dict) else None
        if not isinstance(rows, list):
            raise SourceError(f'{file} has no list of "annotations"', fix=_FIX)
        return regions_of(rows, image, {}, file)


def read_json(file: Path) -> Any:  # noqa: ANN401 - JSON
    """What a file holds.

    Raises:
        SourceError: it cannot be read.
    """
    try:
        return orjson.loads(file.read_bytes())
    except OSError as error:
        raise SourceError(f"{file} cannot be read: {error.strerror}", fix=_FIX) from None
    except orjson.JSONDecodeError as error:
        raise SourceError(f"{file} is not JSON: {error}", fix=_FIX) from None


def regions_of(
    rows: Sequence[Mapping[str, Any]], image: Image, names: Mapping[int, str], file: Path
) -> list[FoundRegion]:
    """The regions that annotations of one image stand for; `file` is named in errors."""
    found = []
    for row in rows:
        try:
            region = _region_of(row, image.shape[:2], names)
        except (KeyError, TypeError, ValueError) as error:
            what = f"{type(error).__name__}: {error}"
            raise SourceError(
                f"{file}: annotation {row.get('id')} is no region ({what})", fix=_FIX
            ) from None
        if region is not None:
            found.append(region)
    return found


def _region_of(
    row: Mapping[str, Any], size: tuple[int, ...], names: Mapping[int, str]
) -> FoundRegion | None:
    name = names.get(int(row.get("category_id", 0)), OBJECT)
    left, top, width, height = map(float, row["bbox"])
    if not np.isfinite([left, top, width, height]).all() or width < 1 or height < 1:
        return None
    shape = row.get("segmentation")
    if not shape:
        return FoundRegion.of_box(left, top, width, height, name)
    packed = _packed(shape, size)
    area = float(coco.area(packed))
    if not area:
        return None
    # SA-1B's boxes are kept as they are, as MASA does.
    mask = {"size": list(size[:2]), "counts": packed["counts"].decode()}
    return FoundRegion((left, top, width, height), area, mask, _outline(shape, packed), name)


def _packed(shape: Any, size: tuple[int, ...]) -> dict[str, Any]:  # noqa: ANN401 - JSON
    """Compressed run lengths of polygons, of run lengths, or of compressed ones."""
    height, width = size[:2]
    packed: dict[str, Any]
    if isinstance(shape, list):
        packed = coco.merge(coco.frPyObjects(shape, height, width))
        return packed
    if list(shape["size"]) != [height, width]:
        raise ValueError(f"a mask of {shape['size']} for an image of {[height, width]}")
    if isinstance(shape["counts"], list):
        packed = coco.frPyObjects(shape, height, width)
        return packed
    if bad := first_bad([shape["counts"]], np.array([height * width])):
        raise ValueError(f"its mask is {bad[1]}")
    return {"size": [height, width], "counts": shape["counts"].encode()}


def _outline(shape: Any, packed: dict[str, Any]) -> FloatArray:  # noqa: ANN401 - JSON
    if not isinstance(shape, list):
        return hull_of(coco.decode(packed).astype(np.bool_))
    corners = np.concatenate([np.array(ring, np.float32).reshape(-1, 2) for ring in shape])
    hull: FloatArray = cv2.convexHull(corners).reshape(-1, 2)  # type: ignore[assignment]
    return hull
