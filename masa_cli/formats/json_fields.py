"""Lists of objects in a JSON file, taken apart into columns; errors name the file and the entry."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import orjson
from numpy.typing import NDArray
from pycocotools import mask as coco

from masa_cli.errors import SourceError, shortened
from masa_cli.formats.files import HELP, explained, utf8_of
from masa_cli.formats.tables import LARGEST
from masa_cli.masks import MAX_SIDE, as_array, first_bad, read_masks
from masa_cli.structures import BoolArray, IntArray, Mask, MaskArray

# {"size": [height, width], "counts": compressed run lengths}, as pycocotools wants it.
Rle: TypeAlias = dict[str, Any]

_RLE_HELP = "write masks as COCO's compressed run lengths: pycocotools.mask.encode"
_TOO_LARGE = 2**63  # for int64
_MAX_PERIMETER = 2**20  # pixels; around the largest images it is a tenth of that
_MAX_COORDINATE = 2**20  # pixels from the image's corner
_MAX_RUN = 2**30  # pixels; no image has more


@dataclass(frozen=True, slots=True)
class Columns:
    """A list of objects.

    Attributes:
        rows: the objects.
        where: file and key, as errors name it ("gt.json annotations").
        fix: where the rules are that its objects keep, as errors advise.
    """

    rows: Sequence[dict[str, Any]]
    where: str
    fix: str = HELP

    def __len__(self) -> int:
        return len(self.rows)

    def of(self, key: str) -> list[Any]:
        """The values as they are; raises SourceError where one is missing."""
        try:
            return [row[key] for row in self.rows]
        except KeyError:
            number = next(number for number, row in enumerate(self.rows) if key not in row)
            given = ", ".join(self.rows[number]) or "an empty object"
            raise self.wrong(number, f'"{key}"', f"only {given}") from None

    def whole(self, key: str) -> IntArray:
        """(N,) whole numbers."""
        values = self.of(key)
        is_whole = [type(value) is int and -_TOO_LARGE < value < _TOO_LARGE for value in values]
        self._check(is_whole, f"a whole number as {key}", values)
        return np.array(values, np.int64)

    def numbers(self, key: str, *shape: int) -> NDArray[np.float64]:
        """(N, *shape) finite numbers below LARGEST."""
        values = self.of(key)
        columns = _plain(values, (len(values), *shape))
        if columns is None:
            amount = f"{shape[0]} numbers" if shape else "a number"
            is_plain = [_plain(value, shape) is not None for value in values]
            self._check(is_plain, f"{amount} below {LARGEST:g} as {key}", values)
            raise AssertionError  # one of them was wrong
        return columns

    def own_ids(self) -> IntArray:
        """(N,) the ids; raises SourceError where one is there twice."""
        ids = self.whole("id")
        _, first = np.unique(ids, return_index=True)
        if len(first) < len(ids):
            number = int(np.setdiff1d(np.arange(len(ids)), first)[0])
            raise self.wrong(number, "an id of its own", ids[number])
        return ids

    def positions(self, key: str, known: IntArray, fix: str | None = None) -> IntArray:
        """(N,) where in `known` the values are; raises SourceError for one that is not there."""
        values = self.whole(key)
        order = np.argsort(known)
        positions = np.searchsorted(known, values, sorter=order)
        is_known = positions < len(known)
        is_known[is_known] = known[order[positions[is_known]]] == values[is_known]
        if not is_known.all():
            number = int(np.argmin(is_known))
            expected = f"one of the ground truth as {key}"
            raise self.wrong(number, expected, values[number], fix)
        return order[positions]

    def wrong(self, number: int, expected: str, got: object, fix: str | None = None) -> SourceError:
        """The error that blames one object, counted from 0 here and from 1 in the message."""
        return SourceError(
            f"{self.where} entry {number + 1}: expected {expected}, got {shortened(str(got))}",
            fix=fix or self.fix,
        )

    def _check(self, is_right: list[bool], expected: str, values: list[Any]) -> None:
        if not all(is_right):
            number = is_right.index(False)
            raise self.wrong(number, expected, values[number])


def read_json(path: Path, *, fix: str = HELP) -> object:
    """What the file holds; raises SourceError where it is no JSON."""
    with explained(path):
        text = utf8_of(path)
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        rest = text.decode(errors="replace")[error.pos :]
        nan = re.match("NaN|Infinity", rest)
        reason = f"{nan[0]} is no number" if nan else error.msg
        raise SourceError(
            f"{path} line {error.lineno} column {error.colno} is not JSON: {reason}", fix=fix
        ) from None


def columns_of(content: object, path: Path, key: str | None = None, *, fix: str = HELP) -> Columns:
    """The list of objects under a key, or which the file is if there is no key."""
    where = str(path) if key is None else f"{path} {key}"
    found = content if key is None else (content.get(key) if isinstance(content, dict) else None)
    if not isinstance(found, list):
        under = "is no list of results" if key is None else f'has no list under "{key}"'
        raise SourceError(f"{path} {under}", fix=fix)
    for number, row in enumerate(found):
        if not isinstance(row, dict):
            raise Columns((), where, fix).wrong(number, "an object", row)
    return Columns(found, where, fix)


def read_segmentation(entry: object, size: tuple[int, int] | None) -> Mask | None:
    """The mask of one object; None if there is none, or none of its pixels is in the image.

    Args:
        entry: {"size": [height, width], "counts": …}, where counts are COCO's compressed run
            lengths or a list of them; or a list of polygons, each [x1, y1, x2, y2, …] in pixels,
            whose union it is; or null. As read from JSON, not trusted.
        size: height and width of the image, needed for polygons.

    Raises:
        ValueError: it is something else, or for an image of another size; the message says what.
    """
    if entry is None or entry == []:
        return None
    if isinstance(entry, list):
        if size is None:
            raise ValueError("polygons in an image whose size is not known")
        if max(size) >= MAX_SIDE:
            raise ValueError(f"polygons in an image of {_words(size)} pixels")
        entry = _filled(entry, size)
    elif isinstance(entry, dict) and isinstance(entry.get("counts"), list):
        entry = entry | {"counts": _compressed(entry["counts"])}
    mask: Mask | None = read_masks([entry], 1)[0]
    if mask and size and mask.size != size:
        raise ValueError(f"one of {_words(mask.size)} pixels in an image of {_words(size)}")
    return mask


def masks_of(rows: Columns, key: str, sizes: Sequence[tuple[int, int] | None]) -> MaskArray:
    """(N,) the masks under a key of each object; None where an object has none.

    Args:
        rows: the objects.
        key: such as "segmentation".
        sizes: (N,) height and width of the image of each, as in `read_segmentation`.

    Raises:
        SourceError: one is no mask; it names the object.
    """
    masks = []
    for number, (row, size) in enumerate(zip(rows.rows, sizes, strict=True)):
        try:
            masks.append(read_segmentation(row.get(key), size))
        except ValueError as error:
            raise rows.wrong(number, f"a mask as {key}", error, HELP) from None
    return as_array(masks)


def read_rle(entry: object, where: str) -> Rle:
    """The mask, proved to be whole: pycocotools reads past the end of one that is not.

    Raises:
        SourceError: it is missing or not of its size; the message starts with `where`.
    """
    if not isinstance(entry, dict):
        raise SourceError(
            f'{where}: no "rle"', fix="use files with masks, or evaluate boxes: --format bdd"
        )
    size, counts = entry.get("size"), entry.get("counts")
    if (
        not isinstance(size, list)
        or len(size) != 2
        or not all(type(side) is int and 0 < side < 2**15 for side in size)
    ):
        raise SourceError(f'{where}: "rle" has no "size" of height and width', fix=_RLE_HELP)
    if not isinstance(counts, str):
        raise SourceError(f'{where}: "counts" of "rle" is no text', fix=_RLE_HELP)
    bad = first_bad([counts], np.array([size[0] * size[1]]))
    if bad:
        raise SourceError(
            f'{where}: "counts" of "rle" are {bad[1]}, expected run lengths of '
            f"{size[0]} x {size[1]} pixels",
            fix=_RLE_HELP,
        )
    return {"size": size, "counts": counts}


def rle_of(mask: BoolArray) -> Rle:
    """A (H, W) mask as run lengths."""
    packed = coco.encode(np.asfortranarray(mask, np.uint8))
    return {"size": list(mask.shape), "counts": packed["counts"].decode()}


def _plain(values: object, shape: tuple[int, ...]) -> NDArray[np.float64] | None:
    """The numbers as float64; None where they are anything else or of another shape."""
    try:
        numbers = np.array(values)
    except ValueError:  # rows of different lengths
        return None
    if 0 in shape and numbers.size == 0:
        return np.empty(shape)
    if numbers.shape != shape or numbers.dtype.kind not in "if":
        return None
    return numbers.astype(np.float64) if np.all(np.abs(numbers) < LARGEST) else None


def _filled(polygons: list[Any], size: tuple[int, int]) -> dict[str, object]:
    """The run lengths of what polygons cover, by the rules of COCO's own tools."""
    for polygon in polygons:
        points = _points(polygon)
        corners = np.append(points, points[:1], axis=0)
        length = float(np.abs(np.diff(corners, axis=0)).max(axis=1).sum())
        if np.abs(points).max() > _MAX_COORDINATE or length > _MAX_PERIMETER:
            raise ValueError(f"a polygon far beyond any image: {shortened(str(polygon))}")
    filled = coco.merge(coco.frPyObjects(polygons, *size))
    return {"size": list(size), "counts": filled["counts"].decode()}


def _points(polygon: object) -> NDArray[np.float64]:
    """(N, 2) x and y of the corners of one polygon, 3 or more."""
    numbers = polygon if isinstance(polygon, list) else [polygon]
    if not all(type(number) in (int, float) for number in numbers):
        raise ValueError(f"a polygon that is no list of numbers: {shortened(str(polygon))}")
    # With two corners, pycocotools would take it for a box.
    if len(numbers) < 6 or len(numbers) % 2:
        raise ValueError(
            f"a polygon of {len(numbers)} numbers, not of x and y of 3 corners or more"
        )
    return np.array(numbers, np.float64).reshape(-1, 2)


def _compressed(counts: list[Any]) -> str:
    if not all(type(run) is int and 0 <= run < _MAX_RUN for run in counts):
        raise ValueError(f"run lengths that are not whole numbers from 0: {shortened(str(counts))}")
    # Its size, which changes nothing here, is checked with the sum of the runs later.
    packed: bytes = coco.frPyObjects({"size": [1, 1], "counts": counts}, 1, 1)["counts"]
    return packed.decode()


def _words(size: tuple[int, int]) -> str:
    return f"{size[1]} x {size[0]}"
