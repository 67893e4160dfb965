"""Small tables of tracks, written out by hand."""

import numpy as np

from masa_cli.formats.tables import TrackTable
from masa_cli.formats.times import FrameTimes
from masa_cli.structures import Mask, Tracks

SIZE = (96, 64)
MASK = Mask((64, 96), "0a0P60")


def table_of(*rows, classes=("person", "car"), num_frames=10, rate=10):
    """Of rows (frame, id, x1), with "~" behind interpolated ones; boxes are 10 x 20, at y 5."""
    frames = np.array([row[0] for row in rows], np.int64)
    boxes = [[row[2], 5, row[2] + 10, 25] for row in rows]
    tracks = Tracks(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.full(len(rows), 0.5, np.float32),
        np.zeros(len(rows), np.int64),
        np.array([row[1] for row in rows], np.int64),
        np.array(["~" in row for row in rows], np.bool_),
    )
    order = np.lexsort((tracks.ids, frames))
    times = FrameTimes(np.arange(num_frames), np.arange(num_frames) / rate)
    return TrackTable(frames[order], tracks[order], classes, num_frames, times, SIZE)


def shown(table):
    """By identity: (frame, x1), with "~" where it is interpolated."""
    found = {}
    for row, frame in enumerate(table.frames.tolist()):
        soft = ("~",) if table.tracks.interpolated[row] else ()
        entry = (frame, float(table.tracks.boxes[row, 0]), *soft)
        found.setdefault(int(table.tracks.ids[row]), []).append(entry)
    return found
