"""MOTChallenge and MOTS: HOTA, CLEAR and identity scores of boxes and masks.

All files are read and checked before the first is scored, so that an error costs no waiting.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from pycocotools import mask as coco

from masa_cli.evaluation.metrics import (
    EPSILON,
    Array,
    Data,
    Metrics,
    Scores,
    curve_of,
    data_of,
    row_of,
    rows_by_frame,
)
from masa_cli.evaluation.mot_boxes import (
    check_boxes,
    data_of_class,
    own_classes,
    scored_data,
    told_unscored,
)
from masa_cli.evaluation.report import Metric, Report, Row
from masa_cli.evaluation.sequences import SequencePair, check_frames, check_ids, find_pairs
from masa_cli.formats.json_fields import Rle
from masa_cli.formats.mot import MotRows, read_results, read_truth
from masa_cli.formats.mots import IGNORE, MotsRows, read_masks
from masa_cli.structures import BoolArray, IntArray

_MAX_IGNORED = 0.5  # share of its area in ignored regions above which a result is dropped

_CURVES = ("HOTA", "DetA", "AssA")

_ERRORS = (
    Metric("IDSW", more_is_better=False, is_count=True),
    Metric("CLR_FP", more_is_better=False, is_count=True),
    Metric("CLR_FN", more_is_better=False, is_count=True),
    Metric("Frag", more_is_better=False, is_count=True),
    Metric("MT", is_count=True),
    Metric("ML", more_is_better=False, is_count=True),
)


def _metrics(clear: tuple[str, ...]) -> tuple[Metric, ...]:
    names = ("HOTA", "DetA", "AssA", "LocA", *clear, "IDF1", "IDP", "IDR")
    return (*(Metric(name, is_fraction=True) for name in names), *_ERRORS)


_BOX_METRICS = _metrics(("MOTA", "MOTP"))
_MASK_METRICS = _metrics(("sMOTSA", "MOTSA", "MOTSP"))


def evaluate(
    gt: Path,
    results: Path,
    *,
    classes: Mapping[str, int],
    masks: bool = False,
    distractors: tuple[int, ...] = (),
    first_frame: int = 1,
    allow_missing: bool = False,
    seqmap: Path | None = None,
    all_classes: bool = False,
) -> Report:
    """Score the results of one sequence (two files) or of many (two folders).

    Rows hold all of TrackEval's fields as fractions and counts, those over alphas as their mean;
    `metrics` names those worth a column. With several classes, `combined` is their plain mean, and
    `sequences` has a row per sequence and class.

    Args:
        gt: file, or folder of `<sequence>/gt/gt.txt` or `<sequence>.txt`.
        results: file, or folder of `<sequence>.txt`.
        classes: number in the files of each class that is scored, by name.
        masks: compare masks, not boxes.
        distractors: classes of truth that are neither wanted nor wrong; boxes only.
        first_frame: number of the first frame in the files.
        allow_missing: score a sequence without results as empty, and say so in `notes`.
        seqmap: file with the names of the sequences to score.
        all_classes: score each class that occurs, whatever its number, with no distractors; a flag
            of truth counts from above 0. Boxes only.

    Raises:
        SettingsError: a library is missing.
        SourceError: a file is missing or malformed, or cannot be scored.
    """
    rules = _Rules(classes, masks, distractors, first_frame, all_classes)
    metrics = Metrics()
    pairs = find_pairs(gt, results, seqmap, allow_missing=allow_missing)
    load = _load_masks if rules.masks else _load_boxes
    sequences = [load(pair, rules) for pair in pairs]
    if all_classes:
        rules = replace(rules, classes=own_classes(each.rows for each in sequences if each.rows))
    scores: dict[str, dict[str, Scores]] = {name: {} for name in rules.classes}
    for sequence in sequences:
        for class_, data in zip(rules.classes, sequence.data(rules), strict=True):
            scores[class_][sequence.name] = metrics.of(data)
    warnings = tuple(sequence.warning for sequence in sequences if sequence.warning)
    notes = _notes(pairs, sequences, rules)
    return replace(_report(metrics, rules, scores, notes), warnings=warnings)


@dataclass(frozen=True, slots=True)
class _Rules:
    """How one protocol differs from the others.

    Attributes:
        classes: number of each class that is scored, by name.
        masks: rows hold masks, not boxes.
        distractors: classes of truth that are neither wanted nor wrong; boxes only.
        first_frame: number of the first frame in the files.
        all_classes: whether the classes are those that occur.
    """

    classes: Mapping[str, int]
    masks: bool
    distractors: tuple[int, ...]
    first_frame: int
    all_classes: bool = False


@dataclass(frozen=True, slots=True)
class _Sequence:
    """A sequence that was read and checked.

    Attributes:
        name: of the sequence.
        data: gives what is to be scored of each class of the rules; called late, for it is large.
        has_classes: whether its truth has classes.
        rows: truth and results, of boxes.
        warning: what of the truth is not scored, and why; "" if there is nothing to say.
    """

    name: str
    data: Callable[[_Rules], Sequence[Data]]
    has_classes: bool
    rows: tuple[MotRows, MotRows] | None = None
    warning: str = ""


def _load_boxes(pair: SequencePair, rules: _Rules) -> _Sequence:
    truth = read_results(pair.truth) if rules.all_classes else read_truth(pair.truth)
    results = read_results(pair.results) if pair.results else MotRows.empty()
    check_boxes(truth, results, pair.length, pair.told_by, any_class=rules.all_classes)
    length = _length(pair, truth.frames, results.frames)

    def data(rules: _Rules) -> list[Data]:
        if not rules.all_classes:
            return [scored_data(truth, results, rules.distractors, length)]
        return [data_of_class(truth, results, number, length) for number in rules.classes.values()]

    return _Sequence(
        pair.name,
        data,
        has_classes=truth.classes is not None,
        rows=(truth, results),
        warning="" if rules.all_classes else told_unscored(truth, rules.distractors),
    )


def _load_masks(pair: SequencePair, rules: _Rules) -> _Sequence:
    first_frame = rules.first_frame
    truth = read_masks(pair.truth, first_frame=first_frame)
    results = (
        read_masks(pair.results, first_frame=first_frame) if pair.results else MotsRows.empty()
    )
    _check_masks(truth, results, pair.length, pair.told_by, first_frame)
    length = _length(pair, truth.frames, results.frames)

    def data(rules: _Rules) -> list[Data]:
        return _scored_mask_data(truth, results, tuple(rules.classes.values()), length)

    return _Sequence(pair.name, data, has_classes=True)


def _length(pair: SequencePair, *frames: IntArray) -> int:
    """Number of frames: as told, else up to the last that occurs on either side.

    Only CLR_Frames and FP_per_frame depend on it.
    """
    if pair.length is not None:
        return pair.length
    return max((int(side.max()) + 1 for side in frames if len(side)), default=0)


def _report(
    metrics: Metrics,
    rules: _Rules,
    scores: Mapping[str, Mapping[str, Scores]],
    notes: tuple[str, ...],
) -> Report:
    """The scores of each class and sequence as rows."""
    of_class = {class_: metrics.of_sequences(of) for class_, of in scores.items()}
    combined = next(iter(of_class.values()))
    several = len(of_class) > 1
    groups = {}
    if several:
        combined = metrics.of_classes(of_class)
        groups = {"class mean": combined, "detection mean": metrics.of_detections(of_class)}
        notes = (*notes, "The combined row is the plain mean of the classes, counts are summed.")
    row = _masks_row if rules.masks else row_of
    return Report(
        metrics=_MASK_METRICS if rules.masks else _BOX_METRICS,
        combined=row(combined),
        sequences={
            f"{sequence} {class_}" if several else sequence: row(of[sequence])
            for sequence in next(iter(scores.values()))
            for class_, of in scores.items()
        },
        classes={class_: row(of) for class_, of in of_class.items()} if several else {},
        groups={name: row(of) for name, of in groups.items()},
        curves={field: curve_of(combined, field) for field in _CURVES},
        alphas=metrics.alphas,
        notes=notes,
    )


def _masks_row(scores: Scores) -> Row:
    """All fields, and again those that MOTS has names of its own for."""
    row = row_of(scores)
    return {**row, "sMOTSA": row["sMOTA"], "MOTSA": row["MOTA"], "MOTSP": row["MOTP"]}


def _notes(
    pairs: Sequence[SequencePair], sequences: Sequence[_Sequence], rules: _Rules
) -> tuple[str, ...]:
    missing = [pair.name for pair in pairs if pair.results is None]
    classless = [sequence.name for sequence in sequences if not sequence.has_classes]
    notes = []
    if missing:
        notes.append(f"Scored as empty, for want of results: {', '.join(missing)}.")
    if classless and not rules.all_classes:
        notes.append(f"Truth without classes, so no distractors: {', '.join(classless)}.")
    if rules.all_classes and "all" in rules.classes:
        notes.append("Truth or results have no classes, so all boxes are scored as of one.")
    return tuple(notes)


def _check_masks(
    truth: MotsRows, results: MotsRows, length: int | None, told_by: str, first_frame: int
) -> None:
    """Raise SourceError for rows that cannot be scored, naming the line."""
    is_object = truth.classes != IGNORE
    sizes = truth.sizes if len(truth.masks) else results.sizes
    for rows in (truth, results):
        check_frames(rows.text, rows.frames, length, told_by, first_frame)
        other = np.flatnonzero((rows.sizes != sizes[:1]).any(axis=1))
        if len(other):
            row = int(other[0])
            expected, got = (f"{h} x {w}" for h, w in (sizes[0], rows.sizes[row]))
            raise rows.text.wrong(row, f"masks of {expected} pixels as in {truth.text.path}", got)
    check_ids(truth.text, truth.frames, truth.ids, is_object)
    check_ids(results.text, results.frames, results.ids)
    _check_overlap(truth, is_object)
    _check_overlap(results, np.ones(len(results.masks), np.bool_))


def _check_overlap(rows: MotsRows, is_object: BoolArray) -> None:
    """Raise SourceError where objects share pixels; ignored regions may, with each other."""
    for members, _ in rows_by_frame(rows.frames, np.empty(0, np.int64)):
        objects = members[is_object[members]]
        region = _union(rows, members[~is_object[members]])
        masks = _rles(rows, objects) + ([] if region is None else [region])
        if coco.area(coco.merge(masks)) == coco.area(masks).sum():
            continue
        covered = region
        for row, mask in zip(objects.tolist(), masks, strict=False):
            if covered is not None and coco.area(coco.merge([covered, mask], intersect=True)):
                raise rows.text.wrong(
                    row, "masks that share no pixel in a frame", "one on another or on class 10"
                )
            covered = mask if covered is None else coco.merge([covered, mask])


def _scored_mask_data(
    truth: MotsRows, results: MotsRows, class_numbers: tuple[int, ...], num_frames: int
) -> list[Data]:
    """What is left to score of each class, as TrackEval wants it.

    Results that lie mostly in ignored regions are dropped.

    Args:
        truth: with the ignored regions.
        results: of the same sequence.
        class_numbers: classes to score.
        num_frames: length of the sequence.
    """
    frames = rows_by_frame(truth.frames, results.frames)
    ignored = [_union(truth, rows[truth.classes[rows] == IGNORE]) for rows, _ in frames]
    return [
        _data_of_class(truth, results, number, frames, ignored, num_frames)
        for number in class_numbers
    ]


def _data_of_class(
    truth: MotsRows,
    results: MotsRows,
    number: int,
    frames: Sequence[tuple[IntArray, IntArray]],
    ignored: Sequence[Rle | None],
    num_frames: int,
) -> Data:
    gt_ids, ids, similarities = [], [], []
    for (all_gt_rows, all_rows), region in zip(frames, ignored, strict=True):
        gt_rows = all_gt_rows[truth.classes[all_gt_rows] == number]
        rows = all_rows[results.classes[all_rows] == number]
        masks = _rles(results, rows)
        similarity = _iou(_rles(truth, gt_rows), masks)
        if region is not None:
            # TrackEval spares those that match an object. None can: what lies by more than half in
            # ignored regions, which share no pixel with objects, has an IoU below 0.5 with these.
            kept = _iou(masks, [region], of_first=True)[:, 0] <= _MAX_IGNORED + EPSILON
            rows, similarity = rows[kept], similarity[:, kept]
        gt_ids.append(truth.ids[gt_rows])
        ids.append(results.ids[rows])
        similarities.append(similarity)
    return data_of(gt_ids, ids, similarities, num_frames)


def _union(rows: MotsRows, members: IntArray) -> Rle | None:
    """The masks of these rows as one; None of no rows."""
    if not len(members):
        return None
    merged: Rle = coco.merge(_rles(rows, members))
    return merged


def _rles(rows: MotsRows, members: IntArray) -> list[Rle]:
    return [
        {"size": rows.sizes[row].tolist(), "counts": rows.masks[row]} for row in members.tolist()
    ]


def _iou(first: list[Rle], second: list[Rle], *, of_first: bool = False) -> Array:
    """(N, M) shared area over union, or over the area of the first."""
    if not first or not second:
        return np.zeros((len(first), len(second)))
    shares: Array = coco.iou(first, second, [of_first] * len(second))
    return shares
