"""MOTChallenge text: detections in, tracks out; and both tracks and truth in, to be compared.

Comma separated, no header: `frame, id, left, top, width, height, score[, class[, …]]`. Frames count
from 1 in these files, and only here: the 1 is taken off and added in this module alone. Detections
have the id -1, which is not read; so a gt.txt is read as detections too, its flags as scores.
Read, too, are other separators, commas at the ends of lines, and a header.
"""

from __future__ import annotations

import logging
from array import array
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from masa_cli.boxes import xywh_to_xyxy, xyxy_to_xywh
from masa_cli.errors import SourceError
from masa_cli.formats.files import FileWriter, PartFile, TextFile
from masa_cli.formats.headers import fields_of, mot_columns, mot_fields
from masa_cli.formats.mot_sequence import find_sequence
from masa_cli.formats.tables import (
    NAMELESS,
    NO_ID,
    NO_TRACKS,
    DetectionTable,
    TrackTable,
    numbered,
    whole_ids,
)
from masa_cli.formats.text_columns import check_whole, read_numbers
from masa_cli.formats.times import FrameTimes
from masa_cli.structures import BoolArray, Frame, IntArray, Tracks

logger = logging.getLogger(__name__)

FIRST_FRAME = 1

# Where the columns that are read stand, from 0; those after the class are not. Nor is the id of
# detections, which is -1.
_COLUMNS = {"frame": 0, "left": 2, "top": 3, "width": 4, "height": 5, "score": 6, "class": 7}

_TRACK_COLUMNS = {"id": 1} | _COLUMNS
NO_CLASS = _NO_ID = -1
_NOTHING = ("-1", "-1")  # what columns 9 and 10 hold that have no meaning
_NO_SCORE = -1.0
_FLAGS = (0.0, 1.0)

# Classes of MOT16, MOT17 and MOT20, from 1 (pedestrian) to 13 (crowd).
_MAX_CLASS = 13

# A gt.txt of MOT15 has 10 columns, the last three for the position in the world; later ones have 9,
# the last two for class and visibility.
_TRUTH_WIDTHS = {7: False, 8: True, 9: True, 10: False}  # number of columns: is 8 the class?

_OWN_CLASSES = "number classes as MOTChallenge does; for those of your own: masa eval --all-classes"


def read_tracks(path: Path) -> TrackTable:
    """Read results, or truth, as tracks; class numbers become names as in `read_detections`.

    Rows that truth flags as not to be scored are left out, and counted in a warning. Scores that
    are -1 throughout become 1. Times are by the frame rate of the sequence, if one is found.
    """
    rows = _scored(read_results(path, min_id=NO_ID))
    if len(rows.ids) and np.all(rows.ids == NO_ID):
        error = rows.text.wrong(0, "an id from 0", str(NO_ID))
        raise SourceError(error.problem, fix=NO_TRACKS)
    numbers = np.full(len(rows.frames), NO_CLASS) if rows.classes is None else rows.classes
    labels, classes = numbered(
        [NAMELESS if number == NO_CLASS else str(number) for number in numbers.tolist()]
    )
    scores = _known(path, rows.scores).astype(np.float32)
    tracks = Tracks(rows.boxes.astype(np.float32), scores, labels, rows.ids)
    sequence = find_sequence(path)
    rate = sequence.frame_rate if sequence else None
    times = FrameTimes.even(rate) if rate else None
    return TrackTable.from_rows(path, rows.frames, tracks, classes or (NAMELESS,), times=times)


class MotWriter(FileWriter[PartFile]):
    """Writes tracks as `frame,id,left,top,width,height,score,-1,-1,-1`, in the order of ids.

    A score of 0 marks a box that was interpolated.

    Args:
        path: replaced at a clean close; until then `<path>.part`.
        with_classes: put the number of the class, from 1, into column 8. (TrackEval's MOTChallenge
            reader refuses class numbers above 1.)
    """

    def __init__(self, path: Path, *, with_classes: bool = False) -> None:
        super().__init__(PartFile(path))
        self._with_classes = with_classes

    def write(self, frame: Frame, tracks: Tracks) -> None:
        """Append one frame; a frame without tracks leaves no line."""
        tracks = tracks[np.argsort(tracks.ids)]
        # Two decimals: a hundredth of a pixel is far below what any detector or metric resolves.
        # Adding 0 turns -0.0 into 0.0.
        boxes = np.round(xyxy_to_xywh(tracks.boxes).astype(np.float64), 2) + 0.0
        scores = np.round(tracks.scores.astype(np.float64), 4) + 0.0
        scores[tracks.interpolated] = 0
        classes = tracks.labels + 1 if self._with_classes else np.full(len(tracks), NO_CLASS)
        rows = zip(tracks.ids, boxes, scores, classes, strict=True)
        number = frame.index + FIRST_FRAME
        self._file.write(
            "".join(
                f"{number},{id_},{x:.2f},{y:.2f},{w:.2f},{h:.2f},{score:.4f},{class_},-1,-1\n"
                for id_, (x, y, w, h), score, class_ in rows
            ).encode()
        )


def read_detections(path: Path) -> DetectionTable:
    """Read a det.txt of 7 to 10 columns, which may differ from line to line.

    Class numbers become names as they are ("3"); rows without one, or with -1, are "object".
    Scores that are -1 throughout become 1.
    """
    text, lines = _read(path)
    rows = read_numbers(text, _COLUMNS, completed=_with_class(text, lines))
    frames, boxes, scores = rows[:, 0], rows[:, 1:5], rows[:, 5]
    numbers = _classes(text, lines, rows[:, 6], _ids(lines))
    check_whole(text, frames, "frame number", minimum=FIRST_FRAME)
    check_whole(text, numbers, "class number", minimum=NO_CLASS)
    found, labels = np.unique(numbers.astype(np.int64), return_inverse=True)
    return DetectionTable.from_rows(
        frames.astype(np.int64) - FIRST_FRAME,
        xywh_to_xyxy(boxes.astype(np.float32)),
        _known(path, scores).astype(np.float32),
        labels.astype(np.int64),
        tuple(NAMELESS if number == NO_CLASS else str(number) for number in found) or (NAMELESS,),
    )


@dataclass(frozen=True, slots=True, eq=False)
class MotRows:
    """Rows of tracks or truth, in the order of the file.

    Attributes:
        text: the lines they come from, for errors.
        frames: (N,) int64, from 0.
        ids: (N,) int64.
        boxes: (N, 4) float64 xyxy.
        scores: (N,) float64; of truth: 0 where the row is not to be scored.
        classes: (N,) int64, -1 where there is none; None for truth without classes (MOT15).
        is_truth: whether the scores are flags, 0 for what is not to be scored.
    """

    text: TextFile
    frames: IntArray
    ids: IntArray
    boxes: NDArray[np.float64]
    scores: NDArray[np.float64]
    classes: IntArray | None
    is_truth: bool = False

    def where(self, kept: BoolArray) -> MotRows:
        """Some of the rows; `text` keeps all lines."""
        names = ("frames", "ids", "boxes", "scores")
        columns = {name: getattr(self, name)[kept] for name in names}
        classes = None if self.classes is None else self.classes[kept]
        return replace(self, **columns, classes=classes)

    def without_classes(self, scored: BoolArray) -> MotRows:
        """All rows as of one class, with the flags of truth: which are to be scored."""
        return replace(self, scores=scored.astype(np.float64), classes=None)

    @staticmethod
    def empty() -> MotRows:
        """No rows, of no file."""
        none = np.empty(0, np.int64)
        boxes, scores = np.empty((0, 4)), np.empty(0)
        return MotRows(TextFile(Path(), [], array("q")), none, none, boxes, scores, none)


def read_results(path: Path, *, min_id: int = 0) -> MotRows:
    """Read the results of one sequence, of at least 7 columns, which may differ by line.

    Raises SourceError for an id below `min_id`, and for other lines that cannot be read.
    """
    text, lines = _read(path)
    completed = _with_class(text, lines, max_columns=None)
    numbers = read_numbers(text, _TRACK_COLUMNS, completed=completed)
    rows = _rows(text, completed, numbers, has_classes=True, min_id=min_id)
    return replace(rows, is_truth=_has_flags(lines, rows.scores))


def read_truth(path: Path) -> MotRows:
    """Read a gt.txt of 7 to 10 columns, the same in all lines.

    Column 8 is the class if there are 8 or 9 columns and any row has another number than -1 there.
    """
    text, lines = _read(path)
    width = _width(text, lines)
    completed = _with_class(text, lines)
    numbers = read_numbers(text, _TRACK_COLUMNS, completed=completed)
    classes = numbers[:, -1]
    has_classes = _TRUTH_WIDTHS[width] and bool(np.any(classes != NO_CLASS))
    if has_classes:
        check_whole(text, classes, "class number", minimum=NO_CLASS)
        others = np.flatnonzero((classes < 1) | (classes > _MAX_CLASS))
        if len(others):
            row = int(others[0])
            error = text.wrong(row, f"a class from 1 to {_MAX_CLASS}", f"{classes[row]:g}")
            raise SourceError(error.problem, fix=_OWN_CLASSES)
    return replace(_rows(text, completed, numbers, has_classes=has_classes), is_truth=True)


def _read(path: Path) -> tuple[TextFile, list[str]]:
    """The rows as they stand, and the same with commas, in MOTChallenge's order of columns."""
    text = TextFile.read(path)
    order = mot_columns(text.lines[0]) if text.lines else None
    if order is not None:
        text = TextFile(path, text.lines[1:], text.numbers[1:])
    is_plain = not order and all("," in line and line[-1:] not in ", \t\r" for line in text.lines)
    if is_plain and not any(";" in line or "\t" in line for line in text.lines):
        return text, text.lines
    fields = [mot_fields(line) for line in text.lines]
    if order:
        fields = [[row[at] for at in order if at < len(row)] for row in fields]
    return text, [",".join(row) for row in fields]


def _known(path: Path, scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """The scores; where all say -1, for there is none, they are 1."""
    if not len(scores) or np.any(scores != _NO_SCORE):
        return scores
    logger.warning("%s: all scores are -1, which tells none; they were taken as 1", path)
    return np.ones_like(scores)


def _has_flags(lines: list[str], scores: NDArray[np.float64]) -> bool:
    """Whether the scores are the flags of truth; results have neither a visibility nor a world."""
    if not len(scores) or not np.isin(scores, _FLAGS).all():
        return False
    ninth = (fields_of(line)[8:9] for line in lines)
    return any(field and field[0].strip() not in {"-1", "-1.0"} for field in ninth)


def _scored(rows: MotRows) -> MotRows:
    """Without the rows of truth that are not to be scored."""
    kept = rows.scores != 0
    if not rows.is_truth or kept.all():
        return rows
    logger.warning(
        "%s: %d of %d rows are flagged as not to be scored (0 in column 7) and were left out",
        rows.text.path,
        len(kept) - int(kept.sum()),
        len(kept),
    )
    return rows.where(kept)


def _rows(
    text: TextFile,
    lines: list[str],
    numbers: NDArray[np.float64],
    *,
    has_classes: bool,
    min_id: int = 0,
) -> MotRows:
    """Rows out of the columns id, frame, left, top, width, height, score, class."""
    ids, frames = numbers[:, 0], numbers[:, 1]
    check_whole(text, frames, "frame number", minimum=FIRST_FRAME)
    check_whole(text, ids, "id", minimum=min_id)
    apart = np.where(ids < 0, -1 - np.arange(len(ids)), ids)  # boxes without an id are no track
    classes = _classes(text, lines, numbers[:, 7], apart) if has_classes else None
    return MotRows(
        text,
        frames.astype(np.int64) - FIRST_FRAME,
        whole_ids(text, lines, ids, _TRACK_COLUMNS["id"]),
        xywh_to_xyxy(numbers[:, 2:6]),
        numbers[:, 6],
        None if classes is None else classes.astype(np.int64),
    )


def _classes(
    text: TextFile, lines: list[str], numbers: NDArray[np.float64], ids: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(N,) what stands in column 8, as classes; NO_CLASS where it stands for something else.

    In rows of 10 columns it is a class if it is whole, and the two after it are -1, or flags as in
    VisDrone before which it does not change within a track; else a place in the world as in MOT15.
    """
    tails = [(row, _flags(line)) for row, line in enumerate(lines) if line.count(",") >= 9]
    wide = np.array([row for row, _ in tails], np.int64)
    found = numbers[wide]
    is_whole = bool(np.all(found == np.floor(found)) and np.all(found >= NO_CLASS))
    if is_whole and all(flags == _NOTHING for _, flags in tails):
        return numbers
    known = wide[ids[wide] > _NO_ID]
    pairs = np.unique(np.stack([ids[known], numbers[known]], axis=1), axis=0)
    is_steady = len(pairs) == len(np.unique(ids[known]))
    if is_whole and is_steady and found.min() >= 0 and all(flags for _, flags in tails):
        return numbers
    message = "%s: column 8 is no class, but a place in the world as in MOT15; it is not read"
    logger.warning(message, text.path)
    classes: NDArray[np.float64] = numbers.copy()
    classes[wide] = NO_CLASS
    return classes


def _ids(lines: list[str]) -> NDArray[np.float64]:
    """(N,) what stands in column 2, which detections need not have; _NO_ID where it is no id."""
    fields = [line.split(",", 2)[1].strip() for line in lines]
    return np.array([int(field) if field.isdecimal() else _NO_ID for field in fields], np.float64)


def _flags(line: str) -> tuple[str, ...]:
    """Columns 9 and 10 of a line, if they say nothing or are flags as in VisDrone; else none."""
    fields = tuple(field.strip().removesuffix(".0") for field in line.split(",")[8:10])
    return fields if fields == _NOTHING or {*fields} <= {"0", "1", "2"} else ()


def _width(text: TextFile, lines: list[str]) -> int:
    """How many columns all lines have; 10 if there is no line."""
    counts = [line.count(",") + 1 for line in lines]
    width = counts[0] if counts else 10
    for row, count in enumerate(counts):
        if count != width:
            raise text.wrong(row, f"{width} columns as in the lines before", str(count))
    return width


def _with_class(text: TextFile, lines: list[str], max_columns: int | None = 10) -> list[str]:
    """The lines, where those of 7 columns got -1 as their class."""
    counts = [line.count(",") + 1 for line in lines]
    for row, count in enumerate(counts):
        if count < 7:
            raise text.wrong(row, "at least 7 columns", str(count))
        if max_columns is not None and count > max_columns:
            raise text.wrong(row, f"at most {max_columns} columns", str(count))
    return [
        f"{line},{NO_CLASS}" if count == 7 else line
        for line, count in zip(lines, counts, strict=True)
    ]
