"""The values that flow through the tool: frames in, detections between, tracks out.

All are frozen, and checked when made: a wrong shape is found where it is born, not ten calls later.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from fractions import Fraction
from itertools import groupby
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

FloatArray: TypeAlias = NDArray[np.float32]
IntArray: TypeAlias = NDArray[np.int64]
BoolArray: TypeAlias = NDArray[np.bool_]
MaskArray: TypeAlias = NDArray[np.object_]  # of Mask, or None where there is none
Image: TypeAlias = NDArray[np.uint8]

# What a stage must remember to continue an interrupted run: names to arrays, ready for numpy.savez.
State: TypeAlias = dict[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """What is known of a video before its frames are read.

    Attributes:
        name: stem for results ("street" for street.mp4, the sequence for <sequence>/img1).
        width: pixels, after rotation; 0 when the frames have no images.
        height: pixels, after rotation; 0 when the frames have no images.
        frame_rate: frames per second, exact (30000/1001, not 29.97).
        time_base: the unit all frame times are whole multiples of, in seconds.
        num_frames: how many frames to expect. A hint for progress bars, never a promise.
        start: when it begins in its file, seconds; the sound is taken from there on.
        has_sound: whether there may be sound in its file that is in time with its frames.
        pixel_aspect: how wide a pixel is shown for its height, after rotation.
    """

    name: str
    width: int
    height: int
    frame_rate: Fraction
    time_base: Fraction
    num_frames: int | None = None
    start: Fraction = Fraction(0)
    has_sound: bool = True
    pixel_aspect: Fraction = Fraction(1)

    def __post_init__(self) -> None:
        if self.frame_rate <= 0 or self.time_base <= 0:
            raise ValueError(f"frame_rate and time_base must be positive, got {self}")


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One image of a video.

    Attributes:
        index: from 0, without gaps.
        time: seconds since the start of the video, exact.
        image: (H, W, 3) uint8 RGB, upright; (0, 0, 3) where only the time is known.
    """

    index: int
    time: Fraction
    image: Image

    def __post_init__(self) -> None:
        if self.image.ndim != 3 or self.image.shape[2] != 3 or self.image.dtype != np.uint8:
            raise ValueError(
                f"image must be (H, W, 3) uint8, got {self.image.shape} {self.image.dtype}"
            )

    @staticmethod
    def without_image(index: int, time: Fraction) -> Frame:
        """A frame of which only its time is known."""
        return Frame(index, time, np.empty((0, 0, 3), np.uint8))


def of_one_size(frames: Sequence[Frame]) -> Iterator[list[Frame]]:
    """The frames in their order; neighbours whose images have one shape are in one list."""
    for _, run in groupby(frames, lambda frame: frame.image.shape):
        yield list(run)


@dataclass(frozen=True, slots=True)
class Mask:
    """Which pixels of a frame show an object; never empty.

    Attributes:
        size: height and width of the frame, pixels.
        counts: COCO's compressed run lengths, see `masks`.
    """

    size: tuple[int, int]
    counts: str


@dataclass(frozen=True, slots=True, eq=False)
class Detections:
    """The boxes a detector found in one frame.

    Attributes:
        boxes: (N, 4) float32 xyxy in source pixels.
        scores: (N,) float32.
        labels: (N,) int64, indices into the detector's `classes`.
        masks: (N,) of Mask or None. All are None, where it is left out.
    """

    boxes: FloatArray
    scores: FloatArray
    labels: IntArray
    masks: MaskArray = None  # type: ignore[assignment] # never None once made

    def __post_init__(self) -> None:
        if self.masks is None:
            object.__setattr__(self, "masks", np.full(len(self.boxes), None))
        _check_rows(self.boxes, scores=self.scores, labels=self.labels, masks=self.masks)

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, rows: IntArray | BoolArray | slice) -> Detections:
        return Detections(*(getattr(self, each.name)[rows] for each in fields(self)))

    def named(self, ids: IntArray, margins: FloatArray | None = None) -> Tracks:
        """The same boxes with identities, and how sure these are; see `Tracks`."""
        columns = (self.boxes, self.scores, self.labels, ids)
        if margins is None:
            return Tracks(*columns, masks=self.masks)
        return Tracks(*columns, masks=self.masks, margins=margins)

    @staticmethod
    def empty() -> Detections:
        """No boxes."""
        return Detections(
            np.empty((0, 4), np.float32), np.empty(0, np.float32), np.empty(0, np.int64)
        )


@dataclass(frozen=True, slots=True, eq=False)
class Tracks:
    """The boxes of one frame that carry an identity.

    Attributes:
        boxes: (N, 4) float32 xyxy in source pixels.
        scores: (N,) float32.
        labels: (N,) int64, indices into the detector's `classes`.
        ids: (N,) int64, from 1, each at most once in a frame.
        interpolated: (N,) bool, whether no detector found the box: it was put between others of
            its track afterwards. None are, where it is left out.
        masks: (N,) of Mask or None. All are None, where it is left out.
        margins: (N,) float32, how much likelier (log-likelihood ratio) the match with this identity
            was than what else was possible, where the tracker was not sure; else infinite. All are,
            where it is left out.
    """

    boxes: FloatArray
    scores: FloatArray
    labels: IntArray
    ids: IntArray
    interpolated: BoolArray = None  # type: ignore[assignment] # never None once made
    masks: MaskArray = None  # type: ignore[assignment] # never None once made
    margins: FloatArray = None  # type: ignore[assignment] # never None once made

    def __post_init__(self) -> None:
        if self.margins is None:
            object.__setattr__(self, "margins", np.full(len(self.boxes), np.inf, np.float32))
        if self.interpolated is None:
            object.__setattr__(self, "interpolated", np.zeros(len(self.boxes), np.bool_))
        if self.masks is None:
            object.__setattr__(self, "masks", np.full(len(self.boxes), None))
        _check_rows(
            self.boxes,
            scores=self.scores,
            labels=self.labels,
            ids=self.ids,
            interpolated=self.interpolated,
            masks=self.masks,
            margins=self.margins,
        )

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, rows: IntArray | BoolArray | slice) -> Tracks:
        return Tracks(*(getattr(self, each.name)[rows] for each in fields(self)))

    @property
    def has_mask(self) -> BoolArray:
        """(N,) which boxes have a mask."""
        return np.array([mask is not None for mask in self.masks], np.bool_)

    def renamed(self, ids: IntArray) -> Tracks:
        """The same boxes under other identities."""
        return replace(self, ids=ids)

    @staticmethod
    def joined(parts: Iterable[Tracks]) -> Tracks:
        """The rows of several, one after the other."""
        parts = [Tracks.empty(), *parts]
        names = (each.name for each in fields(Tracks))
        return Tracks(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))

    @staticmethod
    def empty() -> Tracks:
        """No boxes."""
        return Tracks(
            np.empty((0, 4), np.float32),
            np.empty(0, np.float32),
            np.empty(0, np.int64),
            np.empty(0, np.int64),
        )


def _check_rows(boxes: FloatArray, **columns: NDArray[Any]) -> None:
    """Raise ValueError unless boxes are (N, 4) and every column has N entries."""
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ValueError(f"boxes must have shape (N, 4), got {boxes.shape}")
    for name, column in columns.items():
        if column.shape != (len(boxes),):
            raise ValueError(f"{name} must have shape ({len(boxes)},), got {column.shape}")


@dataclass(frozen=True, slots=True, eq=False)
class CameraMotion:
    """Where the points of the frame before lie in this frame.

    Attributes:
        matrix: (2, 3) float64, a similarity in source pixels: linear part, then shift.
        is_cut: another scene begins; the matrix is the identity and means nothing.
    """

    matrix: NDArray[np.float64]
    is_cut: bool = False

    def __post_init__(self) -> None:
        if self.matrix.shape != (2, 3) or self.matrix.dtype != np.float64:
            raise ValueError(
                f"matrix must be (2, 3) float64, got {self.matrix.shape} {self.matrix.dtype}"
            )

    @staticmethod
    def identity(*, is_cut: bool = False) -> CameraMotion:
        """The camera stood still, or nothing is known of it."""
        return CameraMotion(np.eye(2, 3), is_cut)

    @property
    def linear(self) -> NDArray[np.float64]:
        """(2, 2) rotation times scale; for velocities and covariances, too."""
        return self.matrix[:, :2]

    @property
    def shift(self) -> NDArray[np.float64]:
        """(2,) x, y in source pixels, of the image's upper left corner."""
        return self.matrix[:, 2]

    def moves(self) -> bool:
        """Whether any point lies elsewhere than before."""
        return not np.array_equal(self.matrix, np.eye(2, 3))


@dataclass(frozen=True, slots=True, eq=False)
class Observation:
    """All that a tracker is given of one frame: the seam between pixels and association.

    Attributes:
        index: of the frame, from 0; grows from one observation to the next.
        time: seconds since the start of the video; grows, too.
        detections: N boxes.
        embeddings: (N, D) float32, one row per box; D is 0 where appearance is not known.
        motion: of the camera since the frame before.
        frame_size: width and height, pixels; None where there are no images.
    """

    index: int
    time: float
    detections: Detections
    embeddings: FloatArray
    motion: CameraMotion = field(default_factory=CameraMotion.identity)
    frame_size: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if self.embeddings.ndim != 2 or len(self.embeddings) != len(self.detections):
            raise ValueError(
                f"embeddings must be ({len(self.detections)}, D), got {self.embeddings.shape}"
            )


@dataclass(frozen=True, slots=True, eq=False)
class EndedTracklets:
    """Tracklets that go on no further.

    Attributes:
        numbers: (E,) of them.
        embeddings: (E, D) float32, the mean of those of their unoccluded boxes, length 1; 0 where
            no box was unoccluded.
    """

    numbers: IntArray
    embeddings: FloatArray

    def __post_init__(self) -> None:
        if self.embeddings.ndim != 2 or len(self.embeddings) != len(self.numbers):
            raise ValueError(
                f"embeddings must be ({len(self.numbers)}, D), got {self.embeddings.shape}"
            )

    def __add__(self, other: EndedTracklets) -> EndedTracklets:
        return EndedTracklets(
            np.concatenate([self.numbers, other.numbers]),
            np.concatenate([self.embeddings, other.embeddings]),
        )

    @staticmethod
    def none() -> EndedTracklets:
        """Nothing has ended."""
        return EndedTracklets(np.empty(0, np.int64), np.empty((0, 0), np.float32))


@dataclass(frozen=True, slots=True, eq=False)
class TrackletRecord:
    """What offline refinement needs of a frame, beyond the tracks that a live run shows.

    A tracklet is a stretch of a track in which it was never lost and never occluded by another:
    within it, the identity is sure. Tracklets are numbered from 1.

    Attributes:
        tracklets: (N,) the tracklet of each row of the frame's tracks.
        tentative: boxes that may turn out to be a track; their ids are tracklets.
        ended: tracklets that were over before this frame, or with it.
        motion: of the camera since the frame before.
    """

    tracklets: IntArray
    tentative: Tracks
    ended: EndedTracklets
    motion: CameraMotion


@dataclass(frozen=True, slots=True, eq=False)
class FrameTracks:
    """The tracks of one frame.

    Attributes:
        index: of the frame, from 0.
        time: seconds since the start of the video.
        tracks: boxes with identities.
        record: for offline refinement; None where identities are final as they are.
    """

    index: int
    time: float
    tracks: Tracks
    record: TrackletRecord | None = None
