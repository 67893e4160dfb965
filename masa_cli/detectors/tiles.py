"""Any detector, on parts of the frame as well: what is small in a large frame is found there.

Frame and tiles are one batch. An object at a seam is found in two tiles, or in pieces: a piece that
ends at a seam gives way to a box of the whole object, and two pieces without one are put together.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from masa_cli.boxes import area, intersection, iou
from masa_cli.detectors import Detector
from masa_cli.errors import UsageError
from masa_cli.masks import as_array, pack, unpack
from masa_cli.structures import BoolArray, Detections, FloatArray, Frame, Mask

AUTO = "auto"
_AUTO_SIDE = 1280  # pixels of a tile at most: a network that sees 640 halves it
_MOST = 8  # tiles across, and down

_WHOLE, _TOGETHER, _PIECE = 0, 1, 2  # what a box shows, in the order of preference
_SAME_IOU = 0.5  # boxes of a class that overlap by more show one object
_SAME_INSIDE = 0.6  # so does a piece of which more is inside another box
_AT_SEAM = 0.01  # a box ends at a seam that is nearer than this share of the tile
_FACING = 0.5  # share of the shorter of two edges along a seam that pieces of one object have


@dataclass(frozen=True, slots=True)
class Tiling:
    """How a frame is divided; by `parse_tiles`."""

    across: int = 0  # tiles; 0: as many as the size of the frame needs
    down: int = 0
    overlap: float = 0.2  # share of a tile that the next one has, too

    def of(self, size: tuple[int, int]) -> list[tuple[int, int, int, int]]:
        """The tiles of a frame of (width, height), xyxy; all of one size; none, if one would do."""
        width, height = size
        across, down = (
            wanted or max(1, -(-side // _AUTO_SIDE))
            for wanted, side in ((self.across, width), (self.down, height))
        )
        if across * down == 1:
            return []
        columns, rows = self._starts(width, across), self._starts(height, down)
        (x_starts, w), (y_starts, h) = columns, rows
        return [(x, y, x + w, y + h) for y, x in product(y_starts, x_starts)]

    def _starts(self, side: int, count: int) -> tuple[list[int], int]:
        """Where tiles begin, and how long they are, pixels."""
        length = min(side, int(np.ceil(side / (count - (count - 1) * self.overlap))))
        starts = np.linspace(0, side - length, count).round().astype(int)
        return starts.tolist(), length


def parse_tiles(text: str | None, overlap: float, *, looks: bool = True) -> Tiling | None:
    """The tiling of "3x2" (columns x rows) or "auto"; None for none.

    Args:
        text: of the user.
        overlap: share of a tile.
        looks: whether anything looks at the frames that would be divided.

    Raises:
        UsageError: it is something else, the overlap is not within 0 and 0.9, or nothing looks.
    """
    if text is None:
        return None
    if not looks:
        raise UsageError(
            "--tiles is for a detector that looks at frames, but the boxes are those of a file",
            fix="leave out --tiles, or name the objects with --prompt",
        )
    if not 0 <= overlap <= 0.9:
        raise UsageError(
            f"--tile-overlap is a share of a tile from 0 to 0.9, got {overlap:g}",
            fix="give the part that neighbours share, such as 0.2",
        )
    if text == AUTO:
        return Tiling(overlap=overlap)
    match = re.fullmatch(r"([1-9]\d?)x([1-9]\d?)", text)
    if match is None or max(int(match[1]), int(match[2])) > _MOST:
        raise UsageError(
            f'--tiles: "{text}" is no number of columns and rows up to {_MOST}',
            fix="write it as 2x2 or 3x2, or auto",
        )
    return Tiling(int(match[1]), int(match[2]), overlap)


class TiledDetector:
    """Asks another detector for each frame and for its tiles.

    Args:
        detector: does the work.
        tiling: how frames are divided.
        max_boxes: of one frame, the best.
    """

    def __init__(self, detector: Detector, tiling: Tiling, max_boxes: int) -> None:
        self._detector, self._tiling, self._max_boxes = detector, tiling, max_boxes

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the detector's classes."""
        return self._detector.classes

    def detect(self, frames: Sequence[Frame]) -> list[Detections]:
        """The boxes of each frame, the best first."""
        tiles = [self._tiling.of((f.image.shape[1], f.image.shape[0])) for f in frames]
        parts = [
            # Numbers that no frame has: what is remembered of a frame is remembered by its own.
            replace(
                frame,
                index=-1 - (frame.index * _MOST * _MOST + number),
                image=np.ascontiguousarray(frame.image[y1:y2, x1:x2]),
            )
            for frame, own in zip(frames, tiles, strict=True)
            for number, (x1, y1, x2, y2) in enumerate(own)
        ]
        # Frames last: their maps, if the detector shares them, are there for the adapter then.
        found = self._detector.detect([*parts, *frames])
        of_tiles, of_frames = found[: len(parts)], found[len(parts) :]
        merged = []
        for frame, own, whole in zip(frames, tiles, of_frames, strict=True):
            pieces, of_tiles = of_tiles[: len(own)], of_tiles[len(own) :]
            size = frame.image.shape[:2]
            merged.append(
                merge(whole, list(zip(own, pieces, strict=True)), size)[: self._max_boxes]
            )
        return merged


def merge(
    whole: Detections,
    tiles: Sequence[tuple[tuple[int, int, int, int], Detections]],
    size: tuple[int, int],
) -> Detections:
    """One box for each object, the best first.

    Args:
        whole: what was found in the whole frame.
        tiles: each with what was found in it, in its own pixels.
        size: height and width of the frame.
    """
    moved = [_moved(found, tile, size) for tile, found in tiles]
    found = _joined([whole, *moved])
    cuts = [np.zeros((len(whole), 4), np.bool_)]
    cuts += [_cut(own.boxes, tile, size) for own, (tile, _) in zip(moved, tiles, strict=True)]
    is_cut = np.concatenate(cuts)
    both = _put_together(found, is_cut)
    # Whole objects first, then what was put together, then pieces: these never win against others.
    rank = np.where(is_cut.any(axis=1), _PIECE, _WHOLE)
    rank = np.concatenate([rank, np.full(len(both), _TOGETHER)])
    found = _joined([found, both])
    near, inside = iou(found.boxes, found.boxes), _shares(found.boxes)
    kept: list[int] = []
    size_first = np.where(rank == _TOGETHER, -area(found.boxes), 0)
    for row in np.lexsort((-found.scores, size_first, rank)).tolist():
        rivals = [other for other in kept if found.labels[other] == found.labels[row]]
        is_whole = rank[row] == _WHOLE
        if not any(
            near[row, other] > _SAME_IOU or (not is_whole and inside[row, other] > _SAME_INSIDE)
            for other in rivals
        ):
            kept.append(row)
    best = found[np.array(kept, np.int64)]
    return best[np.argsort(-best.scores, kind="stable")]


def _shares(boxes: FloatArray) -> FloatArray:
    """(N, N) share of each box that is inside each other one."""
    own = np.maximum(area(boxes), 1e-6)[:, None]
    shares: FloatArray = np.divide(intersection(boxes, boxes), own, dtype=np.float32)
    return shares


def _moved(found: Detections, tile: tuple[int, int, int, int], size: tuple[int, int]) -> Detections:
    """Detections of a tile in the pixels of the frame."""
    shift = np.array([tile[0], tile[1]] * 2, np.float32)
    masks = [None if mask is None else _moved_mask(mask, tile, size) for mask in found.masks]
    return replace(found, boxes=found.boxes + shift, masks=as_array(masks))


def _moved_mask(mask: Mask, tile: tuple[int, int, int, int], size: tuple[int, int]) -> Mask | None:
    pixels, (x, y) = unpack(mask)
    return pack(pixels, (x + tile[0], y + tile[1]), size)


def _joined(parts: Sequence[Detections]) -> Detections:
    columns = ("boxes", "scores", "labels", "masks")
    return Detections(*(np.concatenate([getattr(p, name) for p in parts]) for name in columns))


def _cut(boxes: FloatArray, tile: tuple[int, int, int, int], size: tuple[int, int]) -> BoolArray:
    """(N, 4) which sides of boxes end at a seam; an edge of the frame is none."""
    limits, frame = np.array(tile, np.float32), np.array([0, 0, size[1], size[0]], np.float32)
    slack = _AT_SEAM * np.tile(limits[2:] - limits[:2], 2)
    ends: BoolArray = (np.abs(boxes - limits) <= np.maximum(slack, 1)) & (limits != frame)
    return ends


def _put_together(found: Detections, is_cut: BoolArray) -> Detections:
    """For pieces that face each other over a seam the box around them, with the best score."""
    scores, labels = found.scores, found.labels
    boxes, cuts = list(found.boxes), list(is_cut)
    rows = list(range(len(found)))  # whose score and class each box has
    for axis in (0, 1):  # what was put together from left and right is, too, from above and below
        first = [i for i, cut in enumerate(cuts) if cut[axis + 2]]  # to the right, or below
        second = [i for i, cut in enumerate(cuts) if cut[axis]]
        for one, other in product(first, second):
            is_same = labels[rows[one]] == labels[rows[other]]
            if is_same and _faces(boxes[one], boxes[other], axis):
                low = np.minimum(boxes[one][:2], boxes[other][:2])
                high = np.maximum(boxes[one][2:], boxes[other][2:])
                cut = cuts[one] | cuts[other]
                cut[axis], cut[axis + 2] = cuts[one][axis], cuts[other][axis + 2]
                boxes.append(np.concatenate([low, high]))
                cuts.append(cut)
                rows.append(max(rows[one], rows[other], key=lambda row: float(scores[row])))
    new = slice(len(found), None)
    better = found[np.array(rows[new], np.int64)]
    bare = as_array([None] * len(better))  # neither has the mask of the whole
    return replace(better, boxes=np.array(boxes[new], np.float32).reshape(-1, 4), masks=bare)


def _faces(one: FloatArray, other: FloatArray, axis: int) -> bool:
    """Whether boxes meet along an axis, and are beside each other across it."""
    across = 1 - axis
    shared = min(one[across + 2], other[across + 2]) - max(one[across], other[across])
    shorter = min(one[across + 2] - one[across], other[across + 2] - other[across])
    longer = max(one[across + 2] - one[across], other[across + 2] - other[across])
    meets = one[axis] < other[axis] <= one[axis + 2] < other[axis + 2]
    return bool(meets and shared >= _FACING * longer and shorter > 0)
