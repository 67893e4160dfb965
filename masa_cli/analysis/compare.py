"""Two runs over one video: which identities are the same in both, split, merged or gone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from masa_cli.analysis.lifetimes import rows_by_track
from masa_cli.boxes import iou
from masa_cli.formats.tables import TrackTable

SAME_IOU = 0.5  # of boxes of one frame that show the same
_FEWEST, _SHARE = 3, 0.05  # frames together, and share of a track, that are no accident


@dataclass(frozen=True, slots=True)
class Change:
    """What became of some identities.

    Attributes:
        kind: split: one before, several now; merged: several before, one now; mixed: several of
            both; vanished: none now; new: none before.
        before: ids of the earlier run.
        now: ids of the other.
        frames: in which they are; of pairs, those in which they are the same boxes.
    """

    kind: str
    before: tuple[int, ...]
    now: tuple[int, ...]
    frames: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two runs side by side.

    Attributes:
        same: identities that are one in both.
        changes: of all others, those of most frames first.
        shared: boxes that both have.
        only_before: boxes that only the earlier run has.
        only_now: boxes that only the other has.
    """

    same: int
    changes: tuple[Change, ...]
    shared: int
    only_before: int
    only_now: int


def compare(before: TrackTable, now: TrackTable) -> Comparison:
    """What became of the identities of `before`, by boxes of the same frame that overlap most."""
    together = _together(before, now)
    lengths = [_lengths(before), _lengths(now)]
    linked = {
        pair: count
        for pair, count in together.items()
        if count >= min(_FEWEST, lengths[0][pair[0]], lengths[1][pair[1]])
        and count >= _SHARE * min(lengths[0][pair[0]], lengths[1][pair[1]])
    }
    same, changes = 0, []
    for olds, news in _groups(linked):
        if len(olds) == len(news) == 1:
            same += 1
            continue
        kind = "split" if len(olds) == 1 else "merged" if len(news) == 1 else "mixed"
        frames = sum(linked.get((old, new), 0) for old in olds for new in news)
        changes.append(Change(kind, olds, news, frames))
    known = [{pair[side] for pair in linked} for side in (0, 1)]
    changes += [
        Change("vanished", (id_,), (), length)
        for id_, length in lengths[0].items()
        if id_ not in known[0]
    ]
    changes += [
        Change("new", (), (id_,), length)
        for id_, length in lengths[1].items()
        if id_ not in known[1]
    ]
    shared = sum(together.values())
    changes.sort(key=lambda change: (-change.frames, change.before, change.now))
    return Comparison(same, tuple(changes), shared, len(before) - shared, len(now) - shared)


def _lengths(table: TrackTable) -> dict[int, int]:
    """By id, how many boxes it has."""
    return {int(table.tracks.ids[rows[0]]): len(rows) for rows in rows_by_track(table)}


def _together(before: TrackTable, now: TrackTable) -> Counter[tuple[int, int]]:
    """By pair of ids, in how many frames their boxes are the same."""
    together: Counter[tuple[int, int]] = Counter()
    for frame in np.intersect1d(before.frames, now.frames).tolist():
        own, other = (
            table.tracks[slice(*np.searchsorted(table.frames, (frame, frame + 1)).tolist())]
            for table in (before, now)
        )
        overlap = iou(own.boxes, other.boxes)
        overlap[overlap < SAME_IOU] = 0
        rows, columns = linear_sum_assignment(overlap, maximize=True)
        found = overlap[rows, columns] > 0
        pairs = zip(own.ids[rows[found]].tolist(), other.ids[columns[found]].tolist(), strict=True)
        together.update(pairs)
    return together


def _groups(
    linked: Mapping[tuple[int, int], int],
) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Ids of both runs that hang together, by whatever way."""
    groups: list[tuple[set[int], set[int]]] = []
    for old, new in linked:
        own = [group for group in groups if old in group[0] or new in group[1]]
        groups = [group for group in groups if group not in own]
        olds = {old}.union(*(group[0] for group in own))
        news = {new}.union(*(group[1] for group in own))
        groups.append((olds, news))
    return [(tuple(sorted(olds)), tuple(sorted(news))) for olds, news in groups]
