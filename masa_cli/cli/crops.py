"""`masa crops`: the best views of each track as pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from masa_cli.cli import options, source_options
from masa_cli.cli.tracks_argument import Fps, TracksFile

VideoOrFolder = Annotated[
    Path, typer.Argument(help="The video file or folder of images.", show_default=False)
]
Folder = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        help="Folder for the pictures (default: crops, beside the tracks).",
        show_default=False,
    ),
]
PerTrack = Annotated[
    int, typer.Option("--per-track", min=1, help="At most so many views of each track.")
]
LeastSide = Annotated[
    float, typer.Option("--min-side", min=1, help="Leave out boxes of a shorter side, pixels.")
]
Margin = Annotated[
    float, typer.Option("--margin", min=0, max=5, help="Share of the box to show around it.")
]


def crops(
    source: VideoOrFolder,
    tracks: TracksFile,
    output: Folder = None,
    per_track: PerTrack = 5,
    min_side: LeastSide = 16.0,
    margin: Margin = 0.1,
    fps: Fps = None,
    start: source_options.Start = None,
    end: source_options.End = None,
    every: source_options.Every = 1,
    overwrite: options.Overwrite = False,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Cut the best views of each track out of the video, as <id>/<frame>.jpg and crops.csv.

    Large, whole, unhidden and surely found ones are preferred, spread over the life of the track.
    """
    from masa_cli.cli.console import messages  # noqa: PLC0415 - heavy, only to run
    from masa_cli.cli.inputs import excerpt_of  # noqa: PLC0415
    from masa_cli.cli.report import run_and_report  # noqa: PLC0415
    from masa_cli.cli.values import parse_frame_rate  # noqa: PLC0415
    from masa_cli.formats.track_files import Hints, read_tracks  # noqa: PLC0415
    from masa_cli.insight.crops import write_crops  # noqa: PLC0415
    from masa_cli.insight.views import ViewSettings  # noqa: PLC0415
    from masa_cli.results import make_folder, refuse_existing  # noqa: PLC0415
    from masa_cli.sources import open_source  # noqa: PLC0415

    folder = output or tracks.with_name("crops")
    with messages(quiet=quiet or json):
        whole = open_source(source, frame_rate=parse_frame_rate(fps))
        frames = excerpt_of(whole, start, end, every)
        size = frames.info.width, frames.info.height
        table = read_tracks(tracks, hints=Hints(size))
        if not overwrite:
            refuse_existing([folder])
        make_folder(folder.parent)
        run_and_report(
            lambda watch: write_crops(
                frames, table, folder, ViewSettings(per_track, min_side, margin), watch
            ),
            frames.info.num_frames,
            quiet=quiet,
            json=json,
        )
