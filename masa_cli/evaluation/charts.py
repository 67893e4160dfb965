"""Scores as pictures: a curve over localisation thresholds, bars per sequence."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path

from masa_cli.evaluation.extras import require
from masa_cli.evaluation.report import Report

_MOST_BARS = 60  # sequences; more are too thin to read


def draw_charts(folder: Path, reports: Mapping[str, Report]) -> list[Path]:
    """Draw what the reports have: `<metric>_over_alpha.png` and `<metric>_per_sequence.png`.

    The metric is the first with a curve, and the first of the columns, as HOTA or TETA. Returns
    the files written. Needs matplotlib.
    """
    any_report = next(iter(reports.values()))
    written = []
    if any_report.curves:
        metric = next(iter(any_report.curves))
        written.append(folder / f"{metric}_over_alpha.png")
        _draw_curves(written[-1], metric, reports)
    if len(any_report.sequences) > 1:
        metric = any_report.metrics[0].name
        written.append(folder / f"{metric}_per_sequence.png")
        _draw_bars(written[-1], metric, reports)
    return written


def _draw_curves(path: Path, metric: str, reports: Mapping[str, Report]) -> None:
    # The figure alone, without pyplot: that keeps state and asks for a display.
    figure = require("matplotlib.figure").Figure(figsize=(6, 4), layout="constrained")
    axes = figure.add_subplot(xlabel="localisation threshold alpha (IoU)", ylabel=metric)
    for name, report in reports.items():
        values = _finite(report.curves[metric])
        axes.plot(report.alphas, values, marker=".", label=f"{name} ({_mean(values):.3g})")
    axes.set_xlim(0, 1)
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=150)


def _draw_bars(path: Path, metric: str, reports: Mapping[str, Report]) -> None:
    sequences = list(next(iter(reports.values())).sequences)[:_MOST_BARS]
    width = 0.8 / len(reports)
    size = (max(6.0, 0.5 * len(sequences) * len(reports) ** 0.5), 4)
    figure = require("matplotlib.figure").Figure(figsize=size, layout="constrained")
    axes = figure.add_subplot(ylabel=metric)
    for place, (name, report) in enumerate(reports.items()):
        left = [number + place * width for number in range(len(sequences))]
        heights = _finite(report.sequences[sequence][metric] for sequence in sequences)
        axes.bar(left, heights, width, align="edge", label=name)
    middles = [number + 0.4 for number in range(len(sequences))]
    axes.set_xticks(middles, sequences, rotation=60, ha="right")
    axes.grid(axis="y", alpha=0.3)
    if len(reports) > 1:
        axes.legend()
    figure.savefig(path, dpi=150)


def _finite(values: Iterable[float]) -> list[float]:
    return [value if math.isfinite(value) else 0.0 for value in values]


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else 0.0
