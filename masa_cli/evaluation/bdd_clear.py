"""MOTA, MOTP and IDF1 for each class of BDD100K, by motmetrics with overlaps of our own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import nan
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np

from masa_cli.evaluation.extras import require
from masa_cli.evaluation.ignore_regions import Comparison
from masa_cli.evaluation.regions import Array
from masa_cli.evaluation.report import Row

# Counts and scores of one class in one video, by motmetrics' names.
ClearResult: TypeAlias = Mapping[str, Any]

_NAMES: Mapping[str, str] = MappingProxyType(
    {
        "idf1": "IDF1",
        "mota": "MOTA",
        "motp": "MOTP",
        "num_false_positives": "FP",
        "num_misses": "FN",
        "num_switches": "IDSw",
        "mostly_tracked": "MT",
        "partially_tracked": "PT",
        "mostly_lost": "ML",
        "num_fragmentations": "FM",
    }
)
SCORES = ("IDF1", "MOTA", "MOTP")
COUNTS = tuple(name for name in _NAMES.values() if name not in SCORES)

_LARGEST_DISTANCE = 0.5  # 1 less the IoU
_INSIDE = 0.5  # share of a box inside a region above which it does not count


def count_video(frames: Sequence[Comparison], label: int) -> ClearResult | None:
    """Count one class in one video; None where it is on neither side."""
    motmetrics = require("motmetrics")
    # By default it takes whichever solver is installed, and those break ties in ways of their own.
    with motmetrics.lap.set_default_solver("scipy"):
        events = motmetrics.MOTAccumulator()
        objects: dict[str, int] = {}
        tracks: dict[str, int] = {}
        for number, frame in enumerate(frames):
            part, distance = _drop_ignored(frame.of_class(label))
            # The reference does not show it a frame that has nothing of this class.
            if distance.shape != (0, 0):
                events.update(
                    [objects.setdefault(id_, len(objects)) for id_ in part.gt.ids],
                    [tracks.setdefault(id_, len(tracks)) for id_ in part.results.ids],
                    distance,
                    frameid=number,
                )
        if not objects and not tracks:
            return None
        result: ClearResult = motmetrics.metrics.create().compute(
            events, metrics=list(_NAMES), return_dataframe=False, return_cached=True
        )
        return result


def combine(parts: Sequence[ClearResult]) -> Row:
    """The scores of several classes, videos or both together; fractions, by the names we show.

    Where there is no object MOTA is minus infinity or NaN, where none is found MOTP is NaN.
    """
    motmetrics = require("motmetrics")
    found = [part for part in parts if part["num_detections"]]
    row = motmetrics.metrics.create().compute_overall(
        list(parts), metrics=list(_NAMES), return_dataframe=False
    )
    distance = sum(part["motp"] * part["num_detections"] for part in found)
    num_found = sum(part["num_detections"] for part in found)
    named = {ours: float(row[theirs]) for theirs, ours in _NAMES.items()}
    return named | {"MOTP": float(1 - distance / num_found) if num_found else nan}


def _drop_ignored(part: Comparison) -> tuple[Comparison, Array]:
    """Drop results in ignored regions unless they are paired, as many as can be; with distances.

    Not that of ignore_regions, where better pairs may mean fewer.
    """
    distance = 1 - part.iou
    distance[distance > _LARGEST_DISTANCE] = np.nan
    is_dropped = part.inside > _INSIDE
    if not is_dropped.any():
        return part, distance
    rows, columns = require("motmetrics.lap").linear_sum_assignment(distance)
    is_dropped[columns[np.isfinite(distance[rows, columns])]] = False
    return part.without(is_dropped), distance[:, ~is_dropped]
