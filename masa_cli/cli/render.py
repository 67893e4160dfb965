"""`masa render`: the annotated video alone, from tracks that exist."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from masa_cli.cli import options
from masa_cli.errors import OutputError

VideoOrFolder = Annotated[
    Path, typer.Argument(help="The video file or folder of images.", show_default=False)
]
TracksFile = Annotated[
    Path,
    typer.Argument(
        help="A tracks.jsonl, or the tracks.jsonl.part of an interrupted run.", show_default=False
    ),
]
VideoFile = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        help="The mp4 to write (default: beside the tracks, named after the source).",
        show_default=False,
    ),
]


def render(
    source: VideoOrFolder,
    tracks: TracksFile,
    output: VideoFile = None,
    trails: options.Trails = 0,
    names: options.Names = True,
    scores: options.Scores = True,
    fps: options.FrameRate = None,
    overwrite: options.Overwrite = False,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Draw tracks onto their video, as `masa track` does.

    This is its second pass alone: it needs no models, and runs on any machine.
    """
    from masa_cli.cli.console import messages  # noqa: PLC0415 - heavy, only to run
    from masa_cli.cli.inputs import parse_frame_rate  # noqa: PLC0415
    from masa_cli.cli.report import run_and_report  # noqa: PLC0415
    from masa_cli.drawing import DrawingSettings  # noqa: PLC0415
    from masa_cli.runner import render as draw  # noqa: PLC0415
    from masa_cli.sources import open_source  # noqa: PLC0415

    with messages(quiet=quiet or json):
        frames = open_source(source, frame_rate=parse_frame_rate(fps))
        info, path = frames.info, output or tracks.with_name(f"{frames.info.name}.mp4")
        if path.suffix.lower() != ".mp4":
            raise OutputError(
                f"{path} is no name of an mp4 file", fix="end the name given with -o in .mp4"
            )
        drawing = DrawingSettings(names=names, scores=scores, trail_frames=trails)
        run_and_report(
            lambda watch: draw(
                frames, tracks, path, watch, origin=source, drawing=drawing, overwrite=overwrite
            ),
            info.num_frames,
            quiet=quiet,
            json=json,
        )
