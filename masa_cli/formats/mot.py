"""MOTChallenge text: detections in, tracks out.

Comma separated, no header: `frame, id, left, top, width, height, score[, class[, …]]`. Frames count
from 1 in these files, and only here: the 1 is taken off and added in this module alone. Detections
have the id -1, which is not read; so a gt.txt is read as detections too, its flags as scores.
"""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

import numpy as np

from masa_cli.boxes import xywh_to_xyxy, xyxy_to_xywh
from masa_cli.formats.detection_table import NAMELESS, DetectionTable
from masa_cli.formats.number_table import check_whole, read_numbers
from masa_cli.formats.part_file import PartFile
from masa_cli.formats.text_file import TextFile
from masa_cli.structures import Frame, Tracks

FIRST_FRAME = 1

# Where the columns that are read stand, from 0. The id (1) and those after the class are not.
_COLUMNS = {"frame": 0, "left": 2, "top": 3, "width": 4, "height": 5, "score": 6, "class": 7}
_NO_CLASS = -1


def recognises(first_line: str) -> bool:
    """Whether a line starts with two numbers between commas."""
    fields = first_line.split(",")
    try:
        float(fields[0]), float(fields[1])
    except (ValueError, IndexError):
        return False
    return True


def read_detections(path: Path) -> DetectionTable:
    """Read a det.txt of 7 to 10 columns, which may differ from line to line.

    Class numbers become names as they are ("3"); rows without one, or with -1, are "object".
    """
    text = TextFile.read(path)
    rows = read_numbers(_with_class(text), _COLUMNS)
    frames, boxes, scores, numbers = rows[:, 0], rows[:, 1:5], rows[:, 5], rows[:, 6]
    check_whole(text, frames, "frame number", least=FIRST_FRAME)
    check_whole(text, numbers, "class number", least=_NO_CLASS)
    found, labels = np.unique(numbers.astype(np.int64), return_inverse=True)
    return DetectionTable.from_rows(
        frames.astype(np.int64) - FIRST_FRAME,
        xywh_to_xyxy(boxes.astype(np.float32)),
        scores.astype(np.float32),
        labels.astype(np.int64),
        tuple(NAMELESS if number == _NO_CLASS else str(number) for number in found) or (NAMELESS,),
    )


class MotWriter:
    """Writes tracks as `frame,id,left,top,width,height,score,-1,-1,-1`, in the order of ids.

    Args:
        path: replaced at a clean close; until then `<path>.part`.
        with_classes: put the number of the class, from 1, into column 8. (TrackEval's MOTChallenge
            reader refuses class numbers above 1.)
    """

    def __init__(self, path: Path, *, with_classes: bool = False) -> None:
        self._file = PartFile(path)
        self._with_classes = with_classes

    def write(self, frame: Frame, tracks: Tracks) -> None:
        """Append one frame; a frame without tracks leaves no line."""
        tracks = tracks[np.argsort(tracks.ids)]
        # Two decimals: a hundredth of a pixel is far below what any detector or metric resolves.
        # Adding 0 turns -0.0 into 0.0.
        boxes = np.round(xyxy_to_xywh(tracks.boxes).astype(np.float64), 2) + 0.0
        scores = np.round(tracks.scores.astype(np.float64), 4) + 0.0
        classes = tracks.labels + 1 if self._with_classes else np.full(len(tracks), _NO_CLASS)
        rows = zip(tracks.ids, boxes, scores, classes, strict=True)
        number = frame.index + FIRST_FRAME
        self._file.write(
            "".join(
                f"{number},{id_},{x:.2f},{y:.2f},{w:.2f},{h:.2f},{score:.4f},{class_},-1,-1\n"
                for id_, (x, y, w, h), score, class_ in rows
            ).encode()
        )

    def __enter__(self) -> MotWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._file.__exit__(kind, error, traceback)


def _with_class(text: TextFile) -> TextFile:
    """The same rows, where those of 7 columns got -1 as their class."""
    counts = [line.count(",") + 1 for line in text.lines]
    for row, count in enumerate(counts):
        if not 7 <= count <= 10:
            limit = "at least 7" if count < 7 else "at most 10"
            raise text.wrong(row, f"{limit} columns", str(count))
    if 7 not in counts:
        return text
    lines = [
        f"{line},{_NO_CLASS}" if count == 7 else line
        for line, count in zip(text.lines, counts, strict=True)
    ]
    return TextFile(text.path, lines, text.numbers)
