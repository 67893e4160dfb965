"""The tracks of a video by identity: what edits change, one or two identities at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np

from masa_cli.analysis.lifetimes import rows_by_track
from masa_cli.formats.tables import NAMELESS, TrackTable
from masa_cli.formats.times import FrameTimes
from masa_cli.structures import IntArray, Tracks


@dataclass(frozen=True, slots=True, eq=False)
class Track:
    """All boxes of one identity.

    Attributes:
        frames: (N,) int64 from 0, increasing, at least one.
        rows: (N,) of the same identity.
    """

    frames: IntArray
    rows: Tracks

    def __post_init__(self) -> None:
        if not len(self.frames) or len(self.frames) != len(self.rows):
            raise ValueError(f"a track has a box per frame, got {len(self.frames)} frames")

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def id(self) -> int:
        """Its identity."""
        return int(self.rows.ids[0])

    @property
    def label(self) -> int:
        """The class that most of its boxes have."""
        return int(np.bincount(self.rows.labels).argmax())

    def renamed(self, id_: int) -> Track:
        """The same boxes under another identity."""
        return Track(self.frames, self.rows.renamed(np.full(len(self), id_, np.int64)))

    def between(self, first: int, last: int) -> Track | None:
        """Its boxes from one frame to another, both included; None if there are none."""
        start, stop = np.searchsorted(self.frames, [first, last + 1])
        return self._part(np.arange(start, stop))

    def without(self, first: int, last: int) -> Track | None:
        """Its boxes before and after these frames; None if there are none."""
        start, stop = np.searchsorted(self.frames, [first, last + 1])
        return self._part(np.r_[0:start, stop : len(self)])

    def joined(self, *others: Track | None) -> Track:
        """With the boxes of others, under this identity; ValueError where frames are twice."""
        parts = [self, *(each.renamed(self.id) for each in others if each)]
        frames = np.concatenate([each.frames for each in parts])
        order = np.argsort(frames, kind="stable")
        if np.any(np.diff(frames[order]) == 0):
            raise ValueError("a frame is in both tracks")
        return Track(frames[order], Tracks.joined(each.rows for each in parts)[order])

    def _part(self, rows: IntArray) -> Track | None:
        return Track(self.frames[rows], self.rows[rows]) if len(rows) else None


# What an edit makes of identities: their new tracks, None for those that are no more.
Patch = Mapping[int, Track | None]


def changed_frames(before: Patch, after: Patch) -> tuple[int, int] | None:
    """The first and the last frame of what an edit changed but for the names of identities.

    That is boxes that come or go, and what follows what: of two tracks that are swapped from a
    frame on, only the steps into that frame. None where nothing else is changed.
    """
    changed = [np.frombuffer(link) for link in _links(before) ^ _links(after)]
    frames = [frame for link in changed for frame in link[[0, _FACTS]] if frame >= 0]
    return (int(min(frames)), int(max(frames))) if frames else None


def settled(before: Patch, after: Patch) -> Patch:
    """What an edit has made, without the tracker's doubts where somebody has put it right."""
    known = _links(before)

    def sure(track: Track | None) -> Track | None:
        if track is None or not np.isfinite(track.rows.margins).any():
            return track
        new = np.array([link not in known for link in _links_of(track)[:-1]])
        margins = np.where(new, np.float32(np.inf), track.rows.margins)
        return Track(track.frames, replace(track.rows, margins=margins))

    return {id_: sure(track) for id_, track in after.items()}


_FACTS = 6  # numbers that tell a box: frame, four sides, whether it is interpolated


def _links(patch: Patch) -> set[bytes]:
    return {link for track in patch.values() if track for link in _links_of(track)}


def _links_of(track: Track) -> list[bytes]:
    """What leads to each box, and to the end: the box before and the box itself."""
    facts = np.full((len(track) + 2, _FACTS), -1.0)
    facts[1:-1, 0], facts[1:-1, 1:5] = track.frames, track.rows.boxes
    facts[1:-1, 5] = track.rows.interpolated
    links = np.ascontiguousarray(np.concatenate([facts[:-1], facts[1:]], axis=1))
    told: list[bytes] = links.view(f"V{links.itemsize * links.shape[1]}").ravel().tolist()
    return told


@dataclass(frozen=True, slots=True, eq=False)
class TracksById:
    """The tracks of a video.

    Attributes:
        tracks: by identity.
        classes: names that labels index.
        num_frames: of the video, as far as is known.
        times: of frames, or None where nothing tells.
        size: width and height of the video, pixels, or None.
    """

    tracks: Mapping[int, Track]
    classes: tuple[str, ...]
    num_frames: int
    times: FrameTimes | None = None
    size: tuple[int, int] | None = None

    @staticmethod
    def of(table: TrackTable) -> TracksById:
        """Those of a table."""
        tracks = {}
        for rows in rows_by_track(table):
            track = Track(table.frames[rows], table.tracks[rows])
            tracks[track.id] = track
        classes = table.classes or (NAMELESS,)
        return TracksById(
            MappingProxyType(tracks), classes, table.num_frames, table.times, table.size
        )

    @property
    def free_id(self) -> int:
        """The smallest identity beyond all that exist."""
        return max(self.tracks, default=0) + 1

    def patched(self, patch: Patch, classes: tuple[str, ...]) -> TracksById:
        """After an edit."""
        tracks = dict(self.tracks)
        for id_, track in patch.items():
            if track is None:
                tracks.pop(id_, None)
            else:
                tracks[id_] = track
        lasts = [int(track.frames[-1]) + 1 for track in patch.values() if track]
        num_frames = max([self.num_frames, *lasts])
        return replace(
            self, tracks=MappingProxyType(tracks), classes=classes, num_frames=num_frames
        )

    def sorted_by_id(self) -> Iterator[Track]:
        """All tracks."""
        return (self.tracks[id_] for id_ in sorted(self.tracks))

    def columns(self) -> tuple[IntArray, Tracks]:
        """Frames and rows of all tracks, one track after the other in the order of ids."""
        tracks = list(self.sorted_by_id())
        frames = np.concatenate([np.empty(0, np.int64), *(track.frames for track in tracks)])
        return frames, Tracks.joined(track.rows for track in tracks)

    def table(self) -> TrackTable:
        """The same as rows by frame, as writers take them."""
        frames, rows = self.columns()
        order = np.lexsort((rows.ids, frames))
        return TrackTable(
            frames[order], rows[order], self.classes, self.num_frames, self.times, self.size
        )


def digest_of(table: TrackTable) -> str:
    """Tells tracks apart, whatever file and format they are in: 16 hexadecimal digits."""
    order = np.lexsort((table.tracks.ids, table.frames))
    seen = hashlib.sha256()
    for column in (table.frames, *(getattr(table.tracks, each) for each in ("ids", "boxes"))):
        seen.update(np.ascontiguousarray(column[order]).tobytes())
    return seen.hexdigest()[:16]
