"""COCO's compressed run lengths: masks as short strings.

A mask is read column by column as runs of 0 and 1 in turn, beginning with 0. Each run but the first
three is written as the difference to the run two before it, in groups of 5 bits, lowest first, as
characters from "0" on; 32 says that more follow. pycocotools reads these without looking, and past
the end of a string that was cut: so they are checked here before they get there.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from masa_cli.structures import IntArray

_FIRST, _MORE, _SIGN, _BITS = ord("0"), 32, 16, 5
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
    return _wrong_sum(_numbers(codes, ends, sizes), owners[ends], num_pixels)


def _numbers(codes: IntArray, ends: IntArray, sizes: IntArray) -> IntArray:
    """The signed numbers that end at these codes."""
    starts = ends - sizes + 1
    place = np.arange(len(codes)) - np.repeat(starts, sizes)
    if not len(starts):
        return np.empty(0, np.int64)
    numbers: IntArray = np.add.reduceat((codes & (_MORE - 1)) << (_BITS * place), starts)
    return numbers - np.where(codes[ends] & _SIGN, 1 << (_BITS * sizes), 0)


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
