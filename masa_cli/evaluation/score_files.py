"""Scores as files and records, unrounded, for other programs."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from pathlib import Path

import orjson

from masa_cli.evaluation.report import Report, Row
from masa_cli.formats.part_file import PartFile


def record_of(report: Report) -> dict[str, object]:
    """The report as plain values for JSON; what is not a number becomes null there."""
    return {
        "combined": dict(report.combined),
        "sequences": {name: dict(row) for name, row in report.sequences.items()},
        "classes": {name: dict(row) for name, row in report.classes.items()},
        "groups": {name: dict(row) for name, row in report.groups.items()},
        "alphas": list(report.alphas),
        "curves": {name: list(curve) for name, curve in report.curves.items()},
        "notes": list(report.notes),
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
