"""Tracks of any tool as tracklets, within which the identity is sure: they may be linked anew.

A track is split where it was not seen, where another box that hid it has gone, and where its
appearance is that of another from one moment on. To split too often costs little: what belongs
together is linked again (see `linking`), with what the tool decided as evidence.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from masa_cli.boxes import iou, wholly_outside
from masa_cli.structures import (
    BoolArray,
    CameraMotion,
    EndedTracklets,
    FloatArray,
    FrameTracks,
    TrackletRecord,
    Tracks,
)
from masa_cli.tracking.appearance import SimilarityDensities, normalised

_EVERY = 5  # frames, after which tracks of one frame are compared as impostors


@dataclass(frozen=True, slots=True)
class SplittingSettings:
    """Where a track is split."""

    window: int = 5  # boxes on either side, whose mean embeddings are compared
    max_gap: int = 2  # frames in which a track may be unseen without being split
    occlusion_iou: float = 0.3  # a box that overlaps another by more is occluded
    max_llr: float = -1.0  # of both sides being one object, at a split


@dataclass(frozen=True, slots=True, eq=False)
class TracksSeen:
    """The tracks of one frame, and what is seen of them.

    Attributes:
        frame: index, time and tracks.
        embeddings: (N, D) of its rows.
        motion: of the camera since the frame before.
        frame_size: width and height, pixels.
    """

    frame: FrameTracks
    embeddings: FloatArray
    motion: CameraMotion
    frame_size: tuple[int, int] | None = None

    def clear(self, settings: SplittingSettings) -> tuple[BoolArray, BoolArray]:
        """(N,) which boxes are occluded by another, and which show what they are of."""
        tracks = self.frame.tracks
        shared = iou(tracks.boxes, tracks.boxes)
        np.fill_diagonal(shared, 0)
        occluded = shared.max(axis=1, initial=0) > settings.occlusion_iou
        shows = ~occluded & ~tracks.interpolated & self.embeddings.any(axis=1)
        if self.frame_size is not None:
            shows &= ~wholly_outside(tracks.boxes, *self.frame_size)
        return occluded, shows


@dataclass(slots=True, eq=False)
class _Windows:
    """The last boxes of a track that showed it, and how alike they were to those before."""

    frames: deque[int]
    embeddings: deque[FloatArray]
    found: list[tuple[int, float]] = field(default_factory=list)  # first frame of the later, cosine


def find_switches(
    frames: Iterable[TracksSeen], settings: SplittingSettings
) -> dict[int, list[int]]:
    """By track, frames from which on its appearance is that of another.

    What that means is learned from the video: from tracks of one frame, which are different
    objects, and from tracks a moment later.
    """
    windows: dict[int, _Windows] = {}
    densities = SimilarityDensities()
    width = settings.window
    for seen in frames:
        _, shows = seen.clear(settings)
        unit = normalised(seen.embeddings)
        ids = seen.frame.tracks.ids.tolist()
        for row in np.flatnonzero(shows).tolist():
            track = windows.setdefault(
                ids[row], _Windows(deque(maxlen=2 * width), deque(maxlen=2 * width))
            )
            track.frames.append(seen.frame.index)
            track.embeddings.append(unit[row])
            if len(track.frames) == 2 * width:
                earlier, later = _halves(track, width)
                track.found.append((track.frames[width], float(earlier @ later)))
        if seen.frame.index % _EVERY == 0:
            full = [windows[id_] for id_ in ids if id_ in windows]
            full = [track for track in full if len(track.frames) == 2 * width]
            if len(full) > 1:
                means = np.stack([_halves(track, width)[1] for track in full])
                pairs = np.triu_indices(len(full), 1)
                densities.learn_impostors((means @ means.T)[pairs])
    for track in windows.values():
        own = np.array([similarity for _, similarity in track.found[::width]], np.float32)
        densities.learn_own(own)
    return {
        id_: switches
        for id_, track in windows.items()
        if (switches := _lowest(track.found, densities, settings))
    }


def _halves(track: _Windows, width: int) -> tuple[FloatArray, FloatArray]:
    """(D,) means of the earlier and the later boxes, of length 1."""
    rows = np.stack(list(track.embeddings))
    means = normalised(np.stack([rows[:width].sum(axis=0), rows[width:].sum(axis=0)]))
    return means[0], means[1]


def _lowest(
    found: Sequence[tuple[int, float]], densities: SimilarityDensities, settings: SplittingSettings
) -> list[int]:
    """Frames where both sides are least alike, of each stretch in which they are too little so."""
    if not found:
        return []
    llr = densities.llr(np.array([similarity for _, similarity in found], np.float32))
    below = llr <= settings.max_llr
    switches: list[int] = []
    start = 0
    while start < len(found):
        if not below[start]:
            start += 1
            continue
        stop = start
        while stop < len(found) and below[stop]:
            stop += 1
        best = min(range(start, stop), key=lambda row: found[row][1])
        switches.append(found[best][0])
        start = stop
    return switches


@dataclass(slots=True, eq=False)
class _Open:
    """The tracklet that a track is in."""

    number: int
    last: int  # frame in which it was seen
    occluded: bool
    total: FloatArray


class TrackletSplitter:
    """Gives the tracks of each frame their tracklets.

    Args:
        switches: by track, frames with which another tracklet begins.
        settings: where a track is split besides.
    """

    def __init__(self, switches: Mapping[int, Sequence[int]], settings: SplittingSettings) -> None:
        self._switches = {id_: set(frames) for id_, frames in switches.items()}
        self._settings = settings
        self._open: dict[int, _Open] = {}
        self.owners: dict[int, int] = {}  # the track of each tracklet

    def split(self, frames: Iterable[TracksSeen]) -> Iterator[FrameTracks]:
        """The same frames with records of their tracklets."""
        for seen in frames:
            yield self._split(seen)

    def finish(self) -> EndedTracklets:
        """Those that were not over with the last frame."""
        return _ended(list(self._open.values()))

    def _split(self, seen: TracksSeen) -> FrameTracks:
        settings, frame = self._settings, seen.frame
        occluded, shows = seen.clear(settings)
        unit = normalised(seen.embeddings)
        over = [] if not seen.motion.is_cut else list(self._open)
        ended = [self._open.pop(id_) for id_ in over]
        numbers = np.zeros(len(frame.tracks), np.int64)
        for row, id_ in enumerate(frame.tracks.ids.tolist()):
            own = self._open.get(id_)
            if own is not None and (
                frame.index - own.last > settings.max_gap + 1
                or (own.occluded and not occluded[row])
                or frame.index in self._switches.get(id_, ())
            ):
                ended.append(self._open.pop(id_))
                own = None
            if own is None:
                number = len(self.owners) + 1
                self.owners[number] = id_
                own = self._open[id_] = _Open(number, frame.index, False, np.zeros_like(unit[row]))
            own.last, own.occluded = frame.index, bool(occluded[row])
            if shows[row]:
                own.total = own.total + unit[row]
            numbers[row] = own.number
        record = TrackletRecord(numbers, Tracks.empty(), _ended(ended), seen.motion)
        return FrameTracks(frame.index, frame.time, frame.tracks, record)


def _ended(tracklets: Sequence[_Open]) -> EndedTracklets:
    if not tracklets:
        return EndedTracklets.none()
    numbers = np.array([each.number for each in tracklets], np.int64)
    return EndedTracklets(numbers, normalised(np.stack([each.total for each in tracklets])))
