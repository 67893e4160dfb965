"""What every row of tracks must obey before it is scored; errors name the line."""

from __future__ import annotations

import numpy as np

from masa_cli.formats.text_file import TextFile
from masa_cli.structures import BoolArray, IntArray


def check_frames(
    text: TextFile, frames: IntArray, length: int | None, told_by: str, first_frame: int = 1
) -> None:
    """Raise SourceError for a frame beyond the sequence.

    Args:
        text: the lines of the rows.
        frames: (N,) from 0.
        length: number of frames; None where nothing tells it.
        told_by: who tells it.
        first_frame: number of the first frame in the file.
    """
    if length is None:
        return
    beyond = np.flatnonzero(frames >= length)
    if len(beyond):
        row = int(beyond[0])
        last = length - 1 + first_frame
        expected = f"a frame from {first_frame} to {last} (of {told_by})"
        raise text.wrong(row, expected, str(frames[row] + first_frame))


def check_ids(
    text: TextFile, frames: IntArray, ids: IntArray, counted: BoolArray | None = None
) -> None:
    """Raise SourceError for an id that comes twice in a frame; blames the later row.

    Args:
        text: the lines of the rows.
        frames: (N,).
        ids: (N,).
        counted: (N,) which rows to look at; all by default.
    """
    places = np.arange(len(ids)) if counted is None else np.flatnonzero(counted)
    frames, ids = frames[places], ids[places]
    order = np.lexsort((ids, frames))  # stable: of equal rows, the later one stays later
    again = (np.diff(frames[order]) == 0) & (np.diff(ids[order]) == 0)
    if again.any():
        place = int(order[1:][again].min())
        raise text.wrong(int(places[place]), "each id once in a frame", f"{ids[place]} again")
