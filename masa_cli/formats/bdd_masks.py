"""Masks in BDD100K's json: run lengths down the columns, as COCO writes them."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from pycocotools import mask as coco

from masa_cli.errors import SourceError
from masa_cli.formats.rle import first_bad
from masa_cli.structures import BoolArray

# {"size": [height, width], "counts": compressed run lengths}, as pycocotools wants it.
Rle: TypeAlias = dict[str, Any]

_HELP = "write masks as COCO's compressed run lengths: pycocotools.mask.encode"


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
        raise SourceError(f'{where}: "rle" has no "size" of height and width', fix=_HELP)
    if not isinstance(counts, str):
        raise SourceError(f'{where}: "counts" of "rle" is no text', fix=_HELP)
    bad = first_bad([counts], np.array([size[0] * size[1]]))
    if bad:
        raise SourceError(
            f'{where}: "counts" of "rle" are {bad[1]}, expected run lengths of '
            f"{size[0]} x {size[1]} pixels",
            fix=_HELP,
        )
    return {"size": size, "counts": counts}


def write_rle(mask: BoolArray) -> Rle:
    """A (H, W) mask as run lengths."""
    packed = coco.encode(np.asfortranarray(mask, np.uint8))
    return {"size": list(mask.shape), "counts": packed["counts"].decode()}
