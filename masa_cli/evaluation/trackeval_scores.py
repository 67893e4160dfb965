"""TrackEval's HOTA, CLEAR and Identity, fed from memory.

Its readers, tables and plots stay unused; what it computes is given back unrounded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from masa_cli.evaluation.extras import require
from masa_cli.evaluation.report import Row
from masa_cli.structures import IntArray

# What TrackEval's metrics read, and what they give: values by the name of the metric class.
Data: TypeAlias = dict[str, Any]
Scores: TypeAlias = dict[str, dict[str, Any]]

# TrackEval's own tolerance where it compares similarities with a threshold.
EPSILON = float(np.finfo("float").eps)


def data_of(
    gt_ids: Sequence[IntArray],
    ids: Sequence[IntArray],
    similarity: Sequence[NDArray[np.float64]],
    num_frames: int,
) -> Data:
    """What TrackEval's metrics need of one sequence.

    Args:
        gt_ids: (G,) of each frame, any numbers.
        ids: (N,) of each frame, any numbers.
        similarity: (G, N) of each frame.
        num_frames: with those that are not given because they are empty on both sides.
    """
    gt_places, num_gt_ids = _renumbered(gt_ids)
    places, num_ids = _renumbered(ids)
    return {
        "gt_ids": gt_places,
        "tracker_ids": places,
        "similarity_scores": list(similarity),
        "num_gt_ids": num_gt_ids,
        "num_tracker_ids": num_ids,
        "num_gt_dets": sum(len(frame) for frame in gt_ids),
        "num_tracker_dets": sum(len(frame) for frame in ids),
        "num_timesteps": num_frames,
    }


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
    known, places = np.unique(np.concatenate(ids), return_inverse=True)
    bounds = np.cumsum([len(frame) for frame in ids])[:-1]
    return np.split(places, bounds), len(known)
