"""How long each track was there, and how many there were."""

from __future__ import annotations

import csv
import io
from dataclasses import asdict, dataclass, fields

import numpy as np
from numpy.typing import NDArray

from masa_cli.boxes import centres
from masa_cli.formats.tables import TrackTable
from masa_cli.formats.tabular import harmless
from masa_cli.structures import IntArray


@dataclass(frozen=True, slots=True)
class Lifetime:
    """One track.

    Attributes:
        id: of the track.
        label: the class most of its boxes have.
        first: frame in which it begins.
        last: frame in which it ends.
        boxes: how many frames it is in.
        gaps: how often it was away in between.
        begin: seconds.
        seconds: from its first frame to its last.
        score: mean.
        distance: that its centre went, pixels; jitter counts.
    """

    id: int
    label: str
    first: int
    last: int
    boxes: int
    gaps: int
    begin: float
    seconds: float
    score: float
    distance: float


@dataclass(frozen=True, slots=True)
class ClassCount:
    """All tracks of one class; see `Lifetime` for the units."""

    label: str
    tracks: int
    boxes: int
    median_seconds: float
    longest_seconds: float
    most_at_once: int


def rows_by_track(table: TrackTable) -> list[IntArray]:
    """The rows of each track, by frame; tracks in the order of their ids."""
    order = np.lexsort((table.frames, table.tracks.ids))
    starts = np.flatnonzero(np.diff(table.tracks.ids[order], prepend=0))
    return np.split(order, starts[1:]) if len(order) else []


def lifetimes(table: TrackTable, times: NDArray[np.float64]) -> list[Lifetime]:
    """Of all tracks, by id.

    Args:
        table: the tracks.
        times: (num_frames,) seconds of each frame.
    """
    found = []
    for rows in rows_by_track(table):
        frames, tracks = table.frames[rows], table.tracks[rows]
        steps = np.diff(centres(tracks.boxes).astype(np.float64), axis=0)
        first, last = int(frames[0]), int(frames[-1])
        found.append(
            Lifetime(
                id=int(tracks.ids[0]),
                label=table.classes[int(np.bincount(tracks.labels).argmax())],
                first=first,
                last=last,
                boxes=len(rows),
                gaps=int(np.sum(np.diff(frames) > 1)),
                begin=float(times[first]),
                seconds=float(times[last] - times[first]),
                score=float(tracks.scores.mean(dtype=np.float64)),
                distance=float(np.hypot(steps[:, 0], steps[:, 1]).sum()),
            )
        )
    return found


def class_counts(table: TrackTable, tracks: list[Lifetime]) -> list[ClassCount]:
    """Tracks by the class most of their boxes have, the most frequent first."""
    class_of = {track.id: track.label for track in tracks}
    counts = []
    for label in dict.fromkeys(class_of.values()):
        own = [track for track in tracks if track.label == label]
        seconds = [track.seconds for track in own]
        rows = np.isin(table.tracks.ids, [track.id for track in own])
        counts.append(
            ClassCount(
                label,
                len(own),
                sum(track.boxes for track in own),
                float(np.median(seconds)),
                max(seconds),
                int(np.bincount(table.frames[rows]).max()),
            )
        )
    return sorted(counts, key=lambda count: -count.tracks)


def as_csv(tracks: list[Lifetime]) -> bytes:
    """A row per track under a header."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in fields(Lifetime)], lineterminator="\n")
    writer.writeheader()
    for track in tracks:
        rounded = {
            name: round(value, 4) if isinstance(value, float) else value
            for name, value in asdict(track).items()
        }
        rounded["label"] = harmless(track.label)
        writer.writerow(rounded)
    return text.getvalue().encode()
