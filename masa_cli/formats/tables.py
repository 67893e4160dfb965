"""All tracks, or all detections, of a file at once, as columns: what every reader gives."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from masa_cli.boxes import wholly_outside
from masa_cli.errors import SourceError
from masa_cli.formats.files import TextFile
from masa_cli.formats.headers import fields_of
from masa_cli.formats.times import FrameTimes
from masa_cli.structures import (
    BoolArray,
    Detections,
    FloatArray,
    Frame,
    FrameTracks,
    IntArray,
    MaskArray,
    Tracks,
)

logger = logging.getLogger(__name__)

# Four days at 30 frames/s. A frame number beyond is damage, and would keep writers busy for ever.
MAX_FRAMES = 10_000_000

# Readers refuse numbers of this size and above: float32 would tell pixels apart no finer than 64.
LARGEST = 1e9

_OVER = 0.5  # share of the picture by which boxes that are given in shares may be outside

# The largest identity that is kept as it is: more than int32 holds, writers and other programs do
# not take. The largest that is read is MAX_ID.
_LARGEST_KEPT_ID = 2**31 - 1
MAX_ID = 2**63 - 1
NO_TRACKS = "give tracks; detections without identities cannot be converted"
NO_ID = -1  # in place of an identity, in rows of boxes that no tracker took
_LARGEST_EXACT = 2**53  # from here, float64 does not tell whole numbers apart
_MOST_SHOWN = 100  # identities in the message that tells how they were numbered anew

# The class of boxes in files that name none.
NAMELESS = "object"

# More frames than this without a box, and more than so many for each box, are gone over at once.
_MAX_EMPTY = 100_000
_MOST_SPARSE = 1000
_MOST_BETWEEN = 1_000_000  # frames from keyframe to keyframe: nine hours


@dataclass(frozen=True, slots=True, eq=False)
class TrackTable:
    """The tracks of a whole video, sorted by frame.

    Attributes:
        frames: (M,) int64 from 0, never decreasing.
        tracks: (M,) rows.
        classes: names that labels index.
        num_frames: of the video, as far as the file tells: at least one more than the last frame.
        times: of frames, or None where the file does not tell.
        size: width and height of the video, pixels, or None.
    """

    frames: IntArray
    tracks: Tracks
    classes: tuple[str, ...]
    num_frames: int
    times: FrameTimes | None = None
    size: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if self.frames.shape != (len(self.tracks),) or np.any(np.diff(self.frames) < 0):
            raise ValueError(f"frames must be ({len(self.tracks)},) and sorted, got {self.frames}")
        if len(self.frames) and self.frames[-1] >= self.num_frames:
            raise ValueError(f"frame {self.frames[-1]} is past the last of {self.num_frames}")

    def __len__(self) -> int:
        return len(self.frames)

    @staticmethod
    def from_rows(
        path: Path,
        frames: IntArray,
        tracks: Tracks,
        classes: tuple[str, ...],
        *,
        num_frames: int = 0,
        times: FrameTimes | None = None,
        size: tuple[int, int] | None = None,
    ) -> TrackTable:
        """Sort rows of any order by frame, equal frames as they come.

        Boxes of negative width or height are left out, and those of the id -1 among others. Ids
        that begin with 0 are all raised by 1, ids beyond int32 are numbered anew. A warning says so
        each time.

        Args:
            path: the file, for errors.
            frames: (M,) from 0; rows below are left out, they are of no frame of the video.
            tracks: (M,) rows.
            classes: names that labels index.
            num_frames: more than the rows tell of, where the file knows; else 0.
            times: see the attribute.
            size: see the attribute; where there are masks, theirs.

        Raises:
            SourceError: an identity is twice in a frame, or below 0; a frame is beyond MAX_FRAMES;
                masks are of different sizes.
        """
        check_frame(path, int(frames.max(initial=0)))
        order = np.argsort(frames, kind="stable")
        is_negative = np.any(tracks.boxes[:, 2:] < tracks.boxes[:, :2], axis=1)
        if num_negative := int(is_negative.sum()):
            message = "%s: %d boxes of negative width or height were left out"
            logger.warning(message, path, num_negative)
        kept = (frames >= 0) & ~is_negative & _has_id(path, tracks.ids)
        order = order[kept[order]]
        frames, tracks = frames[order], tracks[order]
        tracks = tracks.renamed(_from_1(path, frames, tracks.ids))
        pairs = np.lexsort((tracks.ids, frames))
        again = (np.diff(frames[pairs]) == 0) & (np.diff(tracks.ids[pairs]) == 0)
        if again.any():
            row = int(pairs[1:][again][0])
            raise SourceError(
                f"{path} frame {frames[row]}: id {tracks.ids[row]} is there twice",
                fix="keep one of the two",
            )
        size = _size_of_masks(path, tracks.masks) or size
        last = int(frames[-1]) + 1 if len(frames) else 0
        return TrackTable(
            frames, tracks, classes, max(min(num_frames, MAX_FRAMES), last), times, size
        )

    def in_pixels(self, path: Path, size: tuple[int, int] | None) -> TrackTable:
        """The table with boxes in pixels of the video; see `DetectionTable.in_pixels`."""
        boxes = _in_pixels(path, self.tracks.boxes, size)
        return replace(self, tracks=replace(self.tracks, boxes=boxes))

    def moved(self, path: Path, frames: IntArray) -> TrackTable:
        """The rows in other frames, times with them; see `from_rows`."""
        times = None
        if self.times is not None:
            kept = frames >= 0
            times = FrameTimes.of_rows(path, frames[kept], self.times.at(self.frames[kept]))
        return TrackTable.from_rows(
            path, frames, self.tracks, self.classes, times=times, size=self.size
        )

    def of_frames(self, time_base: Fraction) -> Iterator[tuple[Frame, Tracks]]:
        """Every frame, without its image, and its tracks.

        Where nearly all of very many frames have none, only those that have some and the last one:
        a single number that is far off must not keep writers busy for ever.

        Args:
            time_base: seconds from frame to frame, where the file tells no times.
        """
        distinct, starts = np.unique(self.frames, return_index=True)
        stops = np.append(starts[1:], len(self)).tolist()
        rows = dict(zip(distinct.tolist(), map(slice, starts.tolist(), stops), strict=True))
        indices: Sequence[int] = range(self.num_frames)
        if self.num_frames > _MAX_EMPTY + _MOST_SPARSE * len(self):
            indices = sorted({*rows, self.num_frames - 1})
        seconds = self.times.at(np.array(indices, np.int64)) if self.times else None
        for position, index in enumerate(indices):
            time = index * time_base if seconds is None else Fraction(float(seconds[position]))
            yield Frame.without_image(index, time), self.tracks[rows.get(index, slice(0))]

    def reader(self, time_base: Fraction) -> TableReader:
        """Its frames, for those who take them as from a file that is read line by line.

        Args:
            time_base: seconds from frame to frame, where the file tells no times.
        """
        return TableReader(self, time_base)


class TableReader:
    """The frames of a table, one by one, as those of `TracksReader`.

    Args:
        table: the tracks.
        time_base: seconds from frame to frame, where the table tells no times.
    """

    def __init__(self, table: TrackTable, time_base: Fraction) -> None:
        self._table, self._time_base = table, time_base

    @property
    def classes(self) -> tuple[str, ...]:
        """Names that labels index."""
        return self._table.classes

    def __iter__(self) -> Iterator[FrameTracks]:
        for frame, tracks in self._table.of_frames(self._time_base):
            yield FrameTracks(frame.index, float(frame.time), tracks)


@dataclass(frozen=True, slots=True, eq=False)
class DetectionTable:
    """The detections of a whole video, sorted by frame.

    Attributes:
        frames: (M,) int64 from 0, never decreasing.
        boxes: (M, 4) float32 xyxy in source pixels.
        scores: (M,) float32.
        labels: (M,) int64, indices into `classes`.
        classes: names of the classes.
        masks: (M,) of Mask or None. All are None, where it is left out.
        num_empty: boxes without area that were in the file and are not here.
    """

    frames: IntArray
    boxes: FloatArray
    scores: FloatArray
    labels: IntArray
    classes: tuple[str, ...]
    masks: MaskArray = None  # type: ignore[assignment] # never None once made
    num_empty: int = 0

    def __post_init__(self) -> None:
        if self.masks is None:
            object.__setattr__(self, "masks", np.full(len(self.boxes), None))
        if self.frames.shape != (len(self.boxes),) or np.any(np.diff(self.frames) < 0):
            raise ValueError(f"frames must be ({len(self.boxes)},) and sorted, got {self.frames}")
        Detections(
            self.boxes, self.scores, self.labels, self.masks
        )  # checks the shapes of the others

    def __len__(self) -> int:
        return len(self.frames)

    @staticmethod
    def from_rows(
        frames: IntArray,
        boxes: FloatArray,
        scores: FloatArray,
        labels: IntArray,
        classes: tuple[str, ...],
        masks: MaskArray | None = None,
    ) -> DetectionTable:
        """Sort rows of any order by frame, equal frames as they come; drop boxes without area.

        Rows of frames below 0, which are of no frame of the video, are left out.
        """
        solid = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
        order = np.flatnonzero(solid & (frames >= 0))
        order = order[np.argsort(frames[order], kind="stable")]
        return DetectionTable(
            frames[order],
            boxes[order],
            scores[order],
            labels[order],
            classes,
            np.full(len(order), None) if masks is None else masks[order],
            num_empty=int(np.sum(~solid)),
        )

    @property
    def num_frames(self) -> int:
        """The shortest length of the video: one more than the last frame with a box."""
        return int(self.frames[-1]) + 1 if len(self) else 0

    def of_frame(self, index: int) -> Detections:
        """The detections of one frame, in the order of the file; none where it has none."""
        start, stop = np.searchsorted(self.frames, [index, index + 1])
        rows = slice(start, stop)
        return Detections(self.boxes[rows], self.scores[rows], self.labels[rows], self.masks[rows])

    def moved(self, path: Path, frames: IntArray) -> DetectionTable:
        """The rows in other frames; see `from_rows`."""
        check_frame(path, int(frames.max(initial=0)))
        columns = (self.boxes, self.scores, self.labels)
        table = DetectionTable.from_rows(frames, *columns, self.classes, self.masks)
        return replace(table, num_empty=self.num_empty)

    def in_pixels(self, path: Path, size: tuple[int, int] | None) -> DetectionTable:
        """The table with boxes in pixels, where they were shares of the picture, which is said.

        Args:
            path: the file, for the warning.
            size: width and height of the video, pixels; None or 0 where it is not known.
        """
        return replace(self, boxes=_in_pixels(path, self.boxes, size))

    def inside(self, width: int, height: int) -> tuple[DetectionTable, int]:
        """The boxes that share area with an image of this size, and how many were dropped.

        Boxes partly outside stay as they are.
        """
        return self._where(~wholly_outside(self.boxes, width, height))

    def before(self, num_frames: int) -> tuple[DetectionTable, int]:
        """The boxes of the first `num_frames` frames, and how many were dropped."""
        return self._where(self.frames < num_frames)

    def scored(self, min_score: float) -> tuple[DetectionTable, int]:
        """The boxes of at least this score, and how many were dropped."""
        return self._where(self.scores >= min_score)

    def _where(self, kept: BoolArray) -> tuple[DetectionTable, int]:
        table = replace(
            self,
            frames=self.frames[kept],
            boxes=self.boxes[kept],
            scores=self.scores[kept],
            labels=self.labels[kept],
            masks=self.masks[kept],
        )
        return table, len(self) - len(table)


def check_frame(path: Path, frame: int) -> None:
    """Raise SourceError for a frame number that no video reaches."""
    if frame >= MAX_FRAMES:
        raise SourceError(
            f"{path}: frame {frame} is beyond {MAX_FRAMES}, the most there can be",
            fix="check the frame numbers",
        )


def check_gap(path: Path, id_: int, first: int, last: int) -> None:
    """Raise SourceError for two keyframes of a track so far apart that a number must be wrong."""
    if last - first > _MOST_BETWEEN:
        raise SourceError(
            f"{path}: track {id_} would be interpolated from frame {first} to {last}, "
            f"over more than {_MOST_BETWEEN} frames",
            fix="check the frame numbers",
        )


def numbered(names: list[str]) -> tuple[IntArray, tuple[str, ...]]:
    """(M,) labels for the name of each row, and the names, numbered as they appear."""
    classes: dict[str, int] = {}
    labels = [classes.setdefault(name, len(classes)) for name in names]
    return np.array(labels, np.int64), tuple(classes)


def _in_pixels(path: Path, boxes: FloatArray, size: tuple[int, int] | None) -> FloatArray:
    """(N, 4) the boxes; shares of the picture, if all are, times its size."""
    low, high = boxes.min(initial=np.inf), boxes.max(initial=-np.inf)
    # Whole numbers are pixels of the corner.
    if not (len(boxes) and low >= -_OVER and high <= 1 + _OVER and np.any(boxes % 1)):
        return boxes
    if not (size and min(size)):
        logger.warning(
            "%s: boxes reach from %g to %g: they look like shares of the picture, whose size is "
            "not known; give the video or its size",
            path,
            low,
            high,
        )
        return boxes
    logger.warning(
        "%s: boxes reach from %g to %g: they were taken as shares of the picture of %d x %d pixels",
        path,
        low,
        high,
        *size,
    )
    return boxes * np.array([*size, *size], np.float32)


def _has_id(path: Path, ids: IntArray) -> BoolArray:
    """(M,) which rows have one, if any has; what is left out is said."""
    has_id: BoolArray = ids != NO_ID
    if has_id.any() and not has_id.all():
        message = "%s: %d of %d rows have no id (-1) and were left out"
        logger.warning(message, path, len(ids) - int(has_id.sum()), len(ids))
        return has_id
    return np.ones(len(ids), np.bool_)


def _from_1(path: Path, frames: IntArray, ids: IntArray) -> IntArray:
    """(M,) identities from 1 that int32 holds; raises SourceError for one below 0."""
    if np.any(ids < 0):
        row = int(np.argmax(ids < 0))
        raise SourceError(
            f"{path} frame {frames[row]}: expected ids from 1, or from 0, got {ids[row]}",
            fix=NO_TRACKS,
        )
    if ids.max(initial=0) > _LARGEST_KEPT_ID:
        return _numbered_anew(path, ids.tolist())
    if np.any(ids == 0):
        logger.warning("%s: ids count from 0; all were raised by 1", path)
        return ids + 1
    return ids


def whole_ids(text: TextFile, lines: list[str], ids: NDArray[np.float64], column: int) -> IntArray:
    """(M,) int64: the numbers of a column of ids, exact where float64 is not.

    Those that int64 does not hold are numbered anew, which a warning says.

    Args:
        text: where they were read from.
        lines: comma separated, the same as those of `text` or what was read instead.
        ids: (M,) whole numbers.
        column: where they stand in a line, from 0.
    """
    if ids.max(initial=0) < _LARGEST_EXACT:
        return ids.astype(np.int64)
    fields = (fields_of(line)[column].strip() for line in lines)
    exact = [int(field) if field.isdecimal() else int(float(field or NO_ID)) for field in fields]
    return np.array(exact, np.int64) if max(exact) <= MAX_ID else _numbered_anew(text.path, exact)


def _numbered_anew(path: Path, ids: list[int]) -> IntArray:
    """(M,) from 1, in the order they appear; a warning tells the old ones."""
    anew: dict[int, int] = {}
    numbers = [anew.setdefault(id_, len(anew) + 1) for id_ in ids]
    shown = list(anew.items())[:_MOST_SHOWN]
    logger.warning(
        "%s: ids are beyond %d and were numbered anew, in the order they appear: %s%s",
        path,
        _LARGEST_KEPT_ID,
        ", ".join(f"{number} was {id_}" for id_, number in shown),
        ", …" if len(anew) > _MOST_SHOWN else "",
    )
    return np.array(numbers, np.int64)


def _size_of_masks(path: Path, masks: MaskArray) -> tuple[int, int] | None:
    """Width and height of the frames that masks are of, if there are masks."""
    sizes = {mask.size[::-1] for mask in masks if mask is not None}
    if len(sizes) > 1:
        (first_width, first_height), (width, height) = sorted(sizes)[:2]
        raise SourceError(
            f"{path} has masks of {first_width} x {first_height} and of {width} x {height} pixels",
            fix="give masks of one video, all at its full size",
        )
    return sizes.pop() if sizes else None
