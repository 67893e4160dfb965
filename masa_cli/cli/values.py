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


def choice(names: Callable[[], Sequence[str]]) -> dict[str, Any]:
    """What makes an option take "auto" or one of some formats, looked up when it is used."""

    def known() -> tuple[str, ...]:
        return (AUTO, *names())

    def check(param: typer.CallbackParam, value: str) -> str:
        if value not in known():
            raise UsageError(
                f'{param.opts[0]}: unknown format "{value}"',
                fix=f"use one of: {', '.join(known())}",
            )
        return value

    def complete(incomplete: str) -> list[str]:
        return [name for name in known() if name.startswith(incomplete)]

    return {"metavar": "FORMAT", "callback": check, "autocompletion": complete}


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
