"""`masa measure`: speeds and distances of tracks on the ground."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from masa_cli.cli import options
from masa_cli.cli.analyse import Fps, TracksFile, Video, times_of

if TYPE_CHECKING:
    from masa_cli.analysis.ground import Ground, Way

GroundFile = Annotated[
    Path,
    typer.Option(
        "--ground",
        help="A JSON file of points that are known in pixels and in metres on the ground, at least "
        'four: {"points": [{"image": [x, y], "ground": [X, Y]}, ...], "frame": 0}. The frame, from '
        "0, is that of the pixels, where the camera moves.",
        show_default=False,
    ),
]
Embeddings = Annotated[
    Path | None,
    typer.Option(
        "--embeddings",
        help="What masa track --save-embeddings wrote: it tells how the camera moved (default: "
        "embeddings.masa beside the tracks, if it is there).",
        show_default=False,
    ),
]
Rows = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        help="A CSV file with place and speed of each track in each frame.",
        show_default=False,
    ),
]
Plot = Annotated[
    Path | None,
    typer.Option(
        "--plot",
        help="A PNG file: ways from above, and speeds over time; needs pip install 'masa[eval]'.",
        show_default=False,
    ),
]


def measure(
    tracks: TracksFile,
    ground: GroundFile,
    output: Rows = None,
    plot: Plot = None,
    embeddings: Embeddings = None,
    video: Video = None,
    fps: Fps = None,
    overwrite: options.Overwrite = False,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Measure speeds and distances of tracks, given points of the ground.

    Places are those of the middle of a box's lower edge, smoothed by a Kalman filter; ± is one
    standard deviation. masa render --speed draws the speeds.
    """
    from masa_cli.analysis.ground import camera_motions, read_ground, ways
    from masa_cli.analysis.plots import check_matplotlib, ground_plot
    from masa_cli.cli.console import messages
    from masa_cli.formats import read_tracks
    from masa_cli.formats.files import PartFile, make_folder, refuse_existing, refuse_inputs

    targets = [path for path in (output, plot) if path]
    with messages(quiet=quiet or json):
        if plot:
            check_matplotlib()
        refuse_inputs(targets, [tracks, ground])
        if not overwrite:
            refuse_existing(targets)
        plane = read_ground(ground)
        saved = embeddings or _beside(tracks)
        motions = camera_motions(saved, plane.frame) if saved else None
        table = read_tracks(tracks)
        found = ways(table, times_of(tracks, table, fps, video), plane, motions)
        contents = ([_csv(found)] if output else []) + ([ground_plot(found)] if plot else [])
        for path, content in zip(targets, contents, strict=True):
            make_folder(path.parent)
            with PartFile(path) as file:
                file.write(content)
    _report(plane, saved, found, targets, quiet=quiet, json=json)


def _beside(tracks: Path) -> Path | None:
    """What the run of these tracks saved of the camera, if it did."""
    path = tracks.with_name("embeddings.masa")
    return path if path.is_file() else None


def _csv(found: Sequence[Way]) -> bytes:
    """A row for each track in each frame."""
    import csv
    import io

    from masa_cli.formats.tabular import harmless

    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("frame", "time", "id", "label", "x", "y", "speed", "speed_deviation"))
    rows = [
        (frame, time, way.id, way.label, *place, speed, deviation)
        for way in found
        for frame, time, place, speed, deviation in zip(
            way.frames.tolist(), way.times, way.places, way.speeds, way.deviations, strict=True
        )
    ]
    rows.sort(key=lambda row: (row[0], row[2]))
    for frame, time, id_, label, *numbers in rows:
        cells = (f"{number:.4f}" for number in numbers)
        writer.writerow((frame, f"{time:.4f}", id_, harmless(label), *cells))
    return text.getvalue().encode()


def _report(
    plane: Ground,
    saved: Path | None,
    found: Sequence[Way],
    written: Sequence[Path],
    *,
    quiet: bool,
    json: bool,
) -> None:
    from masa_cli.cli.console import show, show_json, show_table

    if json:
        show_json(
            {
                "points": len(plane.residuals),
                "residual": plane.residual if len(plane.residuals) > 4 else None,
                "camera": str(saved) if saved else None,
                "tracks": [_as_json(way) for way in found],
                "written": [str(path) for path in written],
            }
        )
        return
    if quiet:
        return
    show(_how_exact(plane))
    show(f"the camera's motion is that of {saved}" if saved else "the camera is taken to be still")
    show("")
    show_table(
        ("id", "class", "seconds", "metres", "±", "m/s", "most m/s", "± there"),
        [
            (
                str(way.id),
                way.label,
                f"{way.seconds:.1f}",
                f"{way.distance:.2f}",
                f"{way.distance_deviation:.2f}",
                f"{way.mean_speed:.2f}",
                f"{way.speeds.max():.2f}",
                f"{way.deviations[way.speeds.argmax()]:.2f}",
            )
            for way in found
        ],
    )
    for path in written:
        show(str(path))


def _how_exact(plane: Ground) -> str:
    count = len(plane.residuals)
    if count == 4:
        return "the ground is told by 4 points, which any plane meets: a fifth shows how exact"
    worst = int(plane.residuals.argmax())
    return (
        f"the ground is told by {count} points, missed by {plane.residual:.3f} m (rms), "
        f"point {worst + 1} by {plane.residuals[worst]:.3f} m"
    )


def _as_json(way: Way) -> dict[str, object]:
    return {
        "id": way.id,
        "class": way.label,
        "seconds": way.seconds,
        "distance": way.distance,
        "distance_deviation": way.distance_deviation,
        "mean_speed": way.mean_speed,
        "max_speed": float(way.speeds.max()),
        "max_speed_deviation": float(way.deviations[way.speeds.argmax()]),
    }
