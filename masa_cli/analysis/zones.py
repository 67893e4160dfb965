"""Who is inside a zone, since when and for how long: visits, entries, exits, occupancy.

A border has a band around it (as lines have, see crossings.py) in which nothing is decided: a box
that trembles there neither enters nor leaves. Once it is clear that it did, that is dated back to
the frame in which it came over the border, so that times are those of the border itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from masa_cli.analysis.crossings import DEAD_BAND
from masa_cli.analysis.lifetimes import rows_by_track
from masa_cli.detectors.filter import Placement, Polygon, within_any
from masa_cli.formats.tables import TrackTable
from masa_cli.structures import BoolArray, IntArray

_SHARE_BAND = 0.05  # of a box inside, around the half, where the overlap decides
_GRID = 24  # points across a box in each direction, with which its share is measured


@dataclass(frozen=True, slots=True)
class Zone:
    """Some polygons together.

    Attributes:
        name: for results.
        polygons: at least one, pixels; inside is in any of them.
    """

    name: str
    polygons: tuple[Polygon, ...]


@dataclass(frozen=True, slots=True)
class Visit:
    """One track in one zone, from when it comes until it goes.

    Attributes:
        zone: its name.
        id: of the track.
        label: the class most of its boxes have.
        first: frame, the first one inside.
        last: frame, the last one inside, the frames of gaps before it counted.
        end: frame, the first one outside; the last one inside where it was not seen outside again.
        begin: seconds, of `first`.
        seconds: until `end`.
        entered: whether it was seen outside before; else it appeared inside.
        left: whether it was seen outside afterwards; else it vanished inside.
    """

    zone: str
    id: int
    label: str
    first: int
    last: int
    end: int
    begin: float
    seconds: float
    entered: bool
    left: bool


@dataclass(frozen=True, slots=True)
class ZoneCount:
    """What happened in a zone, of one class or of all.

    Attributes:
        zone: its name.
        label: of the class; "" for all together.
        entries: visits that were entered.
        exits: visits that were left.
        appeared: visits of those who were first seen inside.
        vanished: visits of those who were last seen inside.
        tracks: different ones.
        median_seconds: of the time that each of them was inside, all visits together.
        longest_seconds: of the same.
        peak: most of them at once.
        peak_time: seconds, when that was first.
        mean: of them in a frame.
    """

    zone: str
    label: str
    entries: int
    exits: int
    appeared: int
    vanished: int
    tracks: int
    median_seconds: float
    longest_seconds: float
    peak: int
    peak_time: float
    mean: float


def visits(
    table: TrackTable, times: NDArray[np.float64], zones: Sequence[Zone], point: Placement
) -> list[Visit]:
    """All visits, in order of time.

    Args:
        table: the tracks.
        times: (num_frames,) seconds of each frame.
        zones: with names of their own.
        point: what of a box must be inside: the middle of its lower edge, its centre, or half of
            its area.
    """
    found = []
    for rows in rows_by_track(table):
        tracks, frames = table.tracks[rows], table.frames[rows]
        label = table.classes[int(np.bincount(tracks.labels).argmax())]
        for zone in zones:
            for start, stop in _stays(*_inside(tracks.boxes.astype(np.float64), zone, point)):
                left = stop < len(rows)
                first, end = int(frames[start]), int(frames[stop if left else -1])
                found.append(
                    Visit(
                        zone=zone.name,
                        id=int(tracks.ids[0]),
                        label=label,
                        first=first,
                        last=end - 1 if left else end,
                        end=end,
                        begin=float(times[first]),
                        seconds=float(times[end] - times[first]),
                        entered=start > 0,
                        left=left,
                    )
                )
    return sorted(found, key=lambda visit: (visit.first, visit.id, visit.zone))


def occupancy(found: Sequence[Visit], num_frames: int) -> IntArray:
    """(num_frames,) how many are inside in each frame."""
    steps = np.zeros(num_frames + 1, np.int64)
    np.add.at(steps, [visit.first for visit in found], 1)
    np.add.at(steps, [visit.last + 1 for visit in found], -1)
    inside: IntArray = np.cumsum(steps[:-1])
    return inside


def zone_counts(
    found: Sequence[Visit], times: NDArray[np.float64], zones: Sequence[Zone]
) -> list[ZoneCount]:
    """For each zone all classes together, then each class by itself, if there are several.

    Args:
        found: all visits.
        times: (num_frames,) seconds of each frame.
        zones: those that were looked at; one that nobody visits has a row.
    """
    counts = []
    for zone in zones:
        own = [visit for visit in found if visit.zone == zone.name]
        labels = sorted({visit.label for visit in own})
        counts.append(_count(zone.name, labels[0] if len(labels) == 1 else "", own, times))
        for label in labels if len(labels) > 1 else []:
            of_label = [visit for visit in own if visit.label == label]
            counts.append(_count(zone.name, label, of_label, times))
    return counts


def _count(zone: str, label: str, own: Sequence[Visit], times: NDArray[np.float64]) -> ZoneCount:
    seconds: dict[int, float] = {}
    for visit in own:
        seconds[visit.id] = seconds.get(visit.id, 0.0) + visit.seconds
    inside = occupancy(own, len(times))
    peak = int(inside.max(initial=0))
    return ZoneCount(
        zone,
        label,
        entries=sum(visit.entered for visit in own),
        exits=sum(visit.left for visit in own),
        appeared=sum(not visit.entered for visit in own),
        vanished=sum(not visit.left for visit in own),
        tracks=len(seconds),
        median_seconds=float(np.median([*seconds.values()])) if seconds else 0.0,
        longest_seconds=max(seconds.values(), default=0.0),
        peak=peak,
        peak_time=float(times[int(inside.argmax())]) if peak else 0.0,
        mean=float(inside.mean()) if len(inside) else 0.0,
    )


def _inside(
    boxes: NDArray[np.float64], zone: Zone, point: Placement
) -> tuple[BoolArray, BoolArray]:
    """(N,) whether each box is inside, and whether that is clear."""
    if point == "overlap":
        share = _shares(boxes, zone.polygons)
        return share > 0.5, np.abs(share - 0.5) > _SHARE_BAND
    points = (boxes[:, :2] + boxes[:, 2:]) / 2
    if point == "foot":
        points[:, 1] = boxes[:, 3]
    band = DEAD_BAND * (boxes[:, 3] - boxes[:, 1])
    return within_any(points, zone.polygons), _border_distance(points, zone.polygons) > band


def _stays(inside: BoolArray, clear: BoolArray) -> list[tuple[int, int]]:
    """Where a track is inside, each from an index to one that is not inside any more.

    Who is never clearly inside or outside is where most of its boxes are.

    Args:
        inside: (N,) by the border itself.
        clear: (N,) whether it is clear.
    """
    known = np.flatnonzero(clear)
    if not len(known):
        return [(0, len(inside))] if inside.mean() > 0.5 else []
    stays, start = [], 0 if inside[known[0]] else -1
    for before, after in zip(known[:-1].tolist(), known[1:].tolist(), strict=True):
        if inside[before] == inside[after]:
            continue
        # It came over the border for good after the last frame on the side it came from.
        back = np.flatnonzero(inside[before : after + 1] == inside[before])[-1]
        over = before + int(back) + 1
        if inside[after]:
            start = over
        else:
            stays.append((start, over))
            start = -1
    return [*stays, (start, len(inside))] if start >= 0 else stays


def _border_distance(
    points: NDArray[np.float64], polygons: Sequence[Polygon]
) -> NDArray[np.float64]:
    """(N,) pixels from each point to the nearest edge."""
    nearest = np.full(len(points), np.inf)
    for polygon in polygons:
        for first, second in zip(polygon, (*polygon[1:], polygon[0]), strict=True):
            start = np.array(first)
            along = np.array(second) - start
            share = (points - start) @ along / max(float(along @ along), 1e-12)
            foot = start + np.clip(share, 0, 1)[:, None] * along
            nearest = np.minimum(nearest, np.hypot(*(points - foot).T))
    return nearest


def _shares(boxes: NDArray[np.float64], polygons: tuple[Polygon, ...]) -> NDArray[np.float64]:
    """(N,) share of each box inside, 0 to 1."""
    steps = (np.arange(_GRID) + 0.5) / _GRID
    across, down = (grid.ravel() for grid in np.meshgrid(steps, steps))
    sizes = (boxes[:, 2:] - boxes[:, :2])[:, None]
    grid_points = boxes[:, None, :2] + sizes * np.stack([across, down], axis=1)
    within = within_any(grid_points.reshape(-1, 2), polygons)
    shares: NDArray[np.float64] = within.reshape(len(boxes), -1).mean(axis=1)
    return shares
