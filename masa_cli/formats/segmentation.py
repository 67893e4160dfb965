"""Masks as other tools write them in JSON: run lengths, compressed or not, or polygons.

Any of them may be damaged. pycocotools reads them without looking, past their end or into as much
memory as a number asks for: so all is checked before it gets there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco

from masa_cli.formats.mask_json import LONGEST_SIDE, read_masks
from masa_cli.formats.tao_columns import Columns
from masa_cli.formats.text_file import HELP, shortened
from masa_cli.masks import as_array
from masa_cli.structures import Mask, MaskArray

_LONGEST_OUTLINE = 2**20  # pixels; around the largest pictures it is a tenth of that
_FARTHEST = 2**20  # pixels from the picture's corner
_LONGEST_RUN = 2**30  # pixels; no picture has more


def read_segmentation(entry: object, size: tuple[int, int] | None) -> Mask | None:
    """The mask of one object; None if there is none, or none of its pixels is in the picture.

    Args:
        entry: {"size": [height, width], "counts": …}, where counts are COCO's compressed run
            lengths or a list of them; or a list of polygons, each [x1, y1, x2, y2, …] in pixels,
            whose union it is; or null. As read from JSON, not trusted.
        size: height and width of the picture, needed for polygons.

    Raises:
        ValueError: it is something else, or for a picture of another size; the message says what.
    """
    if entry is None or entry == []:
        return None
    if isinstance(entry, list):
        if size is None:
            raise ValueError("polygons in a picture whose size is not known")
        if max(size) >= LONGEST_SIDE:
            raise ValueError(f"polygons in a picture of {_words(size)} pixels")
        entry = _filled(entry, size)
    elif isinstance(entry, dict) and isinstance(entry.get("counts"), list):
        entry = entry | {"counts": _compressed(entry["counts"])}
    mask: Mask | None = read_masks([entry], 1)[0]
    if mask and size and mask.size != size:
        raise ValueError(f"one of {_words(mask.size)} pixels in a picture of {_words(size)}")
    return mask


def masks_of(rows: Columns, key: str, sizes: Sequence[tuple[int, int] | None]) -> MaskArray:
    """(N,) the masks under a key of each object; None where an object has none.

    Args:
        rows: the objects.
        key: such as "segmentation".
        sizes: (N,) height and width of the picture of each, as in `read_segmentation`.

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


def _filled(polygons: list[Any], size: tuple[int, int]) -> dict[str, object]:
    """The run lengths of what polygons cover, by the rules of COCO's own tools."""
    for polygon in polygons:
        points = _points(polygon)
        corners = np.append(points, points[:1], axis=0)
        length = float(np.abs(np.diff(corners, axis=0)).max(axis=1).sum())
        if np.abs(points).max() > _FARTHEST or length > _LONGEST_OUTLINE:
            raise ValueError(f"a polygon far beyond any picture: {shortened(str(polygon))}")
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
    if not all(type(run) is int and 0 <= run < _LONGEST_RUN for run in counts):
        raise ValueError(f"run lengths that are not whole numbers from 0: {shortened(str(counts))}")
    # Its size, which changes nothing here, is checked with the sum of the runs later.
    packed: bytes = coco.frPyObjects({"size": [1, 1], "counts": counts}, 1, 1)["counts"]
    return packed.decode()


def _words(size: tuple[int, int]) -> str:
    return f"{size[1]} x {size[0]}"
