"""All tracks of a file at once, as columns: what every reader of tracks gives."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from masa_cli.errors import SourceError
from masa_cli.structures import Frame, IntArray, MaskArray, Tracks

# Four days at 30 frames/s. A frame number beyond is damage, and would keep writers busy for ever.
MOST_FRAMES = 10_000_000


@dataclass(frozen=True, slots=True, eq=False)
class TrackTable:
    """The tracks of a whole video, sorted by frame.

    Attributes:
        frames: (M,) int64 from 0, never decreasing.
        tracks: (M,) rows.
        classes: names that labels index.
        num_frames: of the video, as far as the file tells: at least one more than the last frame.
        times: (num_frames,) seconds, or None where the file does not tell.
        size: width and height of the video, pixels, or None.
    """

    frames: IntArray
    tracks: Tracks
    classes: tuple[str, ...]
    num_frames: int
    times: NDArray[np.float64] | None = None
    size: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if self.frames.shape != (len(self.tracks),) or np.any(np.diff(self.frames) < 0):
            raise ValueError(f"frames must be ({len(self.tracks)},) and sorted, got {self.frames}")
        if len(self.frames) and self.frames[-1] >= self.num_frames:
            raise ValueError(f"frame {self.frames[-1]} is past the last of {self.num_frames}")
        if self.times is not None and self.times.shape != (self.num_frames,):
            raise ValueError(f"times must be ({self.num_frames},), got {self.times.shape}")

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
        times: NDArray[np.float64] | None = None,
        size: tuple[int, int] | None = None,
    ) -> TrackTable:
        """Sort rows of any order by frame, equal frames as they come.

        Args:
            path: the file, for errors.
            frames: (M,) from 0.
            tracks: (M,) rows.
            classes: names that labels index.
            num_frames: more than the rows tell of, where the file knows; else 0.
            times: see the attribute.
            size: see the attribute; where there are masks, theirs.

        Raises:
            SourceError: an identity is twice in a frame, or below 1; a frame is beyond MOST_FRAMES;
                masks are of different sizes.
        """
        check_frame(path, int(frames.max(initial=0)))
        order = np.argsort(frames, kind="stable")
        frames, tracks = frames[order], tracks[order]
        if np.any(tracks.ids < 1):
            row = int(np.argmax(tracks.ids < 1))
            raise SourceError(
                f"{path} frame {frames[row]}: expected ids from 1, got {tracks.ids[row]}",
                fix="give tracks; detections without identities cannot be converted",
            )
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
            frames, tracks, classes, max(min(num_frames, MOST_FRAMES), last), times, size
        )

    def of_frames(self, time_base: Fraction) -> Iterator[tuple[Frame, Tracks]]:
        """Every frame, without its picture, and its tracks.

        Args:
            time_base: seconds from frame to frame, where the file tells no times.
        """
        edges = np.searchsorted(self.frames, np.arange(self.num_frames + 1))
        for index in range(self.num_frames):
            time = index * time_base if self.times is None else Fraction(self.times[index])
            rows = slice(int(edges[index]), int(edges[index + 1]))
            yield Frame.without_image(index, time), self.tracks[rows]


def check_frame(path: Path, frame: int) -> None:
    """Raise SourceError for a frame number that no video reaches."""
    if frame >= MOST_FRAMES:
        raise SourceError(
            f"{path}: frame {frame} is beyond {MOST_FRAMES}, the most there can be",
            fix="check the frame numbers",
        )


def _size_of_masks(path: Path, masks: MaskArray) -> tuple[int, int] | None:
    """Width and height of the pictures that masks are of, if there are masks."""
    sizes = {mask.size[::-1] for mask in masks if mask is not None}
    if len(sizes) > 1:
        (first_width, first_height), (width, height) = sorted(sizes)[:2]
        raise SourceError(
            f"{path} has masks of {first_width} x {first_height} and of {width} x {height} pixels",
            fix="give masks of one video, all at its full size",
        )
    return sizes.pop() if sizes else None


def numbered(names: list[str]) -> tuple[IntArray, tuple[str, ...]]:
    """(M,) labels for the name of each row, and the names, numbered as they appear."""
    classes: dict[str, int] = {}
    labels = [classes.setdefault(name, len(classes)) for name in names]
    return np.array(labels, np.int64), tuple(classes)
