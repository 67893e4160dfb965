"""Results for TAO, also with an open vocabulary: TETA and Track mAP, per class and together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from masa_cli.boxes import iou
from masa_cli.errors import SourceError
from masa_cli.evaluation.report import Metric, Report, Row
from masa_cli.evaluation.teta import (
    ALPHAS,
    TetaScores,
    TetaVideo,
    count_video,
    mean_scores,
    scores,
    total,
)
from masa_cli.evaluation.teta_scores import Array
from masa_cli.evaluation.track_map import THRESHOLDS, track_ap, track_numbers
from masa_cli.formats.tao import TaoBoxes, TaoSet, read_annotations, read_results
from masa_cli.structures import IntArray

_TETA = {"TETA": "teta", "LocA": "loc_a", "AssocA": "assoc_a", "ClsA": "cls_a"}
_PRINTED = "1.5g"  # by the reference, in percent
METRICS = (
    *(Metric(name, printed=_PRINTED) for name in _TETA),
    *(Metric(name, is_fraction=True) for name in ("TrackAP", "AP50", "AP75")),
)
_RARE = "r"


def evaluate(
    gt: Path, results: Path, *, class_vote: bool = True, allow_missing: bool = False
) -> Report:
    """Compare TAO results with their ground truth.

    Scores of TETA are in percent, those of Track mAP are fractions; all are plain means over the
    classes that have ground truth. The groups "base" and "novel" (rare categories) are means of
    the TETA scores as they are printed, with 5 digits, which is how the field reports them.

    Args:
        gt: annotation file.
        results: a list of boxes with identities.
        class_vote: first `vote_classes`. Track mAP always does: it knows one class per track.
        allow_missing: a video without any result counts as one in which nothing was found.

    Raises:
        SettingsError: TrackEval is not installed.
        SourceError: a file is malformed, the two do not belong together, or videos are missing.
    """
    tao = read_annotations(gt)
    if not len(tao.truth):
        raise SourceError(f"{gt} has no annotations", fix="evaluate with one that has")
    found = read_results(results, tao)
    notes = _missing(tao, found, results, allow_missing)
    voted = vote_classes(found, track_numbers(tao, found))
    if not class_vote and np.any(voted.classes != found.classes):
        notes += ("Track mAP knows one class per track: the one most of its boxes have.",)
    precision = track_ap(tao, voted)
    teta = _teta(tao, voted if class_vote else found)
    classes = {number: _row(row, precision[number]) for number, row in teta.items()}
    mean = mean_scores(list(teta.values()))
    return Report(
        METRICS,
        combined=_row(mean, np.mean(list(precision.values()), axis=0)),
        classes=dict(zip(_labels(tao, classes), classes.values(), strict=True)),
        groups=_groups(tao, classes),
        curves={"TETA": mean.teta_curve, "LocA": mean.loc_a_curve, "AssocA": mean.assoc_a_curve},
        alphas=ALPHAS,
        notes=notes,
    )


def vote_classes(boxes: TaoBoxes, tracks: IntArray) -> TaoBoxes:
    """Give all boxes of a track the class that most of them have, of equally many the smallest.

    Args:
        boxes: of any videos.
        tracks: (M,) track of each box, from 0 without gaps.
    """
    known, places = np.unique(boxes.classes, return_inverse=True)
    num_classes = max(len(known), 1)
    pairs, counts = np.unique(tracks * num_classes + places, return_counts=True)
    owners = pairs // num_classes
    order = np.lexsort((pairs, -counts, owners))
    _, first = np.unique(owners[order], return_index=True)
    winners = known[pairs[order[first]] % num_classes]
    return replace(boxes, classes=winners[tracks])


def teta_videos(tao: TaoSet, results: TaoBoxes) -> Iterator[TetaVideo]:
    """The videos with ground truth, each of the images with ground truth."""
    truth, found = _by_image(tao.truth), _by_image(results)
    images = np.unique(truth.images)
    for place in np.unique(tao.image_videos[images]):
        own = images[tao.image_videos[images] == place]
        gt = [truth[rows] for rows in _rows(truth, own)]
        given = [found[rows] for rows in _rows(found, own)]
        yield TetaVideo(
            gt_ids=[step.tracks for step in gt],
            gt_classes=[step.classes for step in gt],
            ids=[step.tracks for step in given],
            classes=[step.classes for step in given],
            similarity=[iou(a.boxes, b.boxes) for a, b in zip(gt, given, strict=True)],
        )


def _teta(tao: TaoSet, results: TaoBoxes) -> dict[int, TetaScores]:
    """TETA of each class with ground truth, in the order of the classes."""
    evaluated: list[int] = np.unique(tao.truth.classes).tolist()
    counts = total(count_video(video, evaluated) for video in teta_videos(tao, results))
    return {number: scores(counts[number]) for number in evaluated}


def _by_image(boxes: TaoBoxes) -> TaoBoxes:
    """In the order of images, those of one image as in the file."""
    return boxes[np.argsort(boxes.images, kind="stable")]


def _rows(boxes: TaoBoxes, images: IntArray) -> list[slice]:
    """Where the boxes of each image are, in boxes sorted by image."""
    starts = np.searchsorted(boxes.images, images).tolist()
    stops = np.searchsorted(boxes.images, images, side="right").tolist()
    return [slice(*both) for both in zip(starts, stops, strict=True)]


def _missing(tao: TaoSet, found: TaoBoxes, results: Path, allow_missing: bool) -> tuple[str, ...]:
    """A note on videos that have ground truth but no results; an error if that is not allowed."""
    expected = np.unique(tao.image_videos[tao.truth.images])
    given = np.unique(tao.image_videos[found.images])
    lacking = [tao.videos[place].name for place in np.setdiff1d(expected, given)]
    if not lacking:
        return ()
    names = ", ".join(lacking[:3]) + (", …" if len(lacking) > 3 else "")
    problem = f"{results} has no results for {len(lacking)} of {len(expected)} videos: {names}"
    if not allow_missing:
        raise SourceError(problem, fix="add them, or count them as empty with --allow-missing")
    return (f"{problem}; they count as empty.",)


def _row(teta: TetaScores, precision: Array) -> Row:
    by_threshold = dict(zip(THRESHOLDS, precision, strict=True))
    return {
        **{name: float(getattr(teta, field)) for name, field in _TETA.items()},
        "TrackAP": float(np.mean(precision)),
        "AP50": float(by_threshold[0.5]),
        "AP75": float(by_threshold[0.75]),
    }


def _labels(tao: TaoSet, classes: Iterable[int]) -> list[str]:
    """Names of the classes; those that share theirs with another are told apart by their id."""
    names = {number: tao.names[number] for number in classes}
    common = {name for name, amount in Counter(names.values()).items() if amount > 1}
    return [f"{name} ({id_})" if name in common else name for id_, name in names.items()]


def _groups(tao: TaoSet, classes: Mapping[int, Row]) -> dict[str, Row]:
    """Means over common and over rare categories; none where the file tells no frequencies."""
    if not tao.frequencies:
        return {}
    rare = {number for number in classes if tao.frequencies.get(number) == _RARE}
    groups = {"base": classes.keys() - rare, "novel": rare}
    return {
        name: {
            metric.name: float(np.mean([_as_printed(classes[n][metric.name], metric) for n in own]))
            for metric in METRICS
        }
        for name, own in groups.items()
        if own
    }


def _as_printed(value: float, metric: Metric) -> float:
    return float(format(value, _PRINTED)) if metric.printed == _PRINTED else value
