"""TAO's Track mAP: tracks are detections, matched by overlap over time (Dave et al., 2020).

TrackEval computes it. What a data set reader would do before is done here: which tracks are looked
at in which video, and how they are handed over.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import numpy as np

from masa_cli.evaluation.extras import require
from masa_cli.evaluation.teta_scores import Array
from masa_cli.formats.tao import TaoBoxes, TaoSet
from masa_cli.structures import IntArray

# Overlaps from which a track is found; the scores of a class are in this order.
THRESHOLDS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))
_MOST_BOXES = 300  # in an image

# One track as TrackEval takes it: id, score, box by image.
_Tracks = list[tuple[int, float, dict[int, Array]]]


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
        for place, video in enumerate(tao.videos):
            gt = truth[place, number]
            # Elsewhere nobody looked for the class, so nobody can tell whether a track is wrong.
            is_known = gt or number in video.negative
            tracks = found[place, number] if is_known else []
            if gt or tracks:
                is_partial = number in video.not_exhaustive
                videos[place] = metric.eval_sequence(_handed_over(gt, tracks, is_partial))
        scores[number] = np.asarray(metric.combine_sequences(videos)["AP_all"], np.float64)
    return scores


def track_numbers(tao: TaoSet, boxes: TaoBoxes) -> IntArray:
    """(M,) the track of each box, from 0: a number used in two videos is two tracks."""
    _, places = np.unique(boxes.tracks, return_inverse=True)
    videos = tao.image_videos[boxes.images]
    codes = videos * (places.max(initial=0) + 1) + places
    numbers: IntArray = np.unique(codes, return_inverse=True)[1].astype(np.int64)
    return numbers


def _best_boxes(boxes: TaoBoxes) -> TaoBoxes:
    """Image by image, in order of appearance, the boxes of the highest scores."""
    _, first, places = np.unique(boxes.images, return_index=True, return_inverse=True)
    order = np.lexsort((-boxes.scores, boxes.images))
    starts = np.searchsorted(boxes.images[order], boxes.images[order])
    best = np.sort(order[np.arange(len(order)) - starts < _MOST_BOXES])
    return boxes[best[np.argsort(first[places[best]], kind="stable")]]


def _tracks(tao: TaoSet, boxes: TaoBoxes) -> defaultdict[tuple[int, int], _Tracks]:
    """Tracks by place of the video and class, in order of appearance."""
    rows: defaultdict[int, list[int]] = defaultdict(list)
    for row, number in enumerate(track_numbers(tao, boxes).tolist()):
        rows[number].append(row)
    tracks: defaultdict[tuple[int, int], _Tracks] = defaultdict(list)
    for number, own in rows.items():
        images = boxes.images[own].tolist()
        kind = (int(tao.image_videos[images[0]]), int(boxes.classes[own[0]]))
        where = dict(zip(images, boxes.boxes[own], strict=True))
        # TrackEval takes a track of id 0 for none.
        tracks[kind].append((number + 1, float(boxes.scores[own].mean()), where))
    return tracks


def _handed_over(gt: _Tracks, tracks: _Tracks, is_partial: bool) -> dict[str, Any]:
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
