"""`masa convert`: tracks of one format into another."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from masa_cli import formats
from masa_cli.cli import options
from masa_cli.cli.command import choice, or_auto
from masa_cli.errors import UsageError

Tracks = Annotated[
    Path,
    typer.Argument(
        metavar="TRACKS",
        help="A file of tracks, or a folder of YOLO's labels; what it holds tells the format.",
        show_default=False,
    ),
]
Target = Annotated[
    Path,
    typer.Argument(
        metavar="TARGET",
        help="What to write. Its name tells the format, as shown below.",
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
To = Annotated[
    str,
    typer.Option(
        "--to",
        help=f"Format to write, if the name is another: {', '.join(formats.writable_names())}.",
        **choice(or_auto(formats.writable_names)),
    ),
]
Video = Annotated[
    Path | None,
    typer.Option(
        "--video",
        help="The video of the tracks: tells its name, size, length and frame times, and if it is "
        "a folder, which frame a name or number means.",
        show_default=False,
    ),
]
Size = Annotated[
    str | None,
    typer.Option(
        "--size",
        metavar="WxH",
        help="Size of the video in pixels, such as 1920x1080, where the tracks do not tell it.",
        show_default=False,
    ),
]
Images = Annotated[
    Path | None,
    typer.Option(
        "--images",
        help="For TAO results: a JSON file whose images tell the frame of each image_id.",
        show_default=False,
    ),
]
ClassNames = Annotated[
    str,
    typer.Option(
        "--names",
        metavar="NAMES",
        help="Names for the class numbers of MOT files, from 1, such as person,car; one that has "
        "a comma in double quotes.",
        show_default=False,
    ),
]
Fps = Annotated[
    str | None,
    typer.Option(
        "--fps",
        help="Frames per second, where neither the tracks nor --video tell the times "
        "(default: 30).",
        show_default=False,
    ),
]


def convert(
    tracks: Tracks,
    target: Target,
    reads: From = formats.AUTO,
    writes: To = formats.AUTO,
    video: Video = None,
    size: Size = None,
    fps: Fps = None,
    images: Images = None,
    names: ClassNames = "",
    mot_classes: options.MotClasses = False,
    overwrite: options.Overwrite = False,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Write tracks in another format.

    Identities, classes, scores and boxes are kept as far as the format can: MOTChallenge has no
    class names, TAO no frames without boxes, CVAT one class per track, yolo no identities.
    """
    from masa_cli.cli.console import messages, show, show_json
    from masa_cli.jobs.convert import VideoFacts
    from masa_cli.jobs.convert import convert as write
    from masa_cli.settings import parse_frame_rate, parse_names, parse_size

    if video and (size or fps):
        raise UsageError("--video tells size and frame rate", fix="leave out --size and --fps")
    with messages(quiet=quiet or json):
        if video:
            facts = VideoFacts.of(video)
        else:
            facts = VideoFacts(size=parse_size(size), frame_rate=parse_frame_rate(fps))
        summary = write(
            tracks,
            target,
            reads=reads,
            writes=writes,
            facts=facts,
            images=images,
            names=tuple(parse_names(names)),
            mot_classes=mot_classes,
            overwrite=overwrite,
        )
    if json:
        show_json(
            {
                "frames": summary.num_frames,
                "boxes": summary.num_boxes,
                "tracks": summary.num_tracks,
                "written": [str(path) for path in summary.written],
            }
        )
    elif not quiet:
        show(
            f"{target}: {summary.num_tracks} tracks, {summary.num_boxes} boxes in "
            f"{summary.num_frames} frames"
        )


def help_on_tracks() -> str:
    """What `masa convert --help` tells of the formats."""
    rows = {f".{row.endings[-1]}": row.summary for row in formats.FORMATS.values() if row.write}
    masks = [name for name, row in formats.FORMATS.items() if "masks" in row.holds]
    width = max(map(len, rows))
    table = "\n".join(f"  {ending:{width}}  {summary}" for ending, summary in rows.items())
    return (
        f"Formats, by the end of the target's name:\n\n\b\n{table}\n\n"
        f"Masks are kept by {', '.join(masks)}."
    )
