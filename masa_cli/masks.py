"""Masks of objects: pixels of a window in, run lengths out, and back.

A mask is kept as COCO's compressed run lengths of the whole frame, some hundred bytes; its pixels
are only ever unpacked within the window they fill. The frame is read column by column as runs of
pixels that are not and that are of the object in turn. Each run but the first three is written as
the difference to the run two before it, in groups of 5 bits, lowest first, as characters from "0"
on; 32 says that more follow.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco

from masa_cli.errors import shortened
from masa_cli.structures import BoolArray, FloatArray, IntArray, Mask, MaskArray, Tracks

_FIRST, _MORE, _SIGN, _BITS = ord("0"), 32, 16, 5


def pack(pixels: BoolArray, corner: tuple[int, int], size: tuple[int, int]) -> Mask | None:
    """The mask whose pixels these are; None if there are none.

    Args:
        pixels: (h, w) of a window.
        corner: x and y of the window's first pixel in the frame; it lies wholly inside.
        size: height and width of the frame.
    """
    (x, y), height = corner, size[0]
    edges = np.diff(np.pad(pixels.T.astype(np.int8), ((0, 0), (1, 1))), axis=1)  # (w, h + 1)
    columns, starts = np.nonzero(edges == 1)
    if not len(starts):
        return None
    heads = (columns + x) * height + y
    starts, stops = heads + starts, heads + np.nonzero(edges == -1)[1]
    # What ends at the foot of the frame and begins at the head of the next column is one run.
    goes_on = stops[:-1] == starts[1:]
    starts, stops = starts[np.append(True, ~goes_on)], stops[np.append(~goes_on, True)]
    bounds = np.stack([starts, stops], axis=1).ravel()
    runs = np.diff(bounds, prepend=0, append=height * size[1])
    runs = runs[:-1] if runs[-1] == 0 else runs
    packed = coco.frPyObjects({"size": list(size), "counts": runs.tolist()}, *size)
    return Mask(size, packed["counts"].decode())


def unpack(mask: Mask) -> tuple[BoolArray, tuple[int, int]]:
    """The pixels of a mask, in the smallest window that holds them.

    Returns:
        (h, w) pixels, and x and y of the first.
    """
    height = mask.size[0]
    bounds = np.cumsum(run_lengths(mask.counts))
    stops = bounds[1::2]
    starts = bounds[0::2][: len(stops)]
    left, right = int(starts[0]) // height, (int(stops[-1]) - 1) // height + 1
    steps = np.zeros((right - left) * height + 1, np.int8)
    np.add.at(steps, starts - left * height, 1)
    np.add.at(steps, stops - left * height, -1)
    columns = np.cumsum(steps[:-1], dtype=np.int8).astype(np.bool_).reshape(-1, height)
    rows = np.flatnonzero(columns.any(axis=0))
    top, bottom = int(rows[0]), int(rows[-1]) + 1
    return np.ascontiguousarray(columns[:, top:bottom].T), (left, top)


def carried(mask: Mask, start: FloatArray, end: FloatArray) -> Mask | None:
    """The mask moved and scaled as its box was; None if nothing of it stays in the frame.

    Args:
        mask: of the object when its box was `start`.
        start: (4,) xyxy in source pixels, of some width and height.
        end: (4,) the same box elsewhere.
    """
    pixels, corner = unpack(mask)
    height, width = mask.size
    scale = (end[2:] - end[:2]) / (start[2:] - start[:2])
    first = end[:2] + (np.array(corner) - start[:2]) * scale
    last = first + np.array([pixels.shape[1], pixels.shape[0]]) * scale
    low = np.clip(np.floor(first), 0, [width, height]).astype(int)
    high = np.clip(np.ceil(last), 0, [width, height]).astype(int)
    # Each pixel takes what its middle falls on.
    columns, rows = (
        np.floor((np.arange(low[axis], high[axis]) + 0.5 - first[axis]) / scale[axis]).astype(int)
        for axis in (0, 1)
    )
    known = np.pad(pixels, 1)  # middles that fall beside the window find nothing
    columns = np.clip(columns + 1, 0, known.shape[1] - 1)
    rows = np.clip(rows + 1, 0, known.shape[0] - 1)
    return pack(known[rows[:, None], columns], (int(low[0]), int(low[1])), mask.size)


def areas(masks: Iterable[Mask]) -> IntArray:
    """(N,) pixels of each mask."""
    return np.array([run_lengths(mask.counts)[1::2].sum() for mask in masks], np.int64)


def frames_of(masks: Iterable[Mask]) -> FloatArray:
    """(N, 4) xyxy, the smallest boxes that hold the masks."""
    rows = [coco.toBbox({"size": mask.size, "counts": mask.counts.encode()}) for mask in masks]
    boxes = np.array(rows, np.float32).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    return boxes


def fit_boxes(tracks: Tracks) -> Tracks:
    """The same tracks with boxes around their masks; boxes without a mask stay."""
    rows, boxes = tracks.has_mask, tracks.boxes.copy()
    boxes[rows] = frames_of(tracks.masks[rows])
    return replace(tracks, boxes=boxes)


def id_map(tracks: Tracks, size: tuple[int, int]) -> NDArray[np.int32]:
    """(height, width) the identity each pixel belongs to, 0 for none; higher scores lie on top."""
    image = np.zeros(size, np.int32)
    for row in np.argsort(tracks.scores, kind="stable").tolist():
        if tracks.masks[row] is not None:
            pixels, (x, y) = unpack(tracks.masks[row])
            image[y : y + pixels.shape[0], x : x + pixels.shape[1]][pixels] = tracks.ids[row]
    return image


def without_overlaps(tracks: Tracks) -> Tracks:
    """The same tracks; a pixel that several masks claim stays with the highest score.

    Masks of which nothing is left are None. Equal scores: the later row wins.
    """
    rows = np.flatnonzero(tracks.has_mask)
    if not len(rows):
        return tracks
    size, masks = tracks.masks[rows[0]].size, tracks.masks.copy()
    image = id_map(tracks, size)
    for row in rows.tolist():
        pixels, (x, y) = unpack(masks[row])
        window = image[y : y + pixels.shape[0], x : x + pixels.shape[1]]
        masks[row] = pack(window == tracks.ids[row], (x, y), size)
    return replace(tracks, masks=masks)


def as_array(masks: Sequence[Mask | None]) -> MaskArray:
    """(N,) the masks as a column of `Tracks`."""
    column = np.full(len(masks), None)
    column[:] = masks
    return column


def run_lengths(counts: str) -> IntArray:
    """The runs that a valid string of compressed run lengths holds, the first of no object."""
    codes = np.frombuffer(counts.encode(), np.uint8).astype(np.int64) - _FIRST
    ends = np.flatnonzero((codes & _MORE) == 0)
    runs = signed_numbers(codes, ends, np.diff(ends, prepend=-1))
    for chain in (runs[1::2], runs[2::2]):
        np.cumsum(chain, out=chain)
    return runs


def signed_numbers(codes: IntArray, ends: IntArray, sizes: IntArray) -> IntArray:
    """The numbers that some groups of bits stand for.

    Args:
        codes: characters, counted from "0".
        ends: (N,) position of each number's last group.
        sizes: (N,) how many groups it has.
    """
    starts = ends - sizes + 1
    position = np.arange(len(codes)) - np.repeat(starts, sizes)
    if not len(starts):
        return np.empty(0, np.int64)
    numbers: IntArray = np.add.reduceat((codes & (_MORE - 1)) << (_BITS * position), starts)
    return numbers - np.where(codes[ends] & _SIGN, 1 << (_BITS * sizes), 0)


_RLE_FIRST, _RLE_MORE = ord("0"), 32
_MAX_GROUPS = 6  # 30 bits: more pixels than any image has


def first_bad(masks: Sequence[str], num_pixels: IntArray) -> tuple[int, str] | None:
    """The position of a string that is no mask of its number of pixels, and why; None if all are.

    Args:
        masks: (N,) compressed run lengths.
        num_pixels: (N,) height x width of each.
    """
    encoded = [mask.encode() for mask in masks]
    lengths = np.array([len(mask) for mask in encoded], np.int64)
    if not lengths.all():
        return int(np.argmin(lengths)), "nothing"
    codes = np.frombuffer(b"".join(encoded), np.uint8).astype(np.int64) - _RLE_FIRST
    owners = np.repeat(np.arange(len(masks)), lengths)
    strange = np.flatnonzero((codes < 0) | (codes >= 2 * _RLE_MORE))
    if len(strange):
        return int(owners[strange[0]]), "other characters"
    cut = np.flatnonzero(codes[np.cumsum(lengths) - 1] & _RLE_MORE)
    if len(cut):
        return int(cut[0]), "one that is cut off"
    ends = np.flatnonzero((codes & _RLE_MORE) == 0)
    sizes = np.diff(ends, prepend=-1)
    if len(sizes) and sizes.max() > _MAX_GROUPS:
        return int(owners[ends[np.argmax(sizes)]]), "a run without end"
    return _wrong_sum(signed_numbers(codes, ends, sizes), owners[ends], num_pixels)


def _wrong_sum(
    numbers: IntArray, owners: NDArray[np.int64], num_pixels: IntArray
) -> tuple[int, str] | None:
    """The first mask with a negative run, or whose runs are not as many pixels as it has."""
    first = np.searchsorted(owners, np.arange(len(num_pixels)))
    position = np.arange(len(numbers)) - first[owners]
    # The first run stands alone; of the others, each adds to the one two before it.
    chains = owners * 3 + np.where(position == 0, 0, 1 + (position + 1) % 2)
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


MAX_SIDE = 2**15  # pixels; more is no image


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
        and all(type(side) is int and 0 < side < MAX_SIDE for side in size)
    )
    if not is_size or not isinstance(counts, str):
        raise ValueError(shortened(str(entry)))
    return Mask((size[0], size[1]), counts)  # type: ignore[index] # proved above
