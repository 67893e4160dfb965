"""Suspicious places: where identities are likely to be wrong, the likeliest first.

Hints at the same identities within a second are one place, and its worth is the sum of their
probabilities. After an edit, hints are looked for anew around what it changed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass, replace
from itertools import chain
from queue import SimpleQueue
from types import MappingProxyType

import numpy as np

from masa_cli.formats.tables import TrackTable
from masa_cli.formats.times import FrameTimes
from masa_cli.review.hints import AROUND, LONGEST, Hint, Sight, Whole, hints_of
from masa_cli.review.tracks import Patch, TracksById, changed_frames
from masa_cli.settings import DEFAULT_FRAME_RATE

_MOST = 200  # places
_FEWEST = 12  # frames around an edit in which places are looked for anew: speeds are told from ten

TEXTS: Mapping[str, str] = MappingProxyType(
    {
        "match": "unsure match",
        "crossing": "crossing",
        "jump": "jump",
        "return": "back after a gap",
        "begin": "begins in mid-picture",
        "end": "ends in mid-picture",
        "short": "short track",
    }
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where something may be wrong.

    Attributes:
        frame: to look at.
        kind: of its strongest hint, a key of TEXTS.
        text: what hints at it.
        worth: the sum of the probabilities of its hints.
        boxes: of those concerned, the surest first: frame, x1, y1, x2, y2.
    """

    frame: int
    kind: str
    text: str
    worth: float
    boxes: tuple[tuple[float, ...], ...]


def suspicious_places(table: TrackTable) -> list[Place]:
    """Those of a table of tracks, at most 200."""
    return Suspicions.of(table).places()


@dataclass(frozen=True, slots=True)
class Suspicions:
    """All hints of the tracks of a video.

    Attributes:
        hints: in any order.
        whole: what they took from all tracks; None where there were none.
    """

    hints: tuple[Hint, ...]
    whole: Whole | None

    @staticmethod
    def of(table: TrackTable, whole: Whole | None = None) -> Suspicions:
        """Those of a table; `whole` where it holds still what held before."""
        if not len(table):
            return Suspicions((), whole)
        hints, whole = hints_of(table, whole)
        return Suspicions(tuple(hints), whole)

    def places(self) -> list[Place]:
        """The places they come to, at most 200, the most suspicious first."""
        return _grouped(self.hints)

    def edited(self, before: Patch, after: Patch, tracks: TracksById) -> Suspicions:
        """After an edit, looked for anew only around what it changed.

        Args:
            before: what the identities that it changed were.
            after: what they are.
            tracks: all of them, after it.
        """
        if self.whole is None:
            return Suspicions.of(tracks.table())
        changed = changed_frames(before, after)
        if changed is None:
            return Suspicions(tuple(_renamed(after, self.hints)), self.whole)
        times = tracks.times or FrameTimes.even(DEFAULT_FRAME_RATE)
        first, last = times.at(np.array(changed)).tolist()
        reach = max(LONGEST + AROUND, _FEWEST * self.whole.step)
        first, last = first - reach, last + reach
        outside = [hint for hint in self.hints if not first <= hint.seconds <= last]
        near = _part(tracks, times, first - reach, last + reach)
        new = Suspicions.of(near, self.whole).hints
        inside = [hint for hint in new if first <= hint.seconds <= last]
        return Suspicions((*_renamed(after, outside), *inside), self.whole)


class Finder:
    """Keeps the places of tracks that are edited, looking for them in a thread of its own.

    Args:
        table: gives the tracks as they are at first.
    """

    def __init__(self, table: Callable[[], TrackTable]) -> None:
        self._queue: SimpleQueue[_Search] = SimpleQueue()
        self._closed = False
        self._latest = self._search(lambda _: Suspicions.of(table()))
        # A daemon: nobody waits for it when the program ends.
        threading.Thread(target=self._run, name="suspicious places", daemon=True).start()

    def edited(self, before: Patch, after: Patch, tracks: TracksById) -> None:
        """Note an edit; see `Suspicions.edited`."""
        self._latest = self._search(lambda known: known.edited(before, after, tracks))

    def places(self, seconds: float | None = 0.0) -> list[Place] | None:
        """Those after the last edit; None if they are not known yet.

        Args:
            seconds: to wait for them; None: as long as it takes.
        """
        latest = self._latest
        wait([latest], seconds)
        return latest.result() if latest.done() else None

    def close(self) -> None:
        """Look for no more."""
        self._closed = True
        self._search(lambda known: known)

    def _search(self, work: Callable[[Suspicions], Suspicions]) -> Future[list[Place]]:
        future: Future[list[Place]] = Future()
        self._queue.put((future, work))
        return future

    def _run(self) -> None:
        known = Suspicions((), None)
        while not self._closed:
            future, work = self._queue.get()
            try:
                known = work(known)
                future.set_result(known.places())
            except BaseException as error:  # noqa: BLE001 - raised by who asks for the places
                future.set_exception(error)


_Search = tuple[Future[list[Place]], Callable[[Suspicions], Suspicions]]


def _renamed(patch: Patch, hints: Iterable[Hint]) -> Iterator[Hint]:
    """Hints of boxes that are still there, under the identities that have them now."""
    for hint in hints:
        if all(sight.id not in patch for sight in hint.sights):
            yield hint
            continue
        sights = [_owned(patch, sight) if sight.id in patch else sight for sight in hint.sights]
        if sights[0] is not None:
            yield replace(hint, sights=tuple(sight for sight in sights if sight is not None))


def _owned(patch: Patch, sight: Sight) -> Sight | None:
    """The same box under the identity that has it now; None where nobody has."""
    wanted = np.array(sight.box, np.float32)
    for track in patch.values():
        part = track and track.between(sight.frame, sight.frame)
        if part and np.array_equal(part.rows.boxes[0], wanted):
            return replace(sight, id=part.id)
    return None


def _part(tracks: TracksById, times: FrameTimes, first: float, last: float) -> TrackTable:
    """All rows of the tracks that are there at some time between two."""
    seconds = times.at(np.arange(tracks.num_frames))
    start, stop = np.searchsorted(seconds, [first, last])
    near = {
        id_: track
        for id_, track in tracks.tracks.items()
        if track.frames[-1] >= start and track.frames[0] <= stop
    }
    return replace(tracks, tracks=near, times=times).table()


def _grouped(hints: Sequence[Hint]) -> list[Place]:
    """Hints of the same identities within a second as one place, the most suspicious first."""
    by_id: dict[int, list[int]] = {}
    for index, hint in enumerate(hints):
        for sight in hint.sights:
            by_id.setdefault(sight.id, []).append(index)
    seconds = np.array([hint.seconds for hint in hints])
    left = np.ones(len(hints), np.bool_)

    def around(index: int) -> list[int]:
        ids = {sight.id for sight in hints[index].sights}
        others = sorted({other for id_ in ids for other in by_id[id_] if left[other]})
        return [other for other in others if abs(seconds[other] - seconds[index]) <= AROUND]

    worth = np.array(
        [sum(hints[other].probability for other in around(i)) for i in range(len(hints))]
    )
    places: list[Place] = []
    while left.any() and len(places) < _MOST:
        index = int(np.where(left, worth, -1).argmax())
        group = around(index)
        group.sort(key=lambda other: -hints[other].probability)
        changed = set()
        for other in group:
            changed.update(around(other))
        left[group] = False
        places.append(_place([hints[other] for other in group]))
        for other in changed:
            if left[other]:
                worth[other] = sum(hints[each].probability for each in around(other))
    return sorted(places, key=lambda place: -place.worth)


def _place(hints: Sequence[Hint]) -> Place:
    kinds = list(dict.fromkeys(hint.kind for hint in hints))
    seen: dict[int, Sight] = {}
    for sight in chain.from_iterable(hint.sights for hint in hints):
        seen.setdefault(sight.id, sight)
    boxes = tuple(
        (sight.frame, *(round(side, 2) for side in sight.box)) for sight in list(seen.values())[:4]
    )
    return Place(
        frame=hints[0].frame,
        kind=kinds[0],
        text=", ".join(TEXTS[kind] for kind in kinds[:2]),
        worth=round(sum(hint.probability for hint in hints), 3),
        boxes=boxes,
    )
