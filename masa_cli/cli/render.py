"""`masa render`: the annotated video alone, from tracks that exist."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import typer

from masa_cli.cli import options
from masa_cli.cli.command import INPUT, OUTPUTS, further, option
from masa_cli.errors import OutputError, UsageError
from masa_cli.settings import parse_names

VideoOrFolder = Annotated[
    Path,
    typer.Argument(
        rich_help_panel=INPUT, help="The video file or folder of images.", show_default=False
    ),
]
TracksFiles = Annotated[
    list[Path],
    typer.Argument(
        rich_help_panel=INPUT,
        metavar="TRACKS...",
        help="A tracks.jsonl, the tracks.jsonl.part of an interrupted run, or tracks in any other "
        "format that masa convert reads. Several are drawn beside each other.",
        show_default=False,
    ),
]
VideoFile = Annotated[
    Path | None,
    option(
        OUTPUTS,
        "--output",
        "-o",
        help="The mp4 to write.",
        show_default="beside the tracks, named after the source",
    ),
]
LayoutName = Annotated[
    Literal["side-by-side", "grid"],
    option(OUTPUTS, "--layout", help="Of several tracks: all in one row, or in a grid."),
]
SpeedFile = Annotated[
    Path | None,
    option(
        OUTPUTS,
        "--speed",
        metavar="FILE",
        help="Show the speeds that masa measure -o wrote, those of the first tracks.",
    ),
]
SpeedUnit = Annotated[
    Literal["m/s", "km/h", "mph"],
    further(OUTPUTS, "--speed-unit", help="In which speeds are shown."),
]
Boxes = Annotated[bool, option(OUTPUTS, "--boxes/--no-boxes", help="Draw boxes.")]
Masks = Annotated[
    bool, option(OUTPUTS, "--masks/--no-masks", help="Draw masks, where tracks have them.")
]
Labels = Annotated[
    bool,
    option(OUTPUTS, "--labels/--no-labels", help="Draw identities, and with them names, scores."),
]
Thickness = Annotated[
    float,
    further(
        OUTPUTS, "--thickness", min=0.1, max=50, help="Multiple of the default width of lines."
    ),
]
TextSize = Annotated[
    float,
    further(OUTPUTS, "--text-size", min=0.1, max=50, help="Multiple of the default size of text."),
]
Only = Annotated[
    str,
    option(OUTPUTS, "--only", metavar="IDS", help="Draw only these identities: 3,7."),
]
Classes = Annotated[
    str,
    option(OUTPUTS, "--classes", metavar="NAMES", help="Draw only these classes: car,bus."),
]
Blur = Annotated[
    str,
    option(
        OUTPUTS,
        "--blur",
        metavar="NAMES",
        help="Make everything inside the boxes of these classes unrecognisable, drawn or not: "
        "person,face; or all.",
    ),
]


def render(
    source: VideoOrFolder,
    tracks: TracksFiles,
    output: VideoFile = None,
    layout: LayoutName = "side-by-side",
    speed: SpeedFile = None,
    speed_unit: SpeedUnit = "m/s",
    trails: options.Trails = 0,
    names: options.Names = True,
    scores: options.Scores = True,
    boxes: Boxes = True,
    masks: Masks = True,
    labels: Labels = True,
    thickness: Thickness = 1.0,
    text_size: TextSize = 1.0,
    only: Only = "",
    classes: Classes = "",
    blur: Blur = "",
    fps: options.FrameRate = None,
    stream: options.StreamNumber = None,
    start: options.Start = None,
    end: options.End = None,
    every: options.Every = 1,
    threads: options.Threads = None,
    overwrite: options.Overwrite = False,
    trace: options.Trace = None,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Draw tracks onto their video, as `masa track` does; several results beside each other.

    This is its second pass alone: it needs no models, and runs on any machine.
    """
    from masa_cli.analysis.ground import read_speeds
    from masa_cli.cli.console import messages, run_and_report
    from masa_cli.jobs.inputs import excerpt_of
    from masa_cli.jobs.record import traced
    from masa_cli.jobs.sinks import render as draw
    from masa_cli.render.annotator import DrawingSettings
    from masa_cli.settings import parse_frame_rate
    from masa_cli.sources import open_source

    with messages(quiet=quiet or json):
        whole = open_source(source, frame_rate=parse_frame_rate(fps), stream=stream)
        frames = excerpt_of(whole, start, end, every)
        info, path = frames.info, output or tracks[0].with_name(f"{frames.info.name}.mp4")
        if path.suffix.lower() != ".mp4":
            raise OutputError(
                f"{path} is no name of an mp4 file", fix="end the name given with -o in .mp4"
            )
        drawing = DrawingSettings(
            names=names,
            scores=scores,
            trail_frames=trails,
            boxes=boxes,
            masks=masks,
            labels=labels,
            thickness=thickness,
            text_size=text_size,
            only=frozenset(_ids_in(only)),
            classes=frozenset(_names_in(classes)),
            blur=frozenset(_names_in(blur)),
        )
        notes = read_speeds(speed, speed_unit) if speed else None
        work = partial(
            draw,
            frames,
            tracks,
            path,
            origin=source,
            drawing=drawing,
            layout=layout,
            notes=notes,
            threads=threads,
            overwrite=overwrite,
        )
        traced_work = traced(
            work, trace, inputs=[source, *tracks], outputs=[path], replaces=overwrite
        )
        run_and_report(traced_work, info.num_frames, quiet=quiet, json=json)


def _names_in(text: str) -> tuple[str, ...]:
    """The names in "car, bus", each once."""
    return tuple(dict.fromkeys(parse_names(text)))


def _ids_in(text: str) -> tuple[int, ...]:
    """The identities in "3,7"; UsageError for anything but whole numbers from 1."""
    names = _names_in(text)
    for name in names:
        if not (name.isascii() and name.isdecimal() and len(name) < 16 and int(name) >= 1):
            raise UsageError(f'expected ids from 1, got "{name}"', fix="write them as 3,7")
    return tuple(map(int, names))
