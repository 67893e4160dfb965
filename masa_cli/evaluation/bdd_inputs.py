"""Truth and results of BDD100K, frame by frame: read, proved to belong together, compared.

The three metrics share the files and the overlaps, but not how ignored regions count: the arguments
of `compare` hold what they differ in.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco
from scipy.optimize import linear_sum_assignment

from masa_cli.boxes import area, intersection, iou
from masa_cli.errors import SourceError
from masa_cli.evaluation.metrics import EPSILON, Array
from masa_cli.formats.bdd import BddFrame, BddVideos, read_bdd
from masa_cli.formats.json_fields import Rle
from masa_cli.structures import BoolArray

# Of each video by its name, the truth and the results of its frames, in order.
Pairs: TypeAlias = Mapping[str, list[tuple[BddFrame, BddFrame]]]

THRESHOLD = 0.5  # IoU of a pair; share of a box inside a region above which it does not count


@dataclass(frozen=True, slots=True)
class BddInputs:
    """What is to be compared.

    Attributes:
        pairs: every frame of the truth.
        notes: sentences on what was done to the results.
    """

    pairs: Pairs
    notes: tuple[str, ...]


def read_inputs(gt: Path, results: Path, *, masks: bool, allow_missing: bool) -> BddInputs:
    """Read both.

    Args:
        gt: one json or a folder of them.
        results: one json or a folder of them.
        masks: read masks in place of boxes.
        allow_missing: frames that the results lack count as empty.

    Raises:
        SourceError: a file is malformed, or the two do not belong together.
    """
    truth, given = read_bdd(gt, masks=masks), read_bdd(results, masks=masks)
    if not truth:
        raise SourceError(f"{gt} has no frames", fix="name the file with the truth")
    _refuse_strangers(truth, given, gt)
    missing = list(_missing(truth, given))
    if missing and not allow_missing:
        raise SourceError(
            f"{results} lacks {_some(missing)} of {gt}",
            fix='write every frame, with "labels": [] where there is nothing, or --allow-missing',
        )
    pairs = {
        video: [(frame, given.get(video, {}).get(i) or _empty(frame)) for i, frame in rows.items()]
        for video, rows in truth.items()
    }
    notes = []
    if missing:
        notes.append(f"{_some(missing)} of the truth had no results and counted as empty")
    for change in (_without_marked, *((_separated,) if masks else ())):
        pairs, note = change(pairs)
        notes += note
    return BddInputs(pairs, tuple(notes))


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """One frame.

    Attributes:
        gt: what is to be found; (G) objects.
        results: (N) objects.
        iou: (G, N).
        inside: (N,) largest share of each result inside a region that is ignored.
    """

    gt: BddFrame
    results: BddFrame
    iou: Array
    inside: Array

    def of_class(self, label: int) -> Comparison:
        """Both sides of one class; what is ignored stays, whatever its class."""
        rows, columns = self.gt.labels == label, self.results.labels == label
        iou = self.iou[rows][:, columns]
        return Comparison(self.gt[rows], self.results[columns], iou, self.inside[columns])

    def without(self, dropped: BoolArray) -> Comparison:
        """Less some results."""
        kept = ~dropped
        return Comparison(self.gt, self.results[kept], self.iou[:, kept], self.inside[kept])


def compare(
    gt: BddFrame, results: BddFrame, ignored: BoolArray, *, extra: float, unite: bool
) -> Comparison:
    """Compare a frame with its truth.

    Args:
        gt: the truth.
        results: with masks if the truth has masks.
        ignored: which objects of `gt` are regions to be ignored.
        extra: added to each width and height of boxes: 1 where x2, y2 is the last pixel, else 0.
        unite: take ignored masks together; boxes are always taken one by one.
    """
    regions, gt = gt[ignored], gt[~ignored]
    if results.rles:
        overlap = _mask_iou(gt.rles, results.rles)
        shares = _mask_inside(results.rles, _united(regions.rles) if unite else regions.rles)
    else:
        overlap = _box_iou(gt.boxes, results.boxes, extra)
        shares = _box_inside(results.boxes, regions.boxes, extra)
    return Comparison(gt, results, overlap, shares.max(axis=1, initial=0.0))


def drop_ignored(frame: Comparison) -> Comparison:
    """Drop results in ignored regions, unless they are paired when all pairs fit best together."""
    is_inside = frame.inside > THRESHOLD + EPSILON
    if not is_inside.any():
        return frame
    value = np.where(frame.iou >= THRESHOLD - EPSILON, frame.iou, 0)
    rows, columns = linear_sum_assignment(value, maximize=True)
    is_inside[columns[value[rows, columns] > EPSILON]] = False
    return frame.without(is_inside)


def _refuse_strangers(truth: BddVideos, given: BddVideos, gt: Path) -> None:
    """Raise SourceError for results of a frame that the truth does not have."""
    for video, frames in given.items():
        for index, frame in frames.items():
            if index not in truth.get(video, {}):
                what = f"frameIndex {index} of " if video in truth else ""
                raise SourceError(
                    f'{frame.file} frame {frame.name}: {gt} has no {what}videoName "{video}"',
                    fix="compare results with the truth of the same videos",
                )


def _missing(truth: BddVideos, given: BddVideos) -> Iterator[str]:
    """Names of the frames without results."""
    for video, frames in truth.items():
        found = given.get(video, {})
        yield from (frame.name for index, frame in frames.items() if index not in found)


def _some(names: list[str]) -> str:
    if len(names) == 1:
        return f"frame {names[0]}"
    return f"{len(names)} frames (the first is {names[0]})"


def _empty(frame: BddFrame) -> BddFrame:
    return frame[np.zeros(len(frame), bool)]


def _without_marked(pairs: Pairs) -> tuple[Pairs, list[str]]:
    """Without results that are called crowd or ignored, as when a truth is taken for results."""
    dropped = 0
    kept: dict[str, list[tuple[BddFrame, BddFrame]]] = {}
    for video, rows in pairs.items():
        kept[video] = []
        for truth, given in rows:
            is_marked = given.is_crowd | given.is_ignored
            dropped += int(is_marked.sum())
            kept[video].append((truth, given[~is_marked] if is_marked.any() else given))
    return kept, [f"{dropped} results marked crowd or ignored were left out"] if dropped else []


def _separated(pairs: Pairs) -> tuple[Pairs, list[str]]:
    """The same with no pixel in two masks of the results, and none of them empty."""
    changed = 0
    separated: dict[str, list[tuple[BddFrame, BddFrame]]] = {}
    for video, rows in pairs.items():
        separated[video] = []
        for truth, given in rows:
            _check_sizes(truth, given)
            masks = _separate(given.rles, given.scores)
            changed += any(new is not old for new, old in zip(masks, given.rles, strict=True))
            frame = replace(given, rles=tuple(masks))
            separated[video].append((truth, frame[_mask_area(masks) > 0]))
    note = (
        f"masks overlapped in {changed} of the frames; each pixel went to the mask with the "
        "highest score"
    )
    return separated, [note] if changed else []


def _check_sizes(truth: BddFrame, given: BddFrame) -> None:
    """Raise SourceError unless all masks are of one size."""
    size = None
    for frame in (truth, given):
        for id_, rle in zip(frame.ids, frame.rles, strict=True):
            size = size or rle["size"]
            if rle["size"] != size:
                raise SourceError(
                    f'{frame.file} frame {frame.name} id "{id_}": the mask is of size '
                    f"{rle['size']}, others of this frame of {size}",
                    fix="write all masks in the size of the picture",
                )


def _separate(masks: Sequence[Rle], scores: Array) -> list[Rle]:
    """Give each pixel to the mask with the highest score, the first of equals; masks of one size.

    Masks may be left empty.
    """
    shared = _mask_iou(masks, masks) > 0
    np.fill_diagonal(shared, False)
    kept = list(masks)
    if not shared.any():
        return kept
    taken = np.zeros(masks[0]["size"], bool)
    for index in np.argsort(-scores, kind="stable").tolist():
        if shared[index].any():
            mask = coco.decode(masks[index]).astype(bool)
            if (mask & taken).any():
                kept[index] = coco.encode(np.asfortranarray(mask & ~taken, dtype=np.uint8))
            taken |= mask
    return kept


def _box_iou(first: Array, second: Array, extra: float) -> Array:
    """(N, M) intersection over union.

    Args:
        first: (N, 4) xyxy.
        second: (M, 4) xyxy.
        extra: added to each width and height: 1 where x2, y2 is the last pixel, else 0.
    """
    return iou(_extended(first, extra), _extended(second, extra))


def _box_inside(boxes: Array, regions: Array, extra: float) -> Array:
    """(N, M) share of each box that lies in each region; `extra` as in _box_iou."""
    boxes = _extended(boxes, extra)
    shared = intersection(boxes, _extended(regions, extra))
    whole = np.broadcast_to(area(boxes)[:, None], shared.shape)
    return np.divide(shared, whole, out=np.zeros_like(shared), where=whole > 0)


def _mask_iou(first: Sequence[Rle], second: Sequence[Rle]) -> Array:
    """(N, M) intersection over union of masks of one size."""
    return _compare_masks(first, second, is_region=False)


def _mask_inside(masks: Sequence[Rle], regions: Sequence[Rle]) -> Array:
    """(N, M) share of each mask that lies in each region, all of one size."""
    return _compare_masks(masks, regions, is_region=True)


def _united(masks: Sequence[Rle]) -> tuple[Rle, ...]:
    """One mask of all, or none."""
    return (coco.merge(list(masks)),) if masks else ()


def _mask_area(masks: Sequence[Rle]) -> NDArray[np.int64]:
    """(N,) pixels of each mask."""
    return np.asarray(coco.area(list(masks)), np.int64).reshape(-1)


def _compare_masks(first: Sequence[Rle], second: Sequence[Rle], *, is_region: bool) -> Array:
    if not first or not second:
        return np.zeros((len(first), len(second)))
    kinds = [int(is_region)] * len(second)
    shares = coco.iou(list(first), list(second), kinds)
    return np.nan_to_num(np.asarray(shares, np.float64))  # empty in empty is 0 / 0


def _extended(boxes: Array, extra: float) -> Array:
    """(N, 4) boxes that end so much further right and below."""
    return boxes + np.array([0, 0, extra, extra], np.float64)
