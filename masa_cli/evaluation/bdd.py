"""BDD100K's tracking benchmarks, boxes and masks: TETA, HOTA, and CLEAR with IDF1, per class.

Each metric takes boxes and ignored regions in a way of its own; published numbers come from exactly
these ways, so they stay apart here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from types import MappingProxyType

import numpy as np

from masa_cli.evaluation import bdd_clear, bdd_hota, bdd_teta
from masa_cli.evaluation.bdd_inputs import read_inputs
from masa_cli.evaluation.extras import require
from masa_cli.evaluation.ignore_regions import Comparison, compare
from masa_cli.evaluation.report import Metric, Report, Row
from masa_cli.evaluation.teta import ClassCounts, TetaScores, mean_scores, scores
from masa_cli.formats.bdd import BddFrame
from masa_cli.formats.bdd_labels import CLASSES

GROUPS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "human": ("pedestrian", "rider"),
        "vehicle": ("car", "truck", "bus", "train"),
        "bike": ("motorcycle", "bicycle"),
        "overall": CLASSES,
    }
)
_TETA = MappingProxyType({"TETA": "teta", "LocA": "loc_a", "AssocA": "assoc_a", "ClsA": "cls_a"})
_HOTA = ("HOTA", "DetA", "AssA")
_IS_BETTER = MappingProxyType({"MT": True, "PT": None})  # of the counts; the others are errors

METRICS = (
    *(Metric(name, is_fraction=True) for name in (*_TETA, *_HOTA, *bdd_clear.SCORES)),
    *(
        Metric(name, is_count=True, more_is_better=_IS_BETTER.get(name, False))
        for name in bdd_clear.COUNTS
    ),
)


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

    clear: dict[str, list[bdd_clear.ClearResult]] = field(
        default_factory=lambda: {name: [] for name in CLASSES}
    )
    hota: dict[str, dict[str, bdd_hota.HotaResult]] = field(
        default_factory=lambda: {name: {} for name in CLASSES}
    )
    teta: list[dict[int, ClassCounts]] = field(default_factory=list)

    def add(self, video: str, pairs: Sequence[tuple[BddFrame, BddFrame]], *, strict: bool) -> None:
        """Count one video."""
        for_clear = _compare(pairs, strict=True, extra=1, unite=False)
        for_hota = _compare(pairs, strict=strict, extra=0, unite=True)
        for_teta = _compare(pairs, strict=strict, extra=1, unite=True)
        for label, name in enumerate(CLASSES):
            counted = bdd_clear.count_video(for_clear, label)
            if counted is not None:
                self.clear[name].append(counted)
            self.hota[name][video] = bdd_hota.score_video(for_hota, label)
        self.teta.append(bdd_teta.count_classes(for_teta))

    def report(self, notes: tuple[str, ...]) -> Report:
        """The scores of all videos."""
        hota = {name: bdd_hota.combine_videos(videos) for name, videos in self.hota.items()}
        teta = bdd_teta.combine(self.teta)
        teta_scores = {name: scores(counts) for name, counts in teta.items()}
        classes = {
            name: _row(teta_scores[name], hota[name], bdd_clear.combine(self.clear[name]))
            for name in CLASSES
        }
        groups = {
            group: _row(
                scores(sum((teta[name] for name in names), ClassCounts.zero())),
                bdd_hota.combine_classes({name: hota[name] for name in names}),
                bdd_clear.combine([part for name in names for part in self.clear[name]]),
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
            alphas=bdd_hota.ALPHAS,
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


def _row(teta: TetaScores, hota: bdd_hota.HotaResult, clear: Row) -> Row:
    """All columns of a class or of several taken as one, as fractions."""
    row = {name: getattr(teta, attribute) / 100 for name, attribute in _TETA.items()}
    row |= {name: float(np.mean(hota[name])) for name in _HOTA}
    return row | dict(clear)


def _combined(classes: Mapping[str, Row], teta: TetaScores) -> Row:
    """The mean over classes, and the sum of counts."""
    row = {name: getattr(teta, attribute) / 100 for name, attribute in _TETA.items()}
    for name in (*_HOTA, *bdd_clear.SCORES):
        values = [scores[name] for scores in classes.values()]
        row[name] = sum(value for value in values if isfinite(value)) / len(CLASSES)
    named = {f"m{name}": value for name, value in row.items()}
    counts = {name: sum(row[name] for row in classes.values()) for name in bdd_clear.COUNTS}
    return row | counts | named


def _curves(
    hota: Mapping[str, bdd_hota.HotaResult], teta: TetaScores
) -> dict[str, tuple[float, ...]]:
    """The means over classes at each of HOTA's alphas; TETA has one more, 0, which is left out."""
    curves = {"TETA": tuple(value / 100 for value in teta.teta_curve[1:])}
    for name in _HOTA:
        mean = np.mean([result[name] for result in hota.values()], axis=0)
        curves[name] = tuple(mean.tolist())
    return curves
