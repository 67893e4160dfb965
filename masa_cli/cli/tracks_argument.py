"""The argument that all commands share which only read tracks, and what they need to know of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from masa_cli.formats.track_table import TrackTable

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
    import numpy as np  # noqa: PLC0415 - heavy, only to run

    from masa_cli.cli.inputs import USUAL_FRAME_RATE  # noqa: PLC0415
    from masa_cli.cli.values import parse_frame_rate  # noqa: PLC0415

    rate = parse_frame_rate(fps)
    if table.times is not None and rate is None:
        return table.times
    return np.arange(table.num_frames) / float(rate or USUAL_FRAME_RATE)
