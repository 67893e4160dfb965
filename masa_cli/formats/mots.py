"""MOTS text: masks with identities, in and out.

Space separated, no header: `frame id class height width rle`, the mask as COCO's compressed run
lengths. Frames count from 1 in MOTSChallenge, from 0 in KITTI MOTS; ids are by custom the class
times 1000 and a number. Class 10 is a region where nothing is scored, in truth only.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np

from masa_cli.formats.part_file import PartFile
from masa_cli.formats.rle import first_bad
from masa_cli.formats.text_file import TextFile
from masa_cli.structures import IntArray

IGNORE = 10  # the class of regions where nothing is scored

# Least value of the columns of numbers; the first is that of the frame, which the caller knows.
_COLUMNS = {"frame number": 0, "id": 0, "class number": 0, "height": 1, "width": 1}


@dataclass(frozen=True, slots=True, eq=False)
class MotsRows:
    """Rows of masks, in the order of the file.

    Attributes:
        text: the lines they come from, for errors.
        frames: (N,) int64, from 0.
        ids: (N,) int64.
        classes: (N,) int64.
        sizes: (N, 2) int64, height and width.
        masks: (N,) compressed run lengths.
    """

    text: TextFile
    frames: IntArray
    ids: IntArray
    classes: IntArray
    sizes: IntArray
    masks: list[str]

    @staticmethod
    def empty() -> MotsRows:
        """No rows, of no file."""
        none = np.empty(0, np.int64)
        sizes = np.empty((0, 2), np.int64)
        return MotsRows(TextFile(Path(), [], array("q")), none, none, none, sizes, [])


def read_masks(path: Path, *, first_frame: int = 1) -> MotsRows:
    """Read the masks of one sequence; `first_frame` is the number of its first frame.

    Raises:
        SourceError: a line has other columns, a number out of its range or a broken mask.
    """
    text = TextFile.read(path)
    fields = [line.split() for line in text.lines]
    for row, values in enumerate(fields):
        if len(values) != len(_COLUMNS) + 1:
            expected = "6 columns (frame id class height width rle)"
            raise text.wrong(row, expected, str(len(values)))
    numbers = _whole_numbers(text, fields)
    least = np.array([first_frame, *list(_COLUMNS.values())[1:]])
    low = np.argwhere(numbers < least)
    if len(low):
        row, column = (int(place) for place in low[0])
        expected = f"a {list(_COLUMNS)[column]} from {least[column]}"
        raise text.wrong(row, expected, str(numbers[row, column]))
    masks = [values[-1] for values in fields]
    bad = first_bad(masks, numbers[:, 3] * numbers[:, 4])
    if bad is not None:
        row, reason = bad
        height, width = numbers[row, 3:]
        raise text.wrong(row, f"an RLE of {height} x {width} pixels in column 6", reason)
    return MotsRows(
        text, numbers[:, 0] - first_frame, numbers[:, 1], numbers[:, 2], numbers[:, 3:], masks
    )


class MotsWriter:
    """Writes masks as lines of `frame id class height width rle`.

    Args:
        path: replaced at a clean close; until then `<path>.part`.
        first_frame: number of the first frame: 1 for MOTSChallenge, 0 for KITTI MOTS.
    """

    def __init__(self, path: Path, *, first_frame: int = 1) -> None:
        self._file = PartFile(path)
        self._first_frame = first_frame

    def write(
        self,
        frame: int,
        ids: IntArray,
        classes: IntArray,
        size: tuple[int, int],
        masks: Sequence[str],
    ) -> None:
        """Append one frame, in the given order; a frame without masks leaves no line.

        Args:
            frame: from 0.
            ids: (N,) as they shall stand in the file.
            classes: (N,) numbers as the data set has them.
            size: height and width of all masks.
            masks: (N,) compressed run lengths; evaluators refuse those that overlap.
        """
        height, width = size
        number = frame + self._first_frame
        self._file.write(
            "".join(
                f"{number} {id_} {class_} {height} {width} {mask}\n"
                for id_, class_, mask in zip(ids, classes, masks, strict=True)
            ).encode()
        )

    def __enter__(self) -> MotsWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._file.__exit__(kind, error, traceback)


def _whole_numbers(text: TextFile, fields: list[list[str]]) -> IntArray:
    """(N, 5) the columns before the mask."""
    limit = np.iinfo(np.int32).max
    rows = []
    for row, values in enumerate(fields):
        try:
            numbers = [int(value) for value in values[:5]]
        except ValueError:
            numbers = [limit + 1]
        if max(map(abs, numbers)) > limit:
            expected = f"whole numbers below {limit} in columns 1 to 5"
            raise text.wrong(row, expected, " ".join(values[:5]))
        rows.append(numbers)
    return np.array(rows, np.int64).reshape(-1, 5)
