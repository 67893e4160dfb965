"""COCO's compressed run lengths from files: strings that may be anything, see `masks`.

pycocotools reads them without looking, and past the end of a string that was cut: so they are
checked here before they get there.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from masa_cli.masks import signed_numbers
from masa_cli.structures import IntArray

_FIRST, _MORE = ord("0"), 32
_MOST_GROUPS = 6  # 30 bits: more pixels than any picture has


def first_bad(masks: Sequence[str], num_pixels: IntArray) -> tuple[int, str] | None:
    """The place of a string that is no mask of its number of pixels, and why; None if all are.

    Args:
        masks: (N,) compressed run lengths.
        num_pixels: (N,) height x width of each.
    """
    encoded = [mask.encode() for mask in masks]
    lengths = np.array([len(mask) for mask in encoded], np.int64)
    if not lengths.all():
        return int(np.argmin(lengths)), "nothing"
    codes = np.frombuffer(b"".join(encoded), np.uint8).astype(np.int64) - _FIRST
    owners = np.repeat(np.arange(len(masks)), lengths)
    strange = np.flatnonzero((codes < 0) | (codes >= 2 * _MORE))
    if len(strange):
        return int(owners[strange[0]]), "other characters"
    cut = np.flatnonzero(codes[np.cumsum(lengths) - 1] & _MORE)
    if len(cut):
        return int(cut[0]), "one that is cut off"
    ends = np.flatnonzero((codes & _MORE) == 0)
    sizes = np.diff(ends, prepend=-1)
    if len(sizes) and sizes.max() > _MOST_GROUPS:
        return int(owners[ends[np.argmax(sizes)]]), "a run without end"
    return _wrong_sum(signed_numbers(codes, ends, sizes), owners[ends], num_pixels)


def _wrong_sum(
    numbers: IntArray, owners: NDArray[np.int64], num_pixels: IntArray
) -> tuple[int, str] | None:
    """The first mask with a negative run, or whose runs are not as many pixels as it has."""
    first = np.searchsorted(owners, np.arange(len(num_pixels)))
    place = np.arange(len(numbers)) - first[owners]
    # The first run stands alone; of the others, each adds to the one two before it.
    chains = owners * 3 + np.where(place == 0, 0, 1 + (place + 1) % 2)
    order = np.argsort(chains, kind="stable")
    runs = np.cumsum(numbers[order])
    begins = np.flatnonzero(np.diff(chains[order], prepend=-1))
    before = runs[begins] - numbers[order][begins]
    runs = runs - np.repeat(before, np.diff(begins, append=len(runs)))
    # Exact in float64: at most 2**30 per run.
    sums = np.bincount(owners[order], weights=runs, minlength=len(num_pixels))
    wrong = sums != num_pixels
    wrong[owners[order][runs < 0]] = True
    if not wrong.any():
        return None
    row = int(np.argmax(wrong))
    return row, f"runs that are not {num_pixels[row]} pixels"
