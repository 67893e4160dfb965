"""BDD100K's tracking benchmarks, boxes and masks: TETA, HOTA, and CLEAR with IDF1, per class.

Each metric takes boxes and ignored regions in a way of its own; published numbers come from exactly
these ways, so they stay apart here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite, nan
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np

from masa_cli.evaluation.bdd_inputs import THRESHOLD, Comparison, compare, drop_ignored, read_inputs
from masa_cli.evaluation.metrics import Array, data_of
from masa_cli.evaluation.report import Metric, Report, Row, require
from masa_cli.evaluation.teta import (
    SCORE_FIELDS,
    ClassCounts,
    TetaScores,
    TetaVideo,
    count_video,
    mean_scores,
    scores,
    total,
)
from masa_cli.formats.bdd import CLASSES, BddFrame
from masa_cli.structures import IntArray

# Counts and scores of one class in one video, by motmetrics' names.
_ClearResult: TypeAlias = Mapping[str, Any]

# What TrackEval counts and scores, by its own names; an array over 19 thresholds each.
_HotaResult: TypeAlias = Mapping[str, Any]

_CLEAR_NAMES: Mapping[str, str] = MappingProxyType(
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
COUNTS = tuple(name for name in _CLEAR_NAMES.values() if name not in SCORES)
_HOTA = ("HOTA", "DetA", "AssA")
_IS_BETTER = MappingProxyType({"MT": True, "PT": None})  # of the counts; the others are errors

METRICS = (
    *(Metric(name, is_fraction=True) for name in (*SCORE_FIELDS, *_HOTA, *SCORES)),
    *(Metric(name, is_count=True, more_is_better=_IS_BETTER.get(name, False)) for name in COUNTS),
)

GROUPS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "human": ("pedestrian", "rider"),
        "vehicle": ("car", "truck", "bus", "train"),
        "bike": ("motorcycle", "bicycle"),
        "overall": CLASSES,
    }
)

ALPHAS = tuple(round(0.05 * step, 2) for step in range(1, 20))

# The order in which classes are counted, which matters (see teta.count_video).
_ORDER = ("pedestrian", "rider", "car", "bus", "truck", "train", "motorcycle", "bicycle")


def evaluate(
    gt: Path,
    results: Path,
    *,
    masks: bool = False,
    strict: bool = False,
    allow_missing: bool = False,
) -> Report:
    """Compare results with the truth.

    The combined row is the mean over classes: of those with objects or results for TETA, of all
    eight for the others, where a class without a score counts 0 (formats.md section 6). The names
    of the field ("mIDF1") are in it, too. The group "overall" takes all classes as one.

    Args:
        gt: one json or a folder of them.
        results: one json or a folder of them.
        masks: compare masks, not boxes. Where those of the results overlap, each pixel goes to the
            one with the highest score, as the benchmark demands of results.
        strict: "other person", "other vehicle" and "trailer" are ignored in TETA and HOTA, as they
            are in CLEAR. Published numbers count them as pedestrian, car and truck.
        allow_missing: frames that the results lack count as empty.

    Raises:
        SourceError: a file is malformed, or the two do not belong together.
        SettingsError: a library is missing.
    """
    for module in ("motmetrics", "trackeval"):
        require(module)
    inputs = read_inputs(gt, results, masks=masks, allow_missing=allow_missing)
    counts = _Counts()
    for video, pairs in inputs.pairs.items():
        counts.add(video, pairs, strict=strict)
    return counts.report(inputs.notes)


@dataclass(frozen=True, slots=True)
class _Counts:
    """What the metrics counted so far, of each video in turn.

    Attributes:
        clear: by class, of the videos that have it.
        hota: by class, then by video.
        teta: of each video, by label.
    """

    clear: dict[str, list[_ClearResult]] = field(
        default_factory=lambda: {name: [] for name in CLASSES}
    )
    hota: dict[str, dict[str, _HotaResult]] = field(
        default_factory=lambda: {name: {} for name in CLASSES}
    )
    teta: list[dict[int, ClassCounts]] = field(default_factory=list)

    def add(self, video: str, pairs: Sequence[tuple[BddFrame, BddFrame]], *, strict: bool) -> None:
        """Count one video."""
        for_clear = _compare(pairs, strict=True, extra=1, unite=False)
        for_hota = _compare(pairs, strict=strict, extra=0, unite=True)
        for_teta = _compare(pairs, strict=strict, extra=1, unite=True)
        for label, name in enumerate(CLASSES):
            counted = _count_clear(for_clear, label)
            if counted is not None:
                self.clear[name].append(counted)
            self.hota[name][video] = _score_hota(for_hota, label)
        self.teta.append(_count_teta(for_teta))

    def report(self, notes: tuple[str, ...]) -> Report:
        """The scores of all videos."""
        hota = {name: _combine_hota(videos) for name, videos in self.hota.items()}
        teta = _combine_teta(self.teta)
        teta_scores = {name: scores(counts) for name, counts in teta.items()}
        classes = {
            name: _row(teta_scores[name], hota[name], _combine_clear(self.clear[name]))
            for name in CLASSES
        }
        groups = {
            group: _row(
                scores(sum((teta[name] for name in names), ClassCounts.zero())),
                _combine_hota_classes({name: hota[name] for name in names}),
                _combine_clear([part for name in names for part in self.clear[name]]),
            )
            for group, names in GROUPS.items()
        }
        present = [teta_scores[name] for name in CLASSES if teta[name].has_boxes]
        teta_mean = mean_scores(present or [scores(ClassCounts.zero())])
        return Report(
            METRICS,
            _combined(classes, teta_mean),
            classes=classes,
            groups=groups,
            curves=_curves(hota, teta_mean),
            alphas=ALPHAS,
            notes=notes,
        )


def _compare(
    pairs: Sequence[tuple[BddFrame, BddFrame]], *, strict: bool, extra: float, unite: bool
) -> list[Comparison]:
    """All frames of a video, in one metric's way.

    Args:
        pairs: truth and results of each frame.
        strict: ignore what is marked to be ignored, not crowds alone.
        extra: as in compare.
        unite: as in compare.
    """
    return [
        compare(
            truth,
            given,
            truth.is_crowd | truth.is_ignored if strict else truth.is_crowd,
            extra=extra,
            unite=unite,
        )
        for truth, given in pairs
    ]


def _row(teta: TetaScores, hota: _HotaResult, clear: Row) -> Row:
    """All columns of a class or of several taken as one, as fractions."""
    row = {name: getattr(teta, attribute) / 100 for name, attribute in SCORE_FIELDS.items()}
    row |= {name: float(np.mean(hota[name])) for name in _HOTA}
    return row | dict(clear)


def _combined(classes: Mapping[str, Row], teta: TetaScores) -> Row:
    """The mean over classes, and the sum of counts."""
    row = {name: getattr(teta, attribute) / 100 for name, attribute in SCORE_FIELDS.items()}
    for name in (*_HOTA, *SCORES):
        values = [scores[name] for scores in classes.values()]
        row[name] = sum(value for value in values if isfinite(value)) / len(CLASSES)
    named = {f"m{name}": value for name, value in row.items()}
    counts = {name: sum(row[name] for row in classes.values()) for name in COUNTS}
    return row | counts | named


def _curves(hota: Mapping[str, _HotaResult], teta: TetaScores) -> dict[str, tuple[float, ...]]:
    """The means over classes at each of HOTA's alphas; TETA has one more, 0, which is left out."""
    curves = {"TETA": tuple(value / 100 for value in teta.teta_curve[1:])}
    for name in _HOTA:
        mean = np.mean([result[name] for result in hota.values()], axis=0)
        curves[name] = tuple(mean.tolist())
    return curves


def _count_clear(frames: Sequence[Comparison], label: int) -> _ClearResult | None:
    """Count one class in one video; None where it is on neither side."""
    motmetrics = require("motmetrics")
    # By default it takes whichever solver is installed, and those break ties in ways of their own.
    with motmetrics.lap.set_default_solver("scipy"):
        events = motmetrics.MOTAccumulator()
        objects: dict[str, int] = {}
        tracks: dict[str, int] = {}
        for number, frame in enumerate(frames):
            part, distance = _drop_ignored_of_clear(frame.of_class(label))
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
        result: _ClearResult = motmetrics.metrics.create().compute(
            events, metrics=list(_CLEAR_NAMES), return_dataframe=False, return_cached=True
        )
        return result


def _drop_ignored_of_clear(part: Comparison) -> tuple[Comparison, Array]:
    """Drop results in ignored regions unless they are paired, as many as can be; with distances.

    Not that of ignore_regions, where better pairs may mean fewer.
    """
    distance = 1 - part.iou
    distance[distance > 1 - THRESHOLD] = np.nan
    is_dropped = part.inside > THRESHOLD
    if not is_dropped.any():
        return part, distance
    rows, columns = require("motmetrics.lap").linear_sum_assignment(distance)
    is_dropped[columns[np.isfinite(distance[rows, columns])]] = False
    return part.without(is_dropped), distance[:, ~is_dropped]


def _combine_clear(parts: Sequence[_ClearResult]) -> Row:
    """The scores of several classes, videos or both together; fractions, by the names we show.

    Where there is no object MOTA is minus infinity or NaN, where none is found MOTP is NaN.
    """
    motmetrics = require("motmetrics")
    found = [part for part in parts if part["num_detections"]]
    row = motmetrics.metrics.create().compute_overall(
        list(parts), metrics=list(_CLEAR_NAMES), return_dataframe=False
    )
    distance = sum(part["motp"] * part["num_detections"] for part in found)
    num_found = sum(part["num_detections"] for part in found)
    named = {ours: float(row[theirs]) for theirs, ours in _CLEAR_NAMES.items()}
    return named | {"MOTP": float(1 - distance / num_found) if num_found else nan}


def _score_hota(frames: Sequence[Comparison], label: int) -> _HotaResult:
    """Score one class in one video."""
    parts = [drop_ignored(frame.of_class(label)) for frame in frames]
    data = data_of(
        _numbered([part.gt.ids for part in parts]),
        _numbered([part.results.ids for part in parts]),
        [part.iou for part in parts],
        len(parts),
    )
    result: _HotaResult = _hota_metric().eval_sequence(data)
    return result


def _combine_hota(videos: Mapping[str, _HotaResult]) -> _HotaResult:
    """One class in all videos."""
    result: _HotaResult = _hota_metric().combine_sequences(dict(videos))
    return result


def _combine_hota_classes(classes: Mapping[str, _HotaResult]) -> _HotaResult:
    """Several classes as if they were one, whose objects are not mixed up with each other."""
    result: _HotaResult = _hota_metric().combine_classes_det_averaged(dict(classes))
    return result


def _hota_metric() -> Any:  # noqa: ANN401 - TrackEval has no types
    return require("trackeval.metrics.hota").HOTA()


def _count_teta(frames: Sequence[Comparison]) -> dict[int, ClassCounts]:
    """Count one video, by label."""
    parts = [drop_ignored(frame) for frame in frames]
    video = TetaVideo(
        _numbered([part.gt.ids for part in parts]),
        [part.gt.labels for part in parts],
        _numbered([part.results.ids for part in parts]),
        [part.results.labels for part in parts],
        [part.iou for part in parts],
    )
    return count_video(video, [CLASSES.index(name) for name in _ORDER], exhaustive=True)


def _combine_teta(videos: Iterable[Mapping[int, ClassCounts]]) -> dict[str, ClassCounts]:
    """All videos, by the name of the class."""
    counts = total(dict(video) for video in videos)
    return {name: counts.get(label, ClassCounts.zero()) for label, name in enumerate(CLASSES)}


def _numbered(frames: Sequence[Sequence[str]]) -> list[IntArray]:
    """The ids of each frame as numbers from 0, in order of appearance."""
    numbers: dict[str, int] = {}
    return [
        np.array([numbers.setdefault(id_, len(numbers)) for id_ in ids], np.int64) for ids in frames
    ]
