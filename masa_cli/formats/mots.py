"""MOTS text: masks with identities, in and out; and images of identities, out.

Space separated, no header: `frame id class height width rle`, the mask as COCO's compressed run
lengths. Frames count from 1 in MOTSChallenge, from 0 in KITTI MOTS; ids are by custom the class
times 1000 and a number. Class 10 is a region where nothing is scored, in truth only.
"""

from __future__ import annotations

import logging
import re
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import cv2
import numpy as np

from masa_cli.errors import OutputError
from masa_cli.formats.files import FileWriter, PartFile, PartFolder, TextFile
from masa_cli.formats.tables import NAMELESS, TrackTable, numbered
from masa_cli.masks import as_array, first_bad, frames_of, id_map, without_overlaps
from masa_cli.structures import Frame, IntArray, Mask, Tracks, VideoInfo

logger = logging.getLogger(__name__)

IGNORE = 10  # the class of regions where nothing is scored

# Lowest value of the columns of numbers; the first is that of the frame, which the caller knows.
_COLUMNS = {"frame number": 0, "id": 0, "class number": 0, "height": 1, "width": 1}

# MOTSChallenge and KITTI MOTS have these two; the former has pedestrians only and names none.
_NUMBERS: Mapping[str, int] = MappingProxyType(
    {"car": 1, "pedestrian": 2, "person": 2, NAMELESS: 2}
)

MAX_ID = 2**16 - 1  # the highest id a pixel can hold
_IMAGE_NAME = re.compile(r"\d+\.png")


def read_tracks(path: Path) -> TrackTable:
    """Read masks as tracks: boxes are those around them, ignore regions are left out.

    Class numbers become names as they are, but for car and pedestrian; all scores are 1. Frames
    count from 1, or from 0 where it occurs, as in KITTI MOTS, which is said.

    Raises:
        SourceError: a line is malformed.
    """
    rows = read_masks(path, first_frame=0)
    first = int(rows.frames.min(initial=1) > 0)
    if not first:
        logger.warning("%s: frames count from 0, as in KITTI MOTS", path)
    kept = np.flatnonzero(rows.classes != IGNORE)
    masks = [Mask((int(h), int(w)), rows.masks[row]) for row, (h, w) in _sized(kept, rows.sizes)]
    names = {1: "car", 2: "pedestrian"}
    numbers = rows.classes[kept].tolist()
    labels, classes = numbered([names.get(number, str(number)) for number in numbers])
    tracks = Tracks(
        frames_of(masks),
        np.ones(len(kept), np.float32),
        labels,
        rows.ids[kept],
        masks=as_array(masks),
    )
    return TrackTable.from_rows(path, rows.frames[kept] - first, tracks, classes or (NAMELESS,))


class MotsTracksWriter(FileWriter["MotsWriter"]):
    """A sink that writes a line for each mask; boxes without a mask are left out.

    Args:
        path: replaced at a clean close; until then `<path>.part`.
        classes: names of the labels.
    """

    def __init__(self, path: Path, *, classes: Sequence[str]) -> None:
        super().__init__(MotsWriter(path))
        self._numbers = np.array(class_numbers(classes), np.int64)

    def write(self, frame: Frame, tracks: Tracks) -> None:
        """Append one frame."""
        apart = without_overlaps(tracks)
        apart = apart[apart.has_mask]
        if not len(apart):
            return
        self._file.write(
            frame.index,
            apart.ids,
            self._numbers[apart.labels],
            apart.masks[0].size,
            [mask.counts for mask in apart.masks],
        )


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
    minimum = np.array([first_frame, *list(_COLUMNS.values())[1:]])
    low = np.argwhere(numbers < minimum)
    if len(low):
        row, column = (int(index) for index in low[0])
        expected = f"a {list(_COLUMNS)[column]} from {minimum[column]}"
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


class MotsWriter(FileWriter[PartFile]):
    """Writes masks as lines of `frame id class height width rle`.

    Args:
        path: replaced at a clean close; until then `<path>.part`.
        first_frame: number of the first frame: 1 for MOTSChallenge, 0 for KITTI MOTS.
    """

    def __init__(self, path: Path, *, first_frame: int = 1) -> None:
        super().__init__(PartFile(path))
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


def class_numbers(classes: Sequence[str]) -> list[int]:
    """The number of each class: those of the benchmarks, and from 11 on for all others."""
    return [_NUMBERS.get(name, IGNORE + 1 + label) for label, name in enumerate(classes)]


class IdMapWriter(FileWriter[PartFolder]):
    """Writes `<folder>/000001.png` and so on, frames from 1 as MOTChallenge counts them.

    Higher scores lie on top. The folder is `<folder>.part` until it is closed without an exception.

    Args:
        folder: for the images. An earlier one is replaced, if it holds nothing but such.
        info: of the video.

    Raises:
        OutputError: there is something else in the folder, or it cannot be made.
    """

    def __init__(self, folder: Path, *, info: VideoInfo) -> None:
        super().__init__(PartFolder(folder, lambda name: _IMAGE_NAME.fullmatch(name) is not None))
        self._size = info.height, info.width

    def write(self, frame: Frame, tracks: Tracks) -> None:
        """Write one frame."""
        highest = int(tracks.ids.max(initial=0))
        if highest > MAX_ID:
            raise OutputError(
                f"frame {frame.index} has the id {highest}, but the pixels of "
                f"{self._file.path} hold ids up to {MAX_ID}",
                fix="leave out --masks-png",
            )
        image = id_map(tracks, self._size).astype(np.uint16)
        _, data = cv2.imencode(".png", image)
        self._file.write(f"{frame.index + 1:06d}.png", data.tobytes())


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


def _sized(rows: IntArray, sizes: IntArray) -> list[tuple[int, list[int]]]:
    """Each row with its height and width."""
    return list(zip(rows.tolist(), sizes[rows].tolist(), strict=True))
