"""What an evaluation gives, whatever the protocol: named scores in rows."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TypeAlias

import orjson

from masa_cli.errors import SettingsError
from masa_cli.formats.files import PartFile

_MAX_BARS = 60  # sequences; more are too thin to read

# Scores of one row by the name of the metric, unrounded.
Row: TypeAlias = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Metric:
    """One column of scores.

    Attributes:
        name: as the field writes it ("HOTA").
        is_fraction: values are 0 to 1 and shown as percent; otherwise they are shown as they are.
        more_is_better: False for errors such as switches; None where neither end is the better.
        is_count: whole numbers.
        printed: format of a shown value, where the reference prints in a way of its own ("1.5g").
    """

    name: str
    is_fraction: bool = False
    more_is_better: bool | None = True
    is_count: bool = False
    printed: str = ".1f"


@dataclass(frozen=True, slots=True)
class Report:
    """Scores of one set of results.

    Attributes:
        metrics: the columns, in the order they are shown.
        combined: over everything.
        sequences: by name of the sequence.
        classes: by name of the class; empty where the protocol has one class.
        groups: of classes, by name ("base", "novel").
        curves: by name of the metric ("HOTA"), its value at each alpha, of the combined row.
        alphas: localisation thresholds of the curves.
        notes: sentences the user should read beside the scores.
        warnings: what may make the scores other than the user thinks.
    """

    metrics: tuple[Metric, ...]
    combined: Row
    sequences: Mapping[str, Row] = field(default_factory=dict)
    classes: Mapping[str, Row] = field(default_factory=dict)
    groups: Mapping[str, Row] = field(default_factory=dict)
    curves: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    alphas: tuple[float, ...] = ()
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def require(module: str) -> ModuleType:
    """The imported module.

    Raises:
        SettingsError: it is not installed.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module.partition(".")[0]:
            raise  # it is there, but broken: that is no case for this advice
        raise SettingsError(
            f"evaluation needs {error.name}, which is not installed",
            fix="pip install 'masa[eval]'",
        ) from None


def record_of(report: Report) -> dict[str, object]:
    """The report as plain values for JSON; what is not a number becomes null there."""
    return {
        "combined": dict(report.combined),
        "sequences": {name: dict(row) for name, row in report.sequences.items()},
        "classes": {name: dict(row) for name, row in report.classes.items()},
        "groups": {name: dict(row) for name, row in report.groups.items()},
        "alphas": list(report.alphas),
        "curves": {name: list(curve) for name, curve in report.curves.items()},
        "notes": [*report.warnings, *report.notes],
    }


def write_json(path: Path, reports: Mapping[str, Report]) -> None:
    """All reports, by the name of their results."""
    records = {name: record_of(report) for name, report in reports.items()}
    with PartFile(path) as file:
        file.write(orjson.dumps(records, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))


def write_csv(path: Path, reports: Mapping[str, Report]) -> None:
    """One line per row of scores: results, kind (combined, sequence …), name, then the metrics."""
    metrics = [metric.name for report in reports.values() for metric in report.metrics]
    columns = list(dict.fromkeys(metrics))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["results", "kind", "name", *columns])
    for results, report in reports.items():
        for kind, name, row in rows_of(report):
            writer.writerow([results, kind, name, *(row.get(column, "") for column in columns)])
    with PartFile(path) as file:
        file.write(text.getvalue().encode())


def rows_of(report: Report) -> Iterator[tuple[str, str, Row]]:
    """Kind, name and scores of every row, the combined one last."""
    for kind, rows in (
        ("sequence", report.sequences),
        ("class", report.classes),
        ("group", report.groups),
    ):
        for name, row in rows.items():
            yield kind, name, row
    yield "combined", "all", report.combined


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
    sequences = list(next(iter(reports.values())).sequences)[:_MAX_BARS]
    width = 0.8 / len(reports)
    size = (max(6.0, 0.5 * len(sequences) * len(reports) ** 0.5), 4)
    figure = require("matplotlib.figure").Figure(figsize=size, layout="constrained")
    axes = figure.add_subplot(ylabel=metric)
    for index, (name, report) in enumerate(reports.items()):
        left = [number + index * width for number in range(len(sequences))]
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
