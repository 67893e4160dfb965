"""`masa count`: who crosses lines, and who is in zones, for how long."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from masa_cli.cli import options
from masa_cli.cli.analyse import Fps, TracksFile, times_of
from masa_cli.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from masa_cli.analysis.crossings import Crossing, Line
    from masa_cli.analysis.zones import Visit, Zone, ZoneCount

Lines = Annotated[
    list[str],
    typer.Option(
        "--line",
        metavar="[NAME:]X1,Y1,X2,Y2",
        help="A line from its first to its second point, in pixels; may be repeated.",
        show_default=False,
    ),
]
Zones = Annotated[
    list[str],
    typer.Option(
        "--zone",
        metavar="[NAME:]FILE|X1,Y1,X2,Y2,...",
        help="A zone: a JSON file of polygons, as for masa track --roi, or the corners of one, in "
        "pixels; may be repeated.",
        show_default=False,
    ),
]
PointOption = Annotated[
    Literal["foot", "centre", "overlap"],
    typer.Option(
        "--point",
        help="What of a box counts: the middle of its lower edge, or of it; for zones also: "
        "whether more than half of it is inside.",
    ),
]
Events = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        help="A CSV file for every single crossing, entry and exit.",
        show_default=False,
    ),
]
Plot = Annotated[
    Path | None,
    typer.Option(
        "--plot",
        help="A PNG file: how many are in each zone over time; needs pip install 'masa[eval]'.",
        show_default=False,
    ),
]


_ZONE_COLUMNS = (
    *("zone", "class", "in", "out", "begun inside", "ended inside", "tracks"),
    *("median s", "longest s", "at most", "at s", "mean"),
)


def count(
    tracks: TracksFile,
    line: Lines = [],  # noqa: B006 - Typer copies it
    zone: Zones = [],  # noqa: B006 - Typer copies it
    point: PointOption = "foot",
    output: Events = None,
    plot: Plot = None,
    fps: Fps = None,
    overwrite: options.Overwrite = False,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Count the tracks that cross a line, by class and direction, or that are in a zone.

    Left and right are those of someone who looks from the line's first point to its second. A point
    within a twentieth of the box's height of a line or border is on neither side: boxes that
    tremble on it do not count, and count once when they are over it.
    """
    from masa_cli.analysis.crossings import crossings
    from masa_cli.analysis.plots import check_matplotlib, occupancy_plot
    from masa_cli.analysis.zones import occupancy, visits, zone_counts
    from masa_cli.cli.console import messages, show_json
    from masa_cli.formats import read_tracks
    from masa_cli.formats.files import PartFile, make_folder, refuse_existing, refuse_inputs

    lines, zones = parse_lines(line), parse_zones(zone)
    _check_wanted(lines, zones, point, plot)
    targets = [path for path in (output, plot) if path]
    with messages(quiet=quiet or json):
        if plot:
            check_matplotlib()
        refuse_inputs(targets, [tracks])
        if not overwrite:
            refuse_existing(targets)
        table = read_tracks(tracks)
        times = times_of(tracks, table, fps)
        found = crossings(table, times, lines, "centre" if point == "centre" else "foot")
        stays = visits(table, times, zones, point)
        counts = zone_counts(stays, times, zones)
        contents = []
        if output:
            contents.append(_events(found, stays, times, with_zones=bool(zones)))
        if plot:
            own = {each.name: [v for v in stays if v.zone == each.name] for each in zones}
            inside = {name: occupancy(each, table.num_frames) for name, each in own.items()}
            contents.append(occupancy_plot(inside, times))
        for path, content in zip(targets, contents, strict=True):
            make_folder(path.parent)
            with PartFile(path) as file:
                file.write(content)
    rows = _totals(lines, found)
    if json:
        keys = ("line", "class", "to_left", "to_right")
        show_json(
            {
                "crossings": len(found),
                "counts": [dict(zip(keys, row, strict=True)) for row in rows],
                **({"zones": [_as_json(each) for each in counts]} if zones else {}),
                "written": [str(path) for path in targets],
            }
        )
    elif not quiet:
        _show_counts(rows, counts, targets)


def _check_wanted(
    lines: Sequence[Line], zones: Sequence[Zone], point: str, plot: Path | None
) -> None:
    if not (lines or zones):
        raise UsageError(
            "nothing says where to count", fix="give --line X1,Y1,X2,Y2 or --zone FILE.json"
        )
    if lines and point == "overlap":
        raise UsageError(
            "--point overlap is for zones: a line is crossed by a point",
            fix="count lines with --point foot or centre, in a command of their own",
        )
    if plot and not zones:
        raise UsageError("--plot shows who is in zones, but there is none", fix="give --zone")


def parse_lines(texts: Sequence[str]) -> list[Line]:
    """Lines with names of their own, by default their number; UsageError for what is none."""
    from masa_cli.analysis.crossings import Line

    lines: list[Line] = []
    for number, text in enumerate(texts, start=1):
        name, colon, numbers = text.rpartition(":")
        points = _points(numbers)
        is_line = len(points) == 2 and points[0] != points[1]
        if not is_line or (colon and not name):
            raise UsageError(
                f'--line expects two different points in pixels, got "{text}"',
                fix="write it as x1,y1,x2,y2, or name:x1,y1,x2,y2",
            )
        lines.append(Line(name or str(number), *points[0], *points[1]))
    _check_names([line.name for line in lines], "lines")
    return lines


def parse_zones(texts: Sequence[str]) -> list[Zone]:
    """Zones with names of their own, by default their number.

    Raises:
        UsageError: a text is no zone.
        SourceError: a file is none.
    """
    from masa_cli.analysis.zones import Zone
    from masa_cli.detectors.filter import read_polygons

    zones: list[Zone] = []
    for number, text in enumerate(texts, start=1):
        name, colon, place = text.rpartition(":")
        if colon and not name:
            raise UsageError(f'--zone: "{text}" has an empty name', fix="write name:FILE.json")
        if place.endswith((".json", ".geojson")):
            polygons = read_polygons(Path(place))
        else:
            polygon = tuple(_points(place))
            if len(set(polygon)) < 3:
                raise UsageError(
                    f'--zone expects a JSON file or at least three points, got "{text}"',
                    fix="write it as FILE.json or x1,y1,x2,y2,x3,y3, perhaps with name: in front",
                )
            polygons = (polygon,)
        zones.append(Zone(name or str(number), polygons))
    _check_names([zone.name for zone in zones], "zones")
    return zones


def _points(text: str) -> list[tuple[float, float]]:
    """The points in "x1,y1,x2,y2"; none where it is something else."""
    try:
        numbers = [float(each) for each in text.split(",")]
    except ValueError:
        return []
    if len(numbers) % 2 or not all(math.isfinite(each) and abs(each) < 1e6 for each in numbers):
        return []
    return list(zip(numbers[::2], numbers[1::2], strict=True))


def _check_names(names: Sequence[str], what: str) -> None:
    if len(set(names)) < len(names):
        raise UsageError(f"two {what} have the same name", fix="give each a name of its own")


def _totals(lines: list[Line], found: list[Crossing]) -> list[tuple[str, str, int, int]]:
    """Line, class, how many to the left and to the right; a line that nobody crosses has a row."""
    rows = []
    for line in lines:
        own = [crossing for crossing in found if crossing.line == line.name]
        for label in sorted({crossing.label for crossing in own}) or [""]:
            sides = [crossing.to for crossing in own if crossing.label == label]
            rows.append((line.name, label, sides.count("left"), sides.count("right")))
    return rows


def _events(
    found: Sequence[Crossing],
    stays: Sequence[Visit],
    times: NDArray[np.float64],
    *,
    with_zones: bool,
) -> bytes:
    """A row for each crossing; with zones, for each entry and exit, too, in order of time."""
    import csv
    import io

    from masa_cli.formats.tabular import harmless

    rows: list[tuple[int, float, int, str, str, str, str, str, str]] = [
        (each.frame, each.time, each.id, each.label, each.line, each.to, "", "", "")
        for each in found
    ]
    for stay in stays:
        place = (stay.id, stay.label, "", "", stay.zone)
        rows.append((stay.first, stay.begin, *place, "enter" if stay.entered else "appear", ""))
        seconds = f"{stay.seconds:.4f}"
        event = "exit" if stay.left else "vanish"
        rows.append((stay.end, float(times[stay.end]), *place, event, seconds))
    rows.sort(key=lambda row: (row[0], row[2]))
    columns = ("frame", "time", "id", "label", "line", "to", "zone", "event", "seconds")
    num_columns = len(columns) if with_zones else 6
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns[:num_columns])
    for frame, time, id_, *names in rows:
        cells = (frame, f"{time:.4f}", id_, *(harmless(name) for name in names))
        writer.writerow(cells[:num_columns])
    return text.getvalue().encode()


def _as_json(count_: ZoneCount) -> dict[str, object]:
    """Its fields; the class under the name that counts of lines have for it."""
    fields = asdict(count_)
    return {"zone": fields.pop("zone"), "class": fields.pop("label"), **fields}


def _show_counts(
    rows: Sequence[tuple[str, str, int, int]], counts: Sequence[ZoneCount], written: Sequence[Path]
) -> None:
    from masa_cli.cli.console import show, show_table

    if rows:
        show_table(
            ("line", "class", "to the left", "to the right"),
            [(line, label, str(left), str(right)) for line, label, left, right in rows],
            num_left=2,
        )
    if rows and counts:
        show("")
    if counts:
        show_table(
            _ZONE_COLUMNS,
            [
                (
                    each.zone,
                    each.label or "all",
                    *map(str, (each.entries, each.exits, each.appeared, each.vanished)),
                    str(each.tracks),
                    f"{each.median_seconds:.1f}",
                    f"{each.longest_seconds:.1f}",
                    str(each.peak),
                    f"{each.peak_time:.1f}",
                    f"{each.mean:.2f}",
                )
                for each in counts
            ],
            num_left=2,
        )
    for path in written:
        show(str(path))
