"""`masa stats`: how many tracks, how long, when and where."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from masa_cli.cli import options
from masa_cli.cli.tracks_argument import Fps, TracksFile, times_of

if TYPE_CHECKING:
    from masa_cli.formats.track_table import TrackTable
    from masa_cli.insight.lifetimes import ClassCount
    from masa_cli.structures import Image

Folder = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        help="Folder to write tracks.csv (a row per track), timeline.png and heatmap.png into; "
        "pictures need pip install 'masa[eval]'.",
        show_default=False,
    ),
]
Video = Annotated[
    Path | None,
    typer.Option(
        "--video",
        help="The video: its size, and its first frame under the heat map.",
        show_default=False,
    ),
]


def stats(
    tracks: TracksFile,
    output: Folder = None,
    video: Video = None,
    fps: Fps = None,
    overwrite: options.Overwrite = False,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Count tracks by class and measure how long they last; with -o, per track and as pictures."""
    from masa_cli.cli.console import messages, show_json  # noqa: PLC0415 - heavy, only to run
    from masa_cli.formats.track_files import Hints, read_tracks  # noqa: PLC0415
    from masa_cli.insight import lifetimes as life  # noqa: PLC0415
    from masa_cli.insight import pictures  # noqa: PLC0415
    from masa_cli.results import make_folder, refuse_existing  # noqa: PLC0415

    with messages(quiet=quiet or json):
        names = ("tracks.csv", "timeline.png", "heatmap.png")
        targets = [output / name for name in names] if output else []
        if output:
            pictures.check_matplotlib()
        if not overwrite:
            refuse_existing(targets)
        size, picture = _video_facts(video)
        table = read_tracks(tracks, hints=Hints(size))
        times = times_of(table, fps)
        lives = life.lifetimes(table, times)
        counts = life.class_counts(table, lives)
        if output:
            make_folder(output)
            contents = (
                life.as_csv(lives),
                pictures.timeline(table, times),
                pictures.heat_map(table, table.size or _extent(table), picture),
            )
            for target, data in zip(targets, contents, strict=True):
                _write(target, data)
    if json:
        show_json(
            {
                "frames": table.num_frames,
                "boxes": len(table),
                "tracks": len(lives),
                "classes": [asdict(count) for count in counts],
                "written": [str(target) for target in targets],
            }
        )
    elif not quiet:
        _show(table, len(lives), counts, targets)


def _video_facts(video: Path | None) -> tuple[tuple[int, int] | None, Image | None]:
    """Size and first frame."""
    from masa_cli.sources import open_source  # noqa: PLC0415

    if video is None:
        return None, None
    source = open_source(video)
    picture = next(iter(source.frames())).image
    return (source.info.width, source.info.height), picture


def _extent(table: TrackTable) -> tuple[int, int]:
    """Of all boxes, where the size of the video is not known; at least one pixel."""
    if not len(table):
        return 1, 1
    width, height = table.tracks.boxes[:, 2:].max(axis=0).tolist()
    return max(1, min(round(width), 16_384)), max(1, min(round(height), 16_384))


def _write(target: Path, data: bytes) -> None:
    from masa_cli.formats.part_file import PartFile  # noqa: PLC0415

    with PartFile(target) as file:
        file.write(data)


def _show(
    table: TrackTable, num_tracks: int, counts: list[ClassCount], targets: list[Path]
) -> None:
    from masa_cli.cli.console import show, show_table  # noqa: PLC0415

    show(f"{num_tracks} tracks, {len(table)} boxes in {table.num_frames} frames")
    show("")
    show_table(
        ("class", "tracks", "boxes", "median s", "longest s", "most at once"),
        [
            (
                count.label,
                str(count.tracks),
                str(count.boxes),
                f"{count.median_seconds:.1f}",
                f"{count.longest_seconds:.1f}",
                str(count.most_at_once),
            )
            for count in counts
        ],
    )
    for target in targets:
        show(str(target))
