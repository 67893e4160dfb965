"""Scores as tables: the rows somebody asked for, the best of several results marked."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from masa_cli.cli.console import show, show_table
from masa_cli.evaluation.report import Metric, Report, Row

BEST = "*"


def show_reports(
    reports: Mapping[str, Report], *, per_sequence: bool = False, per_class: bool = False
) -> None:
    """Print a table for each kind of row that is asked for, the combined one last."""
    first = next(iter(reports.values()))
    kinds: list[tuple[str, Sequence[str], str]] = [("combined", [""], "")]
    if first.groups:
        kinds.insert(0, ("group", list(first.groups), "groups"))
    if per_class:
        kinds.insert(0, ("class", list(first.classes), "classes"))
    if per_sequence:
        kinds.insert(0, ("sequence", list(first.sequences), "sequences"))
    for kind, names, attribute in kinds:
        rows = []
        for name in names:
            scores = {
                results: getattr(report, attribute)[name] if attribute else report.combined
                for results, report in reports.items()
            }
            rows.extend(_lines(kind, name, scores, first.metrics))
        if rows:
            show_table((kind, *(metric.name for metric in first.metrics)), rows)
            show("")
    if len(reports) > 1:
        show(f"{BEST} best of the results")


def _lines(
    kind: str, name: str, scores: Mapping[str, Row], metrics: Sequence[Metric]
) -> list[tuple[str, ...]]:
    """One line per set of results, under the same name."""
    best = {metric.name: _best(scores, metric) for metric in metrics}
    lines = []
    for results, row in scores.items():
        title = " ".join(part for part in (name, results if len(scores) > 1 else "") if part)
        cells = (
            _shown(metric, row[metric.name]) + (BEST if results in best[metric.name] else "")
            for metric in metrics
        )
        lines.append((title or "all", *cells))
    return lines


def _best(scores: Mapping[str, Row], metric: Metric) -> set[str]:
    """Names of the results with the best value; none where all are equal or there is one."""
    values = {name: row[metric.name] for name, row in scores.items()}
    numbers = [value for value in values.values() if math.isfinite(value)]
    if metric.more_is_better is None or len(set(numbers)) < 2:
        return set()
    goal = max(numbers) if metric.more_is_better else min(numbers)
    return {name for name, value in values.items() if value == goal}


def _shown(metric: Metric, value: float) -> str:
    if not math.isfinite(value):
        return "-"
    if metric.is_count:
        return f"{round(value)}"
    return format(value * 100 if metric.is_fraction else value, metric.printed)
