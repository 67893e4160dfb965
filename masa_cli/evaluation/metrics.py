"""Scores of boxes and identities, from memory and unrounded.

TrackEval computes HOTA, CLEAR and Identity; its readers, tables and plots stay unused. Where it is
not installed, as for `masa demo`, `identity_scores` gives the few figures that everyone asks for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from masa_cli.boxes import iou
from masa_cli.evaluation.report import Row, require
from masa_cli.structures import FloatArray, IntArray

Array: TypeAlias = NDArray[np.float64]

# What TrackEval's metrics read, and what they give: values by the name of the metric class.
Data: TypeAlias = dict[str, Any]
Scores: TypeAlias = dict[str, dict[str, Any]]

# One frame: (N, 4) boxes xyxy and (N,) ids, each at most once.
Identified: TypeAlias = tuple[FloatArray, IntArray]

# TrackEval's own tolerance where it compares similarities with a threshold.
EPSILON = float(np.finfo("float").eps)


class Metrics:
    """HOTA, CLEAR and Identity, made once."""

    def __init__(self) -> None:
        metrics = require("trackeval").metrics
        # PRINT_CONFIG is on by default, and would go to stdout between the results.
        quiet = {"PRINT_CONFIG": False}
        self._metrics = {
            "HOTA": metrics.HOTA(),
            "CLEAR": metrics.CLEAR(dict(quiet)),
            "Identity": metrics.Identity(dict(quiet)),
        }
        self.alphas = tuple(round(float(alpha), 2) for alpha in self._metrics["HOTA"].array_labels)

    def of(self, data: Data) -> Scores:
        """Scores of one sequence."""
        return {name: metric.eval_sequence(data) for name, metric in self._metrics.items()}

    def of_sequences(self, scores: Mapping[str, Scores]) -> Scores:
        """Scores of several sequences as if they were one."""
        return self._combined("combine_sequences", scores)

    def of_classes(self, scores: Mapping[str, Scores]) -> Scores:
        """The plain mean of the scores of several classes; counts are summed."""
        return self._combined("combine_classes_class_averaged", scores)

    def of_detections(self, scores: Mapping[str, Scores]) -> Scores:
        """Scores of several classes by their summed counts, so that frequent ones weigh more."""
        return self._combined("combine_classes_det_averaged", scores)

    def _combined(self, method: str, scores: Mapping[str, Scores]) -> Scores:
        return {
            name: getattr(metric, method)({key: value[name] for key, value in scores.items()})
            for name, metric in self._metrics.items()
        }


def data_of(
    gt_ids: Sequence[IntArray],
    ids: Sequence[IntArray],
    similarity: Sequence[Array],
    num_frames: int,
) -> Data:
    """What TrackEval's metrics need of one sequence.

    Args:
        gt_ids: (G,) of each frame, any numbers.
        ids: (N,) of each frame, any numbers.
        similarity: (G, N) of each frame.
        num_frames: with those that are not given because they are empty on both sides.
    """
    gt_numbers, num_gt_ids = _renumbered(gt_ids)
    numbers, num_ids = _renumbered(ids)
    return {
        "gt_ids": gt_numbers,
        "tracker_ids": numbers,
        "similarity_scores": list(similarity),
        "num_gt_ids": num_gt_ids,
        "num_tracker_ids": num_ids,
        "num_gt_dets": sum(len(frame) for frame in gt_ids),
        "num_tracker_dets": sum(len(frame) for frame in ids),
        "num_timesteps": num_frames,
    }


def row_of(scores: Scores) -> Row:
    """All of TrackEval's fields as plain numbers; those over alphas become their mean."""
    return {
        field: float(np.mean(value)) for part in scores.values() for field, value in part.items()
    }


def curve_of(scores: Scores, field: str) -> tuple[float, ...]:
    """A field of HOTA at each alpha."""
    return tuple(float(value) for value in scores["HOTA"][field])


def rows_by_frame(first: IntArray, second: IntArray) -> list[tuple[IntArray, IntArray]]:
    """For each frame that occurs in either, in order: its rows in both, in the order they stand."""
    frames = np.union1d(first, second)
    return list(zip(_split(first, frames), _split(second, frames), strict=True))


@dataclass(frozen=True, slots=True)
class IdentityScores:
    """Shares are 0 where there is nothing to divide by.

    Attributes:
        idf1: harmonic mean of `idp` and `idr`.
        idp: share of the result's boxes that carry the right identity, 0 to 1.
        idr: share of the true boxes that got the right identity, 0 to 1.
        num_switches: how often a true object got another id than when it was last found.
        recall: share of the true boxes that were found, whatever their id, 0 to 1.
        mota: 1 less misses, false boxes and switches per true box; at most 1, negative if bad.
    """

    idf1: float
    idp: float
    idr: float
    num_switches: int
    recall: float
    mota: float


def identity_scores(
    truth: Sequence[Identified], results: Sequence[Identified], iou_threshold: float = 0.5
) -> IdentityScores:
    """Compare tracks with the truth.

    The identity scores join each true object to at most one track for the whole video (Ristani et
    al., 2016); switches and MOTA join boxes frame by frame (Bernardin and Stiefelhagen, 2008).

    Args:
        truth: of all frames, in order.
        results: of the same frames.
        iou_threshold: boxes of at least this IoU may be the same object, above 0.

    Raises:
        ValueError: unequally many frames.
    """
    if len(truth) != len(results):
        raise ValueError(f"results must have {len(truth)} frames as truth, got {len(results)}")
    num_true = sum(len(ids) for _, ids in truth)
    num_given = sum(len(ids) for _, ids in results)
    together: Counter[tuple[int, int]] = Counter()  # frames in which two ids may be the same object
    frames = FrameMatcher()
    for (true_boxes, true_ids), (boxes, ids) in zip(truth, results, strict=True):
        overlap = iou(true_boxes, boxes)
        overlap[overlap < iou_threshold] = 0
        rows, columns = np.nonzero(overlap)
        together.update(zip(true_ids[rows].tolist(), ids[columns].tolist(), strict=True))
        frames.match(true_ids, ids, overlap)
    num_identified = _best_total(together)
    errors = num_true + num_given - 2 * frames.num_found + frames.num_switches
    return IdentityScores(
        idf1=_share(2 * num_identified, num_true + num_given),
        idp=_share(num_identified, num_given),
        idr=_share(num_identified, num_true),
        num_switches=frames.num_switches,
        recall=_share(frames.num_found, num_true),
        mota=_share(num_true - errors, num_true),
    )


class FrameMatcher:
    """Joins boxes frame by frame, and counts how often a true object changes its id."""

    def __init__(self) -> None:
        self.num_found = 0
        self.num_switches = 0
        self._last: dict[int, int] = {}  # true id: id when it was last found
        self._previous: dict[int, int] = {}  # the same, of the last frame with boxes on both sides

    def match(self, true_ids: IntArray, ids: IntArray, overlap: FloatArray) -> None:
        """Count one frame; overlap is 0 for boxes that cannot be the same object."""
        if not overlap.size:
            return
        kept = np.array([self._previous.get(true_id, -1) for true_id in true_ids.tolist()])
        # Who was joined stays joined; only among equals does the overlap decide.
        value = np.where(overlap > 0, 1000 * (kept[:, None] == ids) + overlap.astype(np.float64), 0)
        rows, columns = linear_sum_assignment(value, maximize=True)
        joined = value[rows, columns] > 0
        pairs = zip(true_ids[rows[joined]].tolist(), ids[columns[joined]].tolist(), strict=True)
        self._previous = dict(pairs)
        self.num_found += len(self._previous)
        self.num_switches += sum(
            self._last.get(true_id, given) != given for true_id, given in self._previous.items()
        )
        self._last.update(self._previous)


def _best_total(together: Counter[tuple[int, int]]) -> int:
    """The most frames that can be explained if each id is joined to at most one other."""
    if not together:
        return 0
    pairs = np.array(list(together))
    (true_ids, rows), (ids, columns) = (np.unique(side, return_inverse=True) for side in pairs.T)
    counts = np.zeros((len(true_ids), len(ids)), np.int64)
    counts[rows, columns] = list(together.values())
    return int(counts[linear_sum_assignment(counts, maximize=True)].sum())


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def _split(values: IntArray, frames: IntArray) -> list[IntArray]:
    # Stable: the order within a frame decides between equally good pairs.
    order = np.argsort(values, kind="stable")
    begins = np.searchsorted(values[order], frames, "left").tolist()
    ends = np.searchsorted(values[order], frames, "right").tolist()
    return [order[begin:end] for begin, end in zip(begins, ends, strict=True)]


def _renumbered(ids: Sequence[IntArray]) -> tuple[list[IntArray], int]:
    """The same ids counted from 0 without gaps, in their order, and how many there are."""
    if not ids:
        return [], 0
    known, numbers = np.unique(np.concatenate(ids), return_inverse=True)
    bounds = np.cumsum([len(frame) for frame in ids])[:-1]
    return np.split(numbers, bounds), len(known)
