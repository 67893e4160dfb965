"""Tracks under their final identities, with what was missing: late confirmations and short gaps."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from masa_cli.boxes import area, centres, intersection
from masa_cli.masks import as_array, carried
from masa_cli.structures import BoolArray, FloatArray, FrameTracks, IntArray, TrackletRecord, Tracks
from masa_cli.tracking.linking import Tracklet, recorded

_SWEEP = 256  # frames after which what was seen too long ago is forgotten


class _Held(NamedTuple):
    """A frame in which boxes may still be put, and where its points lie on the ground."""

    frame: FrameTracks
    ground: NDArray[np.float64]


class _Sighting(NamedTuple):
    """A row of a frame in which an identity was seen."""

    frame: int
    time: float
    tracks: Tracks
    row: int
    ground: NDArray[np.float64]

    def seen_from(self, ground: NDArray[np.float64]) -> Tracks:
        """Its row alone, where it would be in a frame with that ground."""
        alone = self.tracks[self.row : self.row + 1]
        if ground is self.ground:
            return alone
        there = np.linalg.inv(ground) @ self.ground
        scale = np.sqrt(abs(np.linalg.det(there[:2, :2])))
        centre = centres(alone.boxes) @ there[:2, :2].T + there[:2, 2]
        half = (alone.boxes[:, 2:] - alone.boxes[:, :2]) * scale / 2
        boxes = np.concatenate([centre - half, centre + half], axis=1).astype(np.float32)
        return replace(alone, boxes=boxes)


def apply_identities(
    frames: Iterable[FrameTracks],
    identities: Mapping[int, int],
    labels: Mapping[int, int],
    max_gap: float,
) -> Iterator[FrameTracks]:
    """Each frame's boxes under their final identities, and boxes interpolated where some miss.

    Boxes that a track had before it was confirmed belong to it. Frames are held back while a gap
    in them may still be closed, and no longer; no gap is closed across a cut.

    Args:
        frames: as the first pass left them, with their records.
        identities: by the number of the tracklet; the boxes of other tracklets are dropped.
        labels: by identity; boxes of others keep their own.
        max_gap: that is interpolated, seconds.
    """
    held: deque[_Held] = deque()
    last_seen: dict[int, _Sighting] = {}  # of each identity
    ground = np.eye(3)  # takes points of the frame to the first frame since the last cut
    for frame in frames:
        record, index, time = recorded(frame), frame.index, frame.time
        if record.motion.is_cut:
            last_seen.clear()
            ground = np.eye(3)
        elif record.motion.moves():
            ground = ground @ np.linalg.inv(np.vstack([record.motion.matrix, (0, 0, 1)]))
        tracks = _identified(frame.tracks, record, identities, labels)
        held.append(_Held(FrameTracks(index, time, tracks), ground))
        for row, identity in enumerate(tracks.ids.tolist()):
            now, before = _Sighting(index, time, tracks, row, ground), last_seen.get(identity)
            if before and index - before.frame > 1 and time - before.time <= max_gap:
                _interpolate(held, before, now)
            last_seen[identity] = now
        while held[0].frame.time < time - max_gap:
            yield held.popleft().frame
        if index % _SWEEP == 0:
            last_seen = {key: old for key, old in last_seen.items() if time - old.time <= max_gap}
    yield from (each.frame for each in held)


def _identified(
    tracks: Tracks, record: TrackletRecord, identities: Mapping[int, int], labels: Mapping[int, int]
) -> Tracks:
    """Tracks and tentative boxes under the identities of their tracklets."""
    measured = ~tracks.interpolated  # what was only expected is interpolated anew, better
    tracks = tracks[measured]
    numbers = np.concatenate([record.tracklets[measured], record.tentative.ids])
    ids = np.array([identities.get(number, 0) for number in numbers.tolist()], np.int64)
    renamed = Tracks.joined([tracks, record.tentative]).renamed(ids)[ids > 0]
    pairs = zip(renamed.ids.tolist(), renamed.labels.tolist(), strict=True)
    classes = np.array([labels.get(identity, own) for identity, own in pairs], np.int64)
    return replace(renamed, labels=classes)


def _interpolate(held: deque[_Held], before: _Sighting, now: _Sighting) -> None:
    """Put a box into each held frame between two sightings of one identity.

    It goes straight over the ground, not over the image: the camera may have moved meanwhile.
    """
    for position in range(len(held) - 2, -1, -1):
        frame, ground = held[position].frame, held[position].ground
        if frame.index <= before.frame:
            return
        share = np.float32((frame.time - before.time) / (now.time - before.time))
        between = _between(before.seen_from(ground), now.seen_from(ground), share)
        joined = replace(frame, tracks=Tracks.joined([frame.tracks, between]))
        held[position] = _Held(joined, ground)


def _between(before: Tracks, after: Tracks, share: np.float32) -> Tracks:
    """One row on the way from one to the other, marked as interpolated.

    Its mask is that of the nearer one, moved and scaled with the box.
    """

    def mixed(first: FloatArray, second: FloatArray) -> FloatArray:
        result: FloatArray = (1 - share) * first + share * second
        return result

    boxes = mixed(before.boxes, after.boxes)
    nearer = before if share < 1 / 2 else after
    mask = nearer.masks[0] and carried(nearer.masks[0], nearer.boxes[0], boxes[0])
    return Tracks(
        boxes,
        mixed(before.scores, after.scores),
        before.labels,
        before.ids,
        np.ones(1, np.bool_),
        as_array([mask]),
    )


def majority_labels(tracklets: Iterable[Tracklet], identities: Mapping[int, int]) -> dict[int, int]:
    """The label of each identity: the one that has the most score over all of its boxes.

    Args:
        tracklets: all that there are.
        identities: by the number of the tracklet.
    """
    totals: dict[int, Counter[int]] = {}
    for tracklet in tracklets:
        totals.setdefault(identities[tracklet.number], Counter()).update(tracklet.scores)
    # Of equal scores the smaller label, so that the order of boxes never matters.
    return {
        identity: min(total, key=lambda label: (-total[label], label))
        for identity, total in totals.items()
    }


@dataclass(frozen=True, slots=True)
class CleanUpSettings:
    """What counts as a giant box, and how boxes are smoothed."""

    giant_area: float = 10_000.0  # smaller boxes are never giants, square pixels
    neighbour_score: float = 0.2  # only boxes above this score count against a giant
    inside: float = 0.75  # share of a neighbour's own area within the box that counts
    many_inside: int = 6  # more neighbours inside than this condemn a box
    some_inside: int = 4  # so many condemn a box that scores lower than all of them
    image_share: float = 2 / 3  # more of the image than this condemns a box
    window: int = 5  # frames of the moving average, odd


def clean_up(
    frames: IntArray, tracks: Tracks, *, width: int, height: int, settings: CleanUpSettings
) -> tuple[IntArray, Tracks]:
    """Drop tracks of giant boxes, smooth the other boxes, give each run its mean score.

    A run is a stretch of consecutive frames in which one track is seen. Boxes of runs shorter than
    the window stay as they are.

    Args:
        frames: (N,) frame index of each row, ascending.
        tracks: all rows of the video, (N,).
        width: of the image, pixels.
        height: of the image, pixels.
        settings: thresholds.

    Returns:
        The rows that remain, in the order given.
    """
    giants = _giant_ids(frames, tracks, width * height, settings)
    keep = ~np.isin(tracks.ids, giants)
    frames, tracks = frames[keep], tracks[keep]
    # Rows of one run become neighbours: by track, then by frame.
    order = np.lexsort((frames, tracks.ids))
    same_track = np.diff(tracks.ids[order]) == 0
    next_frame = np.diff(frames[order]) == 1
    ends = np.flatnonzero(~(same_track & next_frame)) + 1
    boxes, scores = tracks.boxes.copy(), tracks.scores.copy()
    for run in np.split(order, ends) if len(order) else []:
        if len(run) >= settings.window:
            boxes[run] = _moving_average(tracks.boxes[run], settings.window)
        scores[run] = tracks.scores[run].mean()
    return frames, replace(tracks, boxes=boxes, scores=scores)


def _giant_ids(
    frames: IntArray, tracks: Tracks, image_area: int, settings: CleanUpSettings
) -> IntArray:
    """Ids of tracks that are a giant in any frame."""
    giants = np.zeros(len(tracks), bool)
    starts = np.flatnonzero(np.diff(frames, prepend=-1))
    for rows in np.split(np.arange(len(frames)), starts[1:]):
        giants[rows] = _giants(tracks[rows], image_area, settings)
    return tracks.ids[giants]


def _giants(tracks: Tracks, image_area: int, settings: CleanUpSettings) -> BoolArray:
    """(N,) which boxes of one frame swallow their neighbours or the image."""
    areas = area(tracks.boxes)
    neighbours = tracks.scores > settings.neighbour_score
    others = neighbours[None, :] & ~np.eye(len(tracks), dtype=bool)
    share = intersection(tracks.boxes, tracks.boxes) / np.maximum(areas, 1e-6)[None, :]
    num_inside = ((share > settings.inside) & others).sum(axis=1)
    lowest = np.where(others, tracks.scores[None, :], np.inf).min(axis=1, initial=np.inf)
    condemned: BoolArray = (
        ((num_inside >= settings.some_inside) & (tracks.scores < lowest))
        | (num_inside > settings.many_inside)
        | (areas > image_area * settings.image_share)
    )
    # A lone box, or one with only weak neighbours, is never a giant, however big.
    return condemned & (areas >= settings.giant_area) & others.any(axis=1)


def _moving_average(boxes: FloatArray, window: int) -> FloatArray:
    """(N, 4) each coordinate averaged over `window` rows; the ends are repeated outwards."""
    half = window // 2
    padded = np.pad(boxes.astype(np.float64), ((half, half), (0, 0)), mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, window, axis=0)
    averages: FloatArray = windows.mean(axis=-1).astype(np.float32)
    return averages
