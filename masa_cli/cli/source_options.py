"""Options of where frames come from, declared once for all commands."""

from __future__ import annotations

from typing import Annotated

import typer

Sources = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[SOURCE]...",
        help="Video files, folders of images, or patterns of them; or one of: - for video on "
        "standard input (raw pictures: --video-size), the number of a camera, an address (rtsp://, "
        "http:// and the like). Without any, the frames are looked for beside the detections, "
        "where MOTChallenge has them (<sequence>/img1 for <sequence>/det/det.txt); if there are "
        "none, boxes are tracked by motion alone.",
        show_default=False,
    ),
]
FrameRate = Annotated[
    str | None,
    typer.Option(
        "--fps",
        help="Frames per second of a folder of images or of raw pictures, such as 25 or 30000/1001 "
        "(default: from seqinfo.ini, else 30).",
        show_default=False,
    ),
]
VideoSize = Annotated[
    str | None,
    typer.Option(
        "--video-size",
        metavar="WxH",
        help="Standard input is raw pictures of this size in pixels, such as 640x480, one after "
        "the other, as ffmpeg -f rawvideo writes them.",
        show_default=False,
    ),
]
PixelFormatName = Annotated[
    str | None,
    typer.Option(
        "--pixel-format",
        metavar="NAME",
        help="How raw pictures are laid out, by FFmpeg's names (its -pix_fmt): bgr24, rgba, gray, "
        "yuv420p, nv12 and others; a wrong name lists all.",
        show_default="rgb24",
    ),
]
Start = Annotated[
    str | None,
    typer.Option(
        "--start",
        metavar="TIME",
        help="Begin here: seconds, or 1:30, or 0:01:30.5. Frames and times of the results count "
        "from there.",
        show_default=False,
    ),
]
End = Annotated[
    str | None,
    typer.Option("--end", metavar="TIME", help="End before this time.", show_default=False),
]
Every = Annotated[int, typer.Option("--every", min=1, help="Take only every so many frames.")]
Reconnect = Annotated[
    float,
    typer.Option(
        "--reconnect",
        min=0,
        metavar="SECONDS",
        help="How long a lost connection of a stream is tried to be made again, first after 1 "
        "second, then twice as long each time.",
    ),
]
