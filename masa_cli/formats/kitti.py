"""KITTI's labels of tracks, in and out.

Space separated, no header: `frame id type truncated occluded alpha left top right bottom`, then
height, width, length, x, y, z and rotation_y in the world, and perhaps a score. Frames count from
0, ids from 0 or 1; boxes are pixels. `DontCare` marks regions where nothing is scored.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from masa_cli.formats.files import FileWriter, PartFile, TextFile
from masa_cli.formats.tables import NAMELESS, TrackTable, numbered, whole_ids
from masa_cli.formats.text_columns import check_whole, read_numbers
from masa_cli.structures import Frame, Tracks

_WITHOUT_SCORE, _WITH_SCORE = 17, 18  # columns
_COLUMNS = {"frame": 0, "id": 1, "x1": 6, "y1": 7, "x2": 8, "y2": 9}
_DONT_CARE = "dontcare"
_UNKNOWN = "-1 -1 -10 {} -1 -1 -1 -1000 -1000 -1000 -10"  # as KITTI has them where nobody knows


def read_tracks(path: Path) -> TrackTable:
    """Read the boxes in the image; regions that are not scored are left out.

    Raises:
        SourceError: a line is malformed.
    """
    text = TextFile.read(path)
    fields = [line.split() for line in text.lines]
    for row, values in enumerate(fields):
        if len(values) not in (_WITHOUT_SCORE, _WITH_SCORE):
            raise text.wrong(row, "17 columns, or 18 with a score", str(len(values)))
    kept = [row for row, values in enumerate(fields) if values[2].lower() != _DONT_CARE]
    # Numbers alone, with a score for each: so they are read at once.
    lines = [",".join([*fields[row][:2], "", *fields[row][3:], "1"][:_WITH_SCORE]) for row in kept]
    own = TextFile(path, [text.lines[row] for row in kept], text.numbers[:0])
    own.numbers.extend(text.numbers[row] for row in kept)
    rows = read_numbers(own, _COLUMNS | {"score": _WITHOUT_SCORE}, completed=lines)
    check_whole(own, rows[:, 0], "frame number", minimum=0)
    check_whole(own, rows[:, 1], "id", minimum=0)
    labels, classes = numbered([fields[row][2] for row in kept])
    tracks = Tracks(
        rows[:, 2:6].astype(np.float32),
        rows[:, 6].astype(np.float32),
        labels,
        whole_ids(own, lines, rows[:, 1], _COLUMNS["id"]),
    )
    return TrackTable.from_rows(path, rows[:, 0].astype(np.int64), tracks, classes or (NAMELESS,))


class KittiWriter(FileWriter[PartFile]):
    """Writes a line per box; what it does not know of the world has KITTI's own placeholders.

    Args:
        path: replaced at a clean close; until then `<path>.part`.
        classes: names of the labels; their spaces become underlines.
    """

    def __init__(self, path: Path, *, classes: Sequence[str]) -> None:
        super().__init__(PartFile(path))
        self._names = ["_".join(name.split()) or NAMELESS for name in classes]

    def write(self, frame: Frame, tracks: Tracks) -> None:
        """Append one frame; a frame without tracks leaves no line."""
        columns = (tracks.ids, tracks.labels, tracks.boxes, tracks.scores)
        self._file.write(
            "".join(
                f"{frame.index} {id_} {self._names[label]} "
                f"{_UNKNOWN.format(' '.join(f'{side:.9g}' for side in box))} {score:.9g}\n"
                for id_, label, box, score in zip(*(each.tolist() for each in columns), strict=True)
            ).encode()
        )
