"""`masa eval`: results against their truth, in the numbers of the field."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from masa_cli.cli import options
from masa_cli.cli.console import show, show_table
from masa_cli.evaluation import PROTOCOLS, EvalSettings, evaluate
from masa_cli.evaluation.report import Metric, Report, Row

logger = logging.getLogger(__name__)

if TYPE_CHECKING:
    Format = str
else:
    Format = Literal[tuple(PROTOCOLS)]

Truth = Annotated[
    Path,
    typer.Option(
        "--gt",
        help="The truth: a file, or a folder of sequences (<sequence>/gt/gt.txt).",
        show_default=False,
    ),
]
Results = Annotated[
    list[Path],
    typer.Option(
        "--results",
        help="The results: a file, or a folder with one file per sequence. May be given again, or "
        "more may follow, to be shown side by side.",
        show_default=False,
    ),
]
MoreResults = Annotated[
    list[Path] | None,
    typer.Argument(
        metavar="results", help="Further results on the same truth.", show_default=False
    ),
]
FormatName = Annotated[
    Format,
    typer.Option(
        "--format",
        help="Format and protocol. "
        + " ".join(f"{name}: {row.title}." for name, row in PROTOCOLS.items()),
    ),
]
PerSequence = Annotated[bool, typer.Option("--per-sequence", help="Show every sequence.")]
PerClass = Annotated[bool, typer.Option("--per-class", help="Show every class.")]
Seqmap = Annotated[
    Path | None,
    typer.Option(
        "--seqmap", help="A file that names the sequences to evaluate.", show_default=False
    ),
]
AllowMissing = Annotated[
    bool,
    typer.Option("--allow-missing", help="Count sequences without results as empty results."),
]
ClassVote = Annotated[
    bool,
    typer.Option(
        "--class-vote/--no-class-vote",
        help="tao: give each track the class most of its boxes have.",
    ),
]
Strict = Annotated[
    bool,
    typer.Option(
        "--strict",
        help="bdd: ignore the classes to be ignored in TETA and HOTA, too; published numbers count "
        "them.",
    ),
]
AllClasses = Annotated[
    bool,
    typer.Option(
        "--all-classes",
        help="mot: for a truth of your own, score each class that occurs, by its number in column "
        "8; all rows count whose flag (column 7) is above 0.",
    ),
]
Out = Annotated[
    Path | None,
    typer.Option(
        "--out", "-o", help="Folder for scores.json, scores.csv and charts.", show_default=False
    ),
]


def eval_(
    gt: Truth,
    results: Results,
    more: MoreResults = None,
    format_: FormatName = "mot",
    per_sequence: PerSequence = False,
    per_class: PerClass = False,
    seqmap: Seqmap = None,
    allow_missing: AllowMissing = False,
    class_vote: ClassVote = True,
    strict: Strict = False,
    all_classes: AllClasses = False,
    out: Out = None,
    overwrite: options.Overwrite = False,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Score results against their truth: HOTA, MOTA, IDF1, TETA, Track mAP.

    Needs pip install 'masa[eval]'.
    """
    from masa_cli.cli.console import messages, show_json
    from masa_cli.evaluation.report import record_of

    settings = EvalSettings(allow_missing, seqmap, class_vote, strict, all_classes)
    with messages(quiet=quiet or json):
        _check_out(out, overwrite)
        reports = _evaluate(format_, gt, [*results, *(more or [])], settings)
        written = _write(out, reports) if out else []
    if json:
        show_json({"format": format_, "results": {n: record_of(r) for n, r in reports.items()}})
    elif not quiet:
        show_reports(reports, per_sequence=per_sequence, per_class=per_class or all_classes)
        for path in written:
            show(f"written: {path}")


def _evaluate(
    format_: Format, gt: Path, paths: list[Path], settings: EvalSettings
) -> dict[str, Report]:
    """A report for each path, by the path; what the reports note is logged."""
    reports = {str(path): evaluate(gt, path, protocol=format_, settings=settings) for path in paths}
    for warning in dict.fromkeys(each for report in reports.values() for each in report.warnings):
        logger.warning("%s", warning)
    for name, report in reports.items():
        for note in report.notes:
            logger.info("%s: %s", name, note)
    return reports


def _check_out(out: Path | None, overwrite: bool) -> None:
    from masa_cli.formats.files import make_folder, refuse_existing

    if out is None:
        return
    if not overwrite:
        refuse_existing([out / "scores.json", out / "scores.csv"])
    make_folder(out)


def _write(out: Path, reports: dict[str, Report]) -> list[Path]:
    from masa_cli.evaluation.report import draw_charts, write_csv, write_json

    write_json(out / "scores.json", reports)
    write_csv(out / "scores.csv", reports)
    return [out / "scores.json", out / "scores.csv", *draw_charts(out, reports)]


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
