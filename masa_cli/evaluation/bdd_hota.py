"""HOTA for each class of BDD100K, by TrackEval's metric in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from masa_cli.evaluation.extras import require
from masa_cli.evaluation.ignore_regions import Comparison, drop_ignored
from masa_cli.structures import IntArray

# What TrackEval counts and scores, by its own names; an array over 19 thresholds each.
HotaResult: TypeAlias = Mapping[str, Any]

ALPHAS = tuple(round(0.05 * step, 2) for step in range(1, 20))


def score_video(frames: Sequence[Comparison], label: int) -> HotaResult:
    """Score one class in one video."""
    parts = [drop_ignored(frame.of_class(label)) for frame in frames]
    gt_ids, num_gt = _numbered([part.gt.ids for part in parts])
    ids, num_tracks = _numbered([part.results.ids for part in parts])
    data = {
        "gt_ids": gt_ids,
        "tracker_ids": ids,
        "similarity_scores": [part.iou for part in parts],
        "num_gt_ids": num_gt,
        "num_tracker_ids": num_tracks,
        "num_gt_dets": sum(map(len, gt_ids)),
        "num_tracker_dets": sum(map(len, ids)),
    }
    result: HotaResult = _metric().eval_sequence(data)
    return result


def combine_videos(videos: Mapping[str, HotaResult]) -> HotaResult:
    """One class in all videos."""
    result: HotaResult = _metric().combine_sequences(dict(videos))
    return result


def combine_classes(classes: Mapping[str, HotaResult]) -> HotaResult:
    """Several classes as if they were one, whose objects are not mixed up with each other."""
    result: HotaResult = _metric().combine_classes_det_averaged(dict(classes))
    return result


def _metric() -> Any:  # noqa: ANN401 - TrackEval has no types
    return require("trackeval.metrics.hota").HOTA()


def _numbered(frames: Sequence[Sequence[str]]) -> tuple[list[IntArray], int]:
    """The ids of each frame as numbers from 0, and how many there are."""
    numbers: dict[str, int] = {}
    arrays = [
        np.array([numbers.setdefault(id_, len(numbers)) for id_ in ids], np.int64) for ids in frames
    ]
    return arrays, len(numbers)
