"""Which boxes of MOTChallenge files are scored: by the benchmark's rules, or of all classes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from scipy.optimize import linear_sum_assignment

from masa_cli.boxes import iou
from masa_cli.errors import SourceError
from masa_cli.evaluation.metrics import EPSILON, Array, Data, data_of, rows_by_frame
from masa_cli.evaluation.sequences import check_frames, check_ids
from masa_cli.formats.mot import NO_CLASS, MotRows
from masa_cli.structures import BoolArray

_PEDESTRIAN = 1
_ANY = NO_CLASS  # in place of a class: all boxes, whatever theirs is
_MIN_IOU = 0.5  # of a result that is taken for a distractor


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


def _on_distractors(similarity: Array, distracts: BoolArray) -> BoolArray:
    """Which columns are matched to a distractor, when all truth competes for them."""
    found = np.zeros(similarity.shape[1], np.bool_)
    if similarity.size and distracts.any():
        value = np.where(similarity < _MIN_IOU - EPSILON, 0, similarity)
        rows, columns = linear_sum_assignment(value, maximize=True)
        found[columns[(value[rows, columns] > EPSILON) & distracts[rows]]] = True
    return found


def own_classes(sequences: Iterable[tuple[MotRows, MotRows]]) -> Mapping[str, int]:
    """Number of each class that truth and results have, by its name: the number as text.

    Where any of the truth or of the results has no classes, all boxes are of one, "all".

    Args:
        sequences: truth and results of each.
    """
    numbers: set[int] = set()
    for sequence in sequences:
        for rows in sequence:
            found = {NO_CLASS} if rows.classes is None else set(rows.classes.tolist())
            if found == {NO_CLASS} and len(rows.frames):
                return {"all": _ANY}
            numbers |= found
    return {"none" if each == NO_CLASS else str(each): each for each in sorted(numbers)} or {
        "all": _ANY
    }


def data_of_class(truth: MotRows, results: MotRows, number: int, num_frames: int) -> Data:
    """What is left to score of one of `own_classes`: all truth whose flag is above 0."""
    sides = []
    for rows in (truth, results):
        kept = np.ones(len(rows.frames), np.bool_)
        if number != _ANY and rows.classes is not None:
            kept = rows.classes == number
        sides.append(rows.where(kept))
    own, found = sides
    return scored_data(own.without_classes(own.scores > 0), found, (), num_frames)


def told_unscored(truth: MotRows, distractors: tuple[int, ...]) -> str:
    """A sentence on the truth that is not scored though nothing in it says so; "" if there is none.

    Rows of flag 0 say so.
    """
    is_part = (truth.scores > 0) & (truth.scores < 1)
    reasons = [(int(is_part.sum()), "have a flag (column 7) between 0 and 1")]
    if truth.classes is not None:
        flagged = truth.scores >= 1
        is_distractor = np.isin(truth.classes, distractors)
        other = flagged & (truth.classes != _PEDESTRIAN) & ~is_distractor
        shown = ", ".join(map(str, np.unique(truth.classes[other]).tolist()))
        reasons.append((int(other.sum()), f"are of classes that are not pedestrian, 1 ({shown})"))
        distracting = int((flagged & is_distractor).sum())
        reasons.append((distracting, "are distractors by their class, and what matches them, too"))
    told = [f"{count} {reason}" for count, reason in reasons if count]
    num_unscored = sum(count for count, _ in reasons)
    if not told:
        return ""
    return (
        f"{truth.text.path}: {num_unscored} of {len(truth.frames)} rows of the truth are not "
        f"scored: {'; '.join(told)}. For a truth of your own: --all-classes"
    )


def check_boxes(
    truth: MotRows, results: MotRows, length: int | None, told_by: str, *, any_class: bool
) -> None:
    """Raise SourceError for rows that cannot be scored, naming the line."""
    for rows in (truth, results):
        check_frames(rows.text, rows.frames, length, told_by)
        check_ids(rows.text, rows.frames, rows.ids)
    if results.classes is None or any_class:
        return
    other = np.flatnonzero(results.classes > _PEDESTRIAN)
    if len(other):
        row = int(other[0])
        error = results.text.wrong(row, "class 1 or -1 in column 8", str(results.classes[row]))
        raise SourceError(
            error.problem,
            fix="MOTChallenge scores pedestrians alone: write results without --mot-classes; for a "
            "truth of your own with several classes: --all-classes",
        )
