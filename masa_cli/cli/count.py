"""`masa count`: who crosses a line."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from masa_cli.cli import options
from masa_cli.cli.tracks_argument import Fps, TracksFile, times_of
from masa_cli.errors import UsageError

if TYPE_CHECKING:
    from masa_cli.insight.crossings import Crossing, Line

Lines = Annotated[
    list[str],
    typer.Option(
        "--line",
        metavar="[NAME:]X1,Y1,X2,Y2",
        help="A line from its first to its second point, in pixels; may be repeated.",
        show_default=False,
    ),
]
PointOption = Annotated[
    Literal["foot", "centre"],
    typer.Option(
        "--point", help="Which point of the box must cross: the middle of its lower edge, or of it."
    ),
]
Events = Annotated[
    Path | None,
    typer.Option(
        "--output", "-o", help="A CSV file for every single crossing.", show_default=False
    ),
]


def count(
    tracks: TracksFile,
    line: Lines,
    point: PointOption = "foot",
    output: Events = None,
    fps: Fps = None,
    overwrite: options.Overwrite = False,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Count the tracks that cross a line, by class and direction.

    Left and right are those of someone who looks from the line's first point to its second. A point
    within a twentieth of the box's height of the line is on neither side: boxes that tremble on it
    do not count.
    """
    from masa_cli.cli.console import messages, show_json  # noqa: PLC0415 - heavy, only to run
    from masa_cli.formats.track_files import read_tracks  # noqa: PLC0415
    from masa_cli.insight.crossings import crossings  # noqa: PLC0415
    from masa_cli.results import make_folder, refuse_existing, refuse_inputs  # noqa: PLC0415

    lines = parse_lines(line)
    with messages(quiet=quiet or json):
        if output:
            refuse_inputs([output], [tracks])
            if not overwrite:
                refuse_existing([output])
        table = read_tracks(tracks)
        found = crossings(table, times_of(table, fps), lines, point)
        if output:
            make_folder(output.parent)
            _write(output, found)
    rows = _totals(lines, found)
    if json:
        keys = ("line", "class", "to_left", "to_right")
        show_json(
            {
                "crossings": len(found),
                "counts": [dict(zip(keys, row, strict=True)) for row in rows],
                "written": [str(output)] if output else [],
            }
        )
    elif not quiet:
        _show(rows, output)


def parse_lines(texts: list[str]) -> list[Line]:
    """Lines with names of their own, by default their number; UsageError for what is none."""
    from masa_cli.insight.crossings import Line  # noqa: PLC0415 - numpy

    lines: list[Line] = []
    for number, text in enumerate(texts, start=1):
        name, colon, numbers = text.rpartition(":")
        try:
            x1, y1, x2, y2 = (float(each) for each in numbers.split(","))
        except ValueError:
            x1 = y1 = x2 = y2 = math.nan
        is_line = all(abs(each) < 1e6 for each in (x1, y1, x2, y2)) and (x1, y1) != (x2, y2)
        if not is_line or (colon and not name):
            raise UsageError(
                f'--line expects two different points in pixels, got "{text}"',
                fix="write it as x1,y1,x2,y2, or name:x1,y1,x2,y2",
            )
        lines.append(Line(name or str(number), x1, y1, x2, y2))
    names = [line.name for line in lines]
    if len(set(names)) < len(names):
        raise UsageError("two lines have the same name", fix="give each a name of its own")
    return lines


def _totals(lines: list[Line], found: list[Crossing]) -> list[tuple[str, str, int, int]]:
    """Line, class, how many to the left and to the right; a line that nobody crosses has a row."""
    rows = []
    for line in lines:
        own = [crossing for crossing in found if crossing.line == line.name]
        for label in sorted({crossing.label for crossing in own}) or [""]:
            sides = [crossing.to for crossing in own if crossing.label == label]
            rows.append((line.name, label, sides.count("left"), sides.count("right")))
    return rows


def _write(output: Path, found: list[Crossing]) -> None:
    import csv  # noqa: PLC0415
    import io  # noqa: PLC0415

    from masa_cli.formats.csv_tracks import harmless  # noqa: PLC0415
    from masa_cli.formats.part_file import PartFile  # noqa: PLC0415

    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("frame", "time", "id", "label", "line", "to"))
    writer.writerows(
        (
            each.frame,
            f"{each.time:.4f}",
            each.id,
            harmless(each.label),
            harmless(each.line),
            each.to,
        )
        for each in found
    )
    with PartFile(output) as file:
        file.write(text.getvalue().encode())


def _show(rows: list[tuple[str, str, int, int]], output: Path | None) -> None:
    from masa_cli.cli.console import show, show_table  # noqa: PLC0415

    show_table(
        ("line", "class", "to the left", "to the right"),
        [(line, label, str(left), str(right)) for line, label, left, right in rows],
        num_left=2,
    )
    if output:
        show(str(output))
