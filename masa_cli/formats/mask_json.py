"""Masks in JSON, as COCO has them: {"size": [height, width], "counts": "…"}."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from masa_cli.formats.rle import first_bad
from masa_cli.formats.text_file import shortened
from masa_cli.masks import areas, as_array
from masa_cli.structures import Mask, MaskArray

LONGEST_SIDE = 2**15  # pixels; more is no picture


def mask_fields(masks: Iterable[Mask | None]) -> list[dict[str, object] | None]:
    """What orjson can write, null where there is no mask."""
    return [{"size": list(mask.size), "counts": mask.counts} if mask else None for mask in masks]


def read_masks(entries: object, count: int) -> MaskArray:
    """The masks that `mask_fields` wrote; those without a pixel become None, as do all of None.

    Args:
        entries: as read from JSON, not trusted.
        count: how many there should be.

    Raises:
        ValueError: they are something else; the message says what.
    """
    if entries is None:
        return as_array([None] * count)
    if not isinstance(entries, list) or len(entries) != count:
        raise ValueError(shortened(str(entries)))
    masks = [entry and _mask(entry) for entry in entries]
    found = [mask for mask in masks if mask]
    num_pixels = np.array([mask.size[0] * mask.size[1] for mask in found], np.int64)
    bad = first_bad([mask.counts for mask in found], num_pixels)
    if bad:
        height, width = found[bad[0]].size
        raise ValueError(f"counts of {height} x {width} pixels that are {bad[1]}")
    return as_array([mask if mask and areas([mask])[0] else None for mask in masks])


def _mask(entry: object) -> Mask:
    """A mask whose counts are still to be looked at."""
    size, counts = (
        (entry.get("size"), entry.get("counts")) if isinstance(entry, dict) else (None, None)
    )
    is_size = (
        isinstance(size, list)
        and len(size) == 2
        and all(type(side) is int and 0 < side < LONGEST_SIDE for side in size)
    )
    if not is_size or not isinstance(counts, str):
        raise ValueError(shortened(str(entry)))
    return Mask((size[0], size[1]), counts)  # type: ignore[index] # proved above
