"""Results for TAO, also with an open vocabulary: TETA and Track mAP, per class and together."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from masa_cli.boxes import iou
from masa_cli.errors import SourceError
from masa_cli.evaluation.metrics import Array
from masa_cli.evaluation.report import Metric, Report, Row, require
from masa_cli.evaluation.teta import (
    ALPHAS,
    SCORE_FIELDS,
    TetaScores,
    TetaVideo,
    count_video,
    mean_scores,
    scores,
    total,
)
from masa_cli.formats.tao import TaoBoxes, TaoSet, read_annotations, read_results
from masa_cli.structures import IntArray

# Overlaps from which a track is found; the scores of a class are in this order.
THRESHOLDS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))
_MAX_BOXES = 300  # in an image
_RARE = "r"
_PRINTED = "1.5g"  # by the reference, in percent

METRICS = (
    *(Metric(name, printed=_PRINTED) for name in SCORE_FIELDS),
    *(Metric(name, is_fraction=True) for name in ("TrackAP", "AP50", "AP75")),
)

# One track as TrackEval takes it: id, score, box by image.
_TrackList = list[tuple[int, float, dict[int, Array]]]


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
    known, labels = np.unique(boxes.classes, return_inverse=True)
    num_classes = max(len(known), 1)
    pairs, counts = np.unique(tracks * num_classes + labels, return_counts=True)
    owners = pairs // num_classes
    order = np.lexsort((pairs, -counts, owners))
    _, first = np.unique(owners[order], return_index=True)
    winners = known[pairs[order[first]] % num_classes]
    return replace(boxes, classes=winners[tracks])


def teta_videos(tao: TaoSet, results: TaoBoxes) -> Iterator[TetaVideo]:
    """The videos with ground truth, each of the images with ground truth."""
    truth, found = _by_image(tao.truth), _by_image(results)
    images = np.unique(truth.images)
    for index in np.unique(tao.image_videos[images]):
        own = images[tao.image_videos[images] == index]
        gt = [truth[rows] for rows in _rows(truth, own)]
        given = [found[rows] for rows in _rows(found, own)]
        yield TetaVideo(
            gt_ids=[step.tracks for step in gt],
            gt_classes=[step.classes for step in gt],
            ids=[step.tracks for step in given],
            classes=[step.classes for step in given],
            similarity=[iou(a.boxes, b.boxes) for a, b in zip(gt, given, strict=True)],
        )


def track_ap(tao: TaoSet, results: TaoBoxes) -> dict[int, Array]:
    """Average precision, 0 to 1, by class that has ground truth: (10,), over `THRESHOLDS`.

    A track counts for the class of its first box: give each track one class.

    Raises:
        SettingsError: TrackEval is not installed.
    """
    metric = require("trackeval.metrics.track_map").TrackMAP(
        {"USE_AREA_RANGES": False, "USE_TIME_RANGES": False, "PRINT_CONFIG": False}
    )
    truth = _tracks(tao, tao.truth)
    found = _tracks(tao, _best_boxes(results))
    scores = {}
    for number in np.unique(tao.truth.classes).tolist():
        videos = {}
        for index, video in enumerate(tao.videos):
            gt = truth[index, number]
            # Elsewhere nobody looked for the class, so nobody can tell whether a track is wrong.
            is_known = gt or number in video.negative
            tracks = found[index, number] if is_known else []
            if gt or tracks:
                is_partial = number in video.not_exhaustive
                videos[index] = metric.eval_sequence(_handed_over(gt, tracks, is_partial))
        scores[number] = np.asarray(metric.combine_sequences(videos)["AP_all"], np.float64)
    return scores


def track_numbers(tao: TaoSet, boxes: TaoBoxes) -> IntArray:
    """(M,) the track of each box, from 0: a number used in two videos is two tracks."""
    _, numbers = np.unique(boxes.tracks, return_inverse=True)
    videos = tao.image_videos[boxes.images]
    codes = videos * (numbers.max(initial=0) + 1) + numbers
    unique: IntArray = np.unique(codes, return_inverse=True)[1].astype(np.int64)
    return unique


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


def _best_boxes(boxes: TaoBoxes) -> TaoBoxes:
    """Image by image, in order of appearance, the boxes of the highest scores."""
    _, first, image = np.unique(boxes.images, return_index=True, return_inverse=True)
    order = np.lexsort((-boxes.scores, boxes.images))
    starts = np.searchsorted(boxes.images[order], boxes.images[order])
    best = np.sort(order[np.arange(len(order)) - starts < _MAX_BOXES])
    return boxes[best[np.argsort(first[image[best]], kind="stable")]]


def _tracks(tao: TaoSet, boxes: TaoBoxes) -> defaultdict[tuple[int, int], _TrackList]:
    """Tracks by index of the video and class, in order of appearance."""
    rows: defaultdict[int, list[int]] = defaultdict(list)
    for row, number in enumerate(track_numbers(tao, boxes).tolist()):
        rows[number].append(row)
    tracks: defaultdict[tuple[int, int], _TrackList] = defaultdict(list)
    for number, own in rows.items():
        images = boxes.images[own].tolist()
        kind = (int(tao.image_videos[images[0]]), int(boxes.classes[own[0]]))
        where = dict(zip(images, boxes.boxes[own], strict=True))
        # TrackEval takes a track of id 0 for none.
        tracks[kind].append((number + 1, float(boxes.scores[own].mean()), where))
    return tracks


def _handed_over(gt: _TrackList, tracks: _TrackList, is_partial: bool) -> dict[str, Any]:
    """One video and class as TrackEval's metric takes it."""
    tracks = sorted(tracks, key=lambda track: -track[1])
    return {
        "gt_track_ids": _ids(gt),
        "gt_tracks": [boxes for _, _, boxes in gt],
        "dt_track_ids": _ids(tracks),
        "dt_tracks": [boxes for _, _, boxes in tracks],
        "dt_track_scores": [score for _, score, _ in tracks],
        "not_exhaustively_labeled": is_partial,
        "iou_type": "bbox",
        # From xywh it adds before it compares, and refuses perfect boxes whose sum is rounded up.
        "boxformat": "x0y0x1y1",
    }


def _ids(tracks: Iterable[tuple[int, float, dict[int, Array]]]) -> list[int]:
    return [id_ for id_, _, _ in tracks]


def _missing(tao: TaoSet, found: TaoBoxes, results: Path, allow_missing: bool) -> tuple[str, ...]:
    """A note on videos that have ground truth but no results; an error if that is not allowed."""
    expected = np.unique(tao.image_videos[tao.truth.images])
    given = np.unique(tao.image_videos[found.images])
    lacking = [tao.videos[index].name for index in np.setdiff1d(expected, given)]
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
        **{name: float(getattr(teta, field)) for name, field in SCORE_FIELDS.items()},
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
