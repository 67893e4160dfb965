"""`masa review` and `masa edit`: look at tracks in a browser, mend them, and mend them again."""

from __future__ import annotations

import sys
import webbrowser
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from masa_cli import formats
from masa_cli.cli import options
from masa_cli.cli.command import choice, or_auto

if TYPE_CHECKING:
    from masa_cli.review.opening import Opening, Step
    from masa_cli.review.session import Review

_PATIENCE = 0.5  # seconds until the page is served, whether its tracks are read or not

VideoOrFolder = Annotated[
    Path, typer.Argument(help="The video file or folder of images.", show_default=False)
]
TracksFile = Annotated[
    Path,
    typer.Argument(
        metavar="TRACKS",
        help="A tracks.jsonl, or tracks in any other format that masa convert reads.",
        show_default=False,
    ),
]
Port = Annotated[
    int,
    typer.Option(
        "--port", min=0, max=65535, help="Port to listen on, on this machine alone; 0: a free one."
    ),
]
NoBrowser = Annotated[
    bool, typer.Option("--no-browser", help="Print the address, but open no browser.")
]
EditsFile = Annotated[
    Path | None,
    typer.Option(
        "--edits",
        help="The log of edits: made with the first edit, gone on with if it is there.",
        show_default="TRACKS with the ending .edits.jsonl",
    ),
]
Folder = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        help="The folder that tracks are saved into.",
        show_default="that of TRACKS",
    ),
]
Static = Annotated[
    Path | None,
    typer.Option(
        "--static",
        help="Write the page with all tracks into this HTML file, to be looked at only, and serve "
        "nothing. A video of up to 64 MiB is inside, a larger one beside it; so are masks of up to "
        "64 MiB, more are left out.",
        show_default=False,
    ),
]
From = Annotated[
    str,
    typer.Option(
        "--from",
        help="Format of the tracks, if it is not recognised: "
        f"{', '.join(formats.readable_names())}.",
        **choice(or_auto(formats.readable_names)),
    ),
]
Start = Annotated[
    str | None,
    typer.Option(
        "--start",
        metavar="TIME",
        help="The tracks begin at this time of the video, as masa track --start took it.",
        show_default="that in the run.json beside TRACKS",
    ),
]
Every = Annotated[
    int | None,
    typer.Option(
        "--every",
        min=1,
        help="The tracks are of one frame of so many, as masa track --every took them.",
        show_default="that in the run.json beside TRACKS",
    ),
]
Edits = Annotated[
    Path,
    typer.Argument(metavar="EDITS", help="The edits.jsonl of masa review.", show_default=False),
]
Target = Annotated[
    Path,
    typer.Option(
        "--output", "-o", help="What to write; its name tells the format.", show_default=False
    ),
]
To = Annotated[
    str,
    typer.Option(
        "--to",
        help=f"Format to write, if the name is another: {', '.join(formats.writable_names())}.",
        **choice(or_auto(formats.writable_names)),
    ),
]


def review(
    source: VideoOrFolder,
    tracks: TracksFile,
    port: Port = 0,
    no_browser: NoBrowser = False,
    edits: EditsFile = None,
    output: Folder = None,
    static: Static = None,
    reads: From = formats.AUTO,
    fps: options.FrameRate = None,
    start: Start = None,
    every: Every = None,
    overwrite: options.Overwrite = False,
    quiet: options.Quiet = False,
) -> None:
    """Look at tracks in a browser, and mend them: swaps, splits, merges, boxes by hand.

    The page is served on this machine alone, at an address with a token that only you have, and
    needs no network. TRACKS stays as it is: each edit is a line of a log, which masa edit does
    again, and the page saves the result in any format of masa convert. Ctrl-C ends it.
    """
    from masa_cli.cli.console import messages, progress_bar, say, show
    from masa_cli.progress import RunProgress
    from masa_cli.review.opening import Opening
    from masa_cli.review.server import HOST, ReviewApp, new_token, serve
    from masa_cli.review.session import Part, open_review
    from masa_cli.review.static import write_static
    from masa_cli.settings import parse_frame_rate, parse_time

    log, rate, run = edits or _log_of(tracks), parse_frame_rate(fps), RunProgress()

    begin = parse_time(start, "--start")
    part = None if begin is None and every is None else Part(begin or Fraction(0), every or 1)

    def opens(opening: Opening) -> Review:
        return open_review(
            source,
            tracks,
            log,
            reads=reads,
            frame_rate=rate,
            part=part,
            tell=opening.tell,
            show=opening.show,
        )

    def on_step(step: Step) -> None:
        run.on_pass(step.text, round(100 * (step.share or 0)))

    with messages(quiet=quiet), Opening(opens, on_step) as opening:
        with progress_bar(run, 100, quiet=quiet):
            # Most are open by then, and what is wrong with them is told before there is a page.
            review = opening.review(None if static else _PATIENCE)
        if static and review:
            for path in write_static(review, static, overwrite=overwrite):
                show(str(path))
            return
        app = ReviewApp(opening, output or tracks.parent, new_token())

        def ready(listening: int) -> None:
            address = f"http://{HOST}:{listening}/{app.token}/"
            show(address)
            sys.stdout.flush()
            if review is None:
                say("review", "the tracks are still being read: the page tells how far")
            say("review", f"edits are kept in {log}; Ctrl-C ends it")
            if not no_browser:
                webbrowser.open(address)

        serve(app, port, ready)


def edit(
    tracks: TracksFile,
    edits: Edits,
    output: Target,
    reads: From = formats.AUTO,
    writes: To = formats.AUTO,
    overwrite: options.Overwrite = False,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Do the edits of a review again, and write the tracks they come to.

    TRACKS are those that the review began with; they stay as they are.
    """
    from masa_cli.cli.console import messages, show, show_json
    from masa_cli.jobs.convert import VideoFacts, format_of, write_table
    from masa_cli.review.log import LogFile, replayed

    with messages(quiet=quiet or json):
        chosen = format_of(output) if writes == formats.AUTO else writes
        log = LogFile.read(edits)
        history = replayed(tracks, formats.read_tracks(tracks, format=reads), log)
        summary = write_table(
            history.tracks.table(),
            output,
            source=tracks,
            writes=chosen,
            facts=VideoFacts(),
            inputs=(edits,),
            overwrite=overwrite,
        )
    if json:
        show_json(
            {
                "edits": len(history.done),
                "frames": summary.num_frames,
                "boxes": summary.num_boxes,
                "tracks": summary.num_tracks,
                "written": [str(path) for path in summary.written],
            }
        )
    elif not quiet:
        show(
            f"{output}: {len(history.done)} edits, {summary.num_tracks} tracks, "
            f"{summary.num_boxes} boxes in {summary.num_frames} frames"
        )


def _log_of(tracks: Path) -> Path:
    """Where edits of tracks are kept if nobody says so."""
    return tracks.with_name(f"{tracks.name.removesuffix('.jsonl')}.edits.jsonl")
