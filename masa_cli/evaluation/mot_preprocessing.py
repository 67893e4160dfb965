"""What MOTChallenge takes out of truth and results before it scores boxes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from masa_cli.boxes import iou
from masa_cli.errors import SourceError
from masa_cli.evaluation.sequence_checks import check_frames, check_ids
from masa_cli.evaluation.trackeval_scores import EPSILON, Data, data_of, rows_by_frame
from masa_cli.formats.mot import MotRows
from masa_cli.structures import BoolArray

_PEDESTRIAN = 1
_MATCH = 0.5  # the least IoU of a result that is taken for a distractor


def check(truth: MotRows, results: MotRows, length: int | None, told_by: str) -> None:
    """Raise SourceError for rows that cannot be scored, naming the line."""
    for rows in (truth, results):
        check_frames(rows.text, rows.frames, length, told_by)
        check_ids(rows.text, rows.frames, rows.ids)
    if results.classes is None:
        return
    other = np.flatnonzero(results.classes > _PEDESTRIAN)
    if len(other):
        row = int(other[0])
        error = results.text.wrong(row, "class 1 or -1 in column 8", str(results.classes[row]))
        raise SourceError(
            error.problem,
            fix="MOTChallenge scores pedestrians alone: write results without --mot-classes",
        )


def scored_data(
    truth: MotRows, results: MotRows, distractors: tuple[int, ...], num_frames: int
) -> Data:
    """What is left to score, as TrackEval wants it.

    Args:
        truth: with classes: results that match distractors are dropped, then all truth but
            pedestrians; without: nothing is dropped. Rows of flag 0 are dropped in either case, but
            not the results on them.
        results: of the same sequence.
        distractors: classes that are neither wanted nor wrong.
        num_frames: length of the sequence.
    """
    # TrackEval reads the flag as a whole number.
    scored = truth.scores.astype(np.int64) != 0
    distracts = np.zeros(len(scored), np.bool_)
    if truth.classes is not None:
        scored &= truth.classes == _PEDESTRIAN
        distracts = np.isin(truth.classes, distractors)
    gt_ids, ids, similarities = [], [], []
    for all_gt_rows, all_rows in rows_by_frame(truth.frames, results.frames):
        similarity = iou(truth.boxes[all_gt_rows], results.boxes[all_rows])
        kept = ~_on_distractors(similarity, distracts[all_gt_rows])
        wanted = scored[all_gt_rows]
        gt_ids.append(truth.ids[all_gt_rows[wanted]])
        ids.append(results.ids[all_rows[kept]])
        similarities.append(similarity[wanted][:, kept])
    return data_of(gt_ids, ids, similarities, num_frames)


def _on_distractors(similarity: NDArray[np.float64], distracts: BoolArray) -> BoolArray:
    """Which columns are matched to a distractor, when all truth competes for them."""
    found = np.zeros(similarity.shape[1], np.bool_)
    if similarity.size and distracts.any():
        value = np.where(similarity < _MATCH - EPSILON, 0, similarity)
        rows, columns = linear_sum_assignment(value, maximize=True)
        found[columns[(value[rows, columns] > EPSILON) & distracts[rows]]] = True
    return found
