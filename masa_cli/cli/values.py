"""Values as the user writes them in options: rates, sizes, times, names and ids."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from masa_cli.errors import UsageError
from masa_cli.formats import AUTO
from masa_cli.settings import DEFAULT_FRAME_RATE, parse_frame_rate

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from masa_cli.formats.tables import TrackTable


def parse_names(text: str) -> tuple[str, ...]:
    """The names in "car, bus", each once."""
    return tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))


def choice(names: Callable[[], Sequence[str]], what: str = "format") -> dict[str, Any]:
    """What makes an option take one of the names of a table, looked up when it is used."""

    def check(param: typer.CallbackParam, value: str | None) -> str | None:
        if value is not None and value not in names():
            raise UsageError(
                f'{param.opts[0]}: unknown {what} "{value}"',
                fix=f"use one of: {', '.join(names())}",
            )
        return value

    def complete(incomplete: str) -> list[str]:
        return [name for name in names() if name.startswith(incomplete)]

    return {"metavar": what.upper(), "callback": check, "autocompletion": complete}


def or_auto(names: Callable[[], Sequence[str]]) -> Callable[[], Sequence[str]]:
    """These names, and "auto" before them."""
    return lambda: (AUTO, *names())


def parse_ids(text: str) -> tuple[int, ...]:
    """The identities in "3,7"; UsageError for anything but whole numbers from 1."""
    names = parse_names(text)
    for name in names:
        if not (name.isascii() and name.isdecimal() and len(name) < 16 and int(name) >= 1):
            raise UsageError(f'expected ids from 1, got "{name}"', fix="write them as 3,7")
    return tuple(map(int, names))


TracksFile = Annotated[
    Path,
    typer.Argument(
        help="Tracks in any format that masa convert reads, such as a tracks.jsonl.",
        show_default=False,
    ),
]
Fps = Annotated[
    str | None,
    typer.Option(
        "--fps",
        help="Frames per second of a folder of images, or of tracks that tell no times "
        "(default: 30).",
        show_default=False,
    ),
]


def times_of(table: TrackTable, fps: str | None) -> NDArray[np.float64]:
    """(num_frames,) seconds of each frame: of the tracks, or by the frame rate."""
    import numpy as np

    rate = parse_frame_rate(fps)
    if table.times is not None and rate is None:
        return table.times
    return np.arange(table.num_frames) / float(rate or DEFAULT_FRAME_RATE)
