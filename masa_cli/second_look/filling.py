"""Tracks under their final identities, with what was missing: late confirmations and short gaps."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from masa_cli.masks import as_array, carried
from masa_cli.second_look.tracklets import Line
from masa_cli.structures import FloatArray, Tracks
from masa_cli.trace import Trace

_SWEEP = 256  # frames after which what was seen too long ago is forgotten


class _Sight(NamedTuple):
    """A row of a frame in which an identity was seen."""

    frame: int
    time: float
    tracks: Tracks
    row: int

    def alone(self) -> Tracks:
        return self.tracks[self.row : self.row + 1]


def completed(
    lines: Iterable[Line],
    identities: Mapping[int, int],
    labels: Mapping[int, int],
    longest: float,
) -> Iterator[tuple[int, float, Tracks]]:
    """Each frame's boxes under their final identities, and boxes interpolated where some miss.

    Boxes that a track had before it was confirmed belong to it. Frames are held back while a gap
    in them may still be closed, and no longer; no gap is closed across a cut.

    Args:
        lines: frames as the first pass left them.
        identities: by the number of the tracklet; the boxes of other tracklets are dropped.
        labels: by identity; boxes of others keep their own.
        longest: gap that is filled, seconds.
    """
    held: deque[tuple[int, float, Tracks]] = deque()
    sights: dict[int, _Sight] = {}  # the last one of each identity
    for index, time, found, trace in lines:
        if trace.is_cut:
            sights.clear()
        tracks = _renamed(found, trace, identities, labels)
        held.append((index, time, tracks))
        for row, identity in enumerate(tracks.ids.tolist()):
            now, before = _Sight(index, time, tracks, row), sights.get(identity)
            if before and index - before.frame > 1 and time - before.time <= longest:
                _bridge(held, before, now)
            sights[identity] = now
        while held[0][1] < time - longest:
            yield held.popleft()
        if index % _SWEEP == 0:
            sights = {key: old for key, old in sights.items() if time - old.time <= longest}
    yield from held


def _renamed(
    tracks: Tracks, trace: Trace, identities: Mapping[int, int], labels: Mapping[int, int]
) -> Tracks:
    """Tracks and tentative boxes under the identities of their tracklets."""
    numbers = np.concatenate([trace.tracklets, trace.tentative.ids])
    ids = np.array([identities.get(number, 0) for number in numbers.tolist()], np.int64)
    renamed = Tracks.joined([tracks, trace.tentative]).renamed(ids)[ids > 0]
    pairs = zip(renamed.ids.tolist(), renamed.labels.tolist(), strict=True)
    classes = np.array([labels.get(identity, own) for identity, own in pairs], np.int64)
    return replace(renamed, labels=classes)


def _bridge(held: deque[tuple[int, float, Tracks]], before: _Sight, now: _Sight) -> None:
    """Put a box into each held frame between two sights of one identity."""
    for place in range(len(held) - 2, -1, -1):
        index, time, tracks = held[place]
        if index <= before.frame:
            return
        share = np.float32((time - before.time) / (now.time - before.time))
        between = _between(before.alone(), now.alone(), share)
        held[place] = index, time, Tracks.joined([tracks, between])


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
