"""Which tracks of a tool are one object, decided anew: split, linked, joined by appearance."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from masa_cli.boxes import area
from masa_cli.formats.tables import TrackTable
from masa_cli.jobs.templates import collect_templates
from masa_cli.pipeline import Refinement, refine
from masa_cli.structures import FloatArray, FrameTracks, IntArray, Observation, Tracks
from masa_cli.tracking.identities import link
from masa_cli.tracking.linking import LinkingSettings
from masa_cli.tracking.recognition import (
    Company,
    Pairs,
    RecognitionSettings,
    Rows,
    Whitening,
    pairs_above,
)
from masa_cli.tracking.splitting import (
    SplittingSettings,
    TrackletSplitter,
    TracksSeen,
    find_switches,
)

_MIN_EXPECTED_IOU = 0.76  # of interpolated boxes
_BONUS = 0.5  # of the threshold: what it counts that the tool took two for one
_USUAL_SCORE = 3.0  # at which two are one, where few are compared


def rows_of(table: TrackTable, index: int) -> Tracks:
    """The tracks of one frame."""
    start, stop = np.searchsorted(table.frames, [index, index + 1])
    return table.tracks[slice(int(start), int(stop))]


@dataclass(frozen=True, slots=True, eq=False)
class Decided:
    """What the tracks turned out to be.

    Attributes:
        refined: gives their frames, under the numbers of linking.
        names: the final id of each of these.
        owners: by the final id, how many boxes it has of each track that was given.
        num_switches: how often the appearance of a track changed from one moment on.
    """

    refined: Callable[[], Iterator[FrameTracks]]
    names: Mapping[int, int]
    owners: Mapping[int, Counter[int]]
    num_switches: int


def decided_on(
    table: TrackTable,
    observations: Iterable[Observation],
    splitting: SplittingSettings | None,
    linking: LinkingSettings,
    recognition: RecognitionSettings,
    frame_size: tuple[int, int],
) -> Decided:
    """Which tracks are one object, decided anew.

    Args:
        table: the tracks.
        observations: of their boxes, in the order of the table; are gone through several times.
        splitting: where tracks are split; None: nowhere.
        linking: of the tracklets, and how gaps are interpolated.
        recognition: when two are one by appearance alone.
        frame_size: width and height, pixels.
    """
    recorded = _Recorded(_Seen(observations, table), splitting)

    def linked() -> Iterator[FrameTracks]:
        return refine(recorded, Refinement(linking), recorded.open_tracklets, frame_size)

    loose = _loose_gaps(linked())

    def refined() -> Iterator[FrameTracks]:
        return _without(loose, linked())

    owners = _owners(refined(), table)
    groups = _joined(refined, observations, owners, table.classes, recognition)
    names, named = _names(groups, owners)
    return Decided(refined, names, named, sum(map(len, recorded.switches.values())))


class _Seen:
    """The tracks of each frame and what is seen of them; iterating again starts again."""

    def __init__(self, observations: Iterable[Observation], table: TrackTable) -> None:
        self._observations, self._table = observations, table

    def __iter__(self) -> Iterator[TracksSeen]:
        for observation in self._observations:
            tracks = rows_of(self._table, observation.index)
            measured = replace(tracks, interpolated=np.zeros(len(tracks), np.bool_))
            frame = FrameTracks(observation.index, observation.time, measured)
            size = observation.frame_size
            yield TracksSeen(frame, observation.embeddings, observation.motion, size)


class _Recorded:
    """The frames with their tracklets; iterating again starts again."""

    def __init__(self, seen: Iterable[TracksSeen], settings: SplittingSettings | None) -> None:
        self._seen = seen
        self._settings = settings or SplittingSettings(occlusion_iou=1.0, max_gap=2**31)
        self.switches = find_switches(seen, self._settings) if settings else {}
        self._splitter = TrackletSplitter(self.switches, self._settings)
        for _ in self._splitter.split(seen):
            pass
        self.open_tracklets = self._splitter.finish()

    def __iter__(self) -> Iterator[FrameTracks]:
        return TrackletSplitter(self.switches, self._settings).split(self._seen)


def _loose_gaps(frames: Iterable[FrameTracks]) -> set[tuple[int, int]]:
    """Interpolated boxes, by number of linking and frame, that are likely to miss their object.

    How well a gap is bridged is told by the same track: where it was seen, boxes are left out for
    as long, put back, and compared with those that were there. A track that moves unevenly, or is
    none (boxes that come and go), fails; so does one that was never seen for that long.
    """
    ways: dict[int, tuple[list[int], list[FloatArray]]] = {}
    closed: dict[int, list[int]] = {}
    for frame in frames:
        tracks = frame.tracks
        rows = zip(tracks.ids.tolist(), tracks.interpolated.tolist(), tracks.boxes, strict=True)
        for id_, is_interpolated, box in rows:
            if is_interpolated:
                closed.setdefault(id_, []).append(frame.index)
            else:
                indices, own = ways.setdefault(id_, ([], []))
                indices.append(frame.index)
                own.append(box)
    loose: set[tuple[int, int]] = set()
    for id_, between in closed.items():
        seen, boxes = np.array(ways[id_][0]), np.stack(ways[id_][1])
        expected: dict[int, float] = {}
        after = np.searchsorted(seen, between)
        for index, length in zip(between, (seen[after] - seen[after - 1]).tolist(), strict=True):
            if length not in expected:
                expected[length] = _expected_iou(seen, boxes, length)
            if expected[length] < _MIN_EXPECTED_IOU:
                loose.add((id_, index))
    return loose


def _expected_iou(seen: IntArray, boxes: FloatArray, length: int) -> float:
    """IoU of a track's boxes with what interpolation puts in the middle of gaps of so many frames.

    Args:
        seen: (N,) frames, in order.
        boxes: (N, 4) in these.
        length: frames from the last before a gap to the first after it.
    """
    middle = length // 2
    rows = np.stack([np.searchsorted(seen, seen + step) for step in (0, middle, length)])
    rows = rows[:, rows[2] < len(seen)]
    there = (seen[rows[1]] == seen[rows[0]] + middle) & (seen[rows[2]] == seen[rows[0]] + length)
    before, between, after = boxes[rows[:, there]]
    if not len(between):
        return 0.0
    share = np.float32(middle / length)
    found = (1 - share) * before + share * after
    sides = np.maximum(
        np.minimum(found[:, 2:], between[:, 2:]) - np.maximum(found[:, :2], between[:, :2]), 0
    )
    common = sides.prod(axis=1)
    return float((common / np.maximum(area(found) + area(between) - common, 1e-6)).mean())


def _without(loose: Set[tuple[int, int]], frames: Iterable[FrameTracks]) -> Iterator[FrameTracks]:
    """The same frames, these boxes left out."""
    for frame in frames:
        tracks = frame.tracks
        kept = [
            not (is_interpolated and (id_, frame.index) in loose)
            for id_, is_interpolated in zip(
                tracks.ids.tolist(), tracks.interpolated.tolist(), strict=True
            )
        ]
        yield replace(frame, tracks=tracks if all(kept) else tracks[np.array(kept)])


def _owners(frames: Iterable[FrameTracks], table: TrackTable) -> dict[int, Counter[int]]:
    """By the number of linking, how many boxes are those of each track that was given."""
    owners: dict[int, Counter[int]] = {}
    for frame in frames:
        given = rows_of(table, frame.index)
        track_of = {
            box.tobytes(): id_ for box, id_ in zip(given.boxes, given.ids.tolist(), strict=True)
        }
        for id_, box in zip(frame.tracks.ids.tolist(), frame.tracks.boxes, strict=True):
            own = owners.setdefault(id_, Counter())
            if (track := track_of.get(box.tobytes())) is not None:
                own[track] += 1
    return owners


def _joined(
    refined: Callable[[], Iterator[FrameTracks]],
    observations: Iterable[Observation],
    owners: Mapping[int, Counter[int]],
    classes: Sequence[str],
    settings: RecognitionSettings,
) -> list[list[int]]:
    """Numbers of linking that are one object, also after long absences, by appearance alone."""
    templates = collect_templates(refined(), observations, lambda: classes)
    whitening = Whitening()
    whitening.learn_scatter(templates.scatter, templates.num_pairs)
    projection = whitening.projection()
    usable = [
        track
        for track in templates.tracks
        if track.template is not None and track.num_boxes >= settings.min_boxes
    ]
    is_usable = {track.id for track in usable}
    groups = [[track.id] for track in templates.tracks if track.id not in is_usable]
    by_class: list[list[Company]] = []
    orders: list[list[int]] = []
    for label in dict.fromkeys(track.label for track in usable):
        companies, order = [], []
        own = [track for track in usable if track.label == label]
        for shot in sorted({track.shot for track in own}):
            here = [track for track in own if track.shot == shot]
            parts = [track.template for track in here if track.template is not None]
            companies.append(Company(parts))
            order += [track.id for track in here]
        by_class.append(companies)
        orders.append(order)
    given = [
        [owners[id_].most_common(1)[0][0] if owners[id_] else -1 for id_ in order]
        for order in orders
    ]
    found = link(by_class, projection, settings, partial(_favouring, given))
    for order, linked in zip(orders, found, strict=True):
        groups += [[order[row] for row in members] for members in linked.groups]
    return groups


def _favouring(
    given: Sequence[Sequence[int]], number: int, rows: Rows, min_score: float
) -> Iterator[Pairs]:
    """The pairs of `pairs_above`; those that the tool took for one object count more."""
    tracks = np.array(given[number], np.int64)
    bonus = np.float32(_BONUS * max(min_score, _USUAL_SCORE))
    for first, second, found in pairs_above(rows, max(min_score - bonus, 0.0)):
        same = (tracks[first] == tracks[second]) & (tracks[first] >= 0)
        total = found + bonus * same
        kept = total >= min_score
        yield first[kept], second[kept], total[kept].astype(np.float32)


def _names(
    groups: Sequence[Sequence[int]], owners: Mapping[int, Counter[int]]
) -> tuple[dict[int, int], dict[int, Counter[int]]]:
    """Final ids by the number of linking: that of the track with most of the boxes, if it is free.

    Returns:
        These, and by the final id, how many boxes it has of each track that was given.
    """
    counts = [sum((owners[id_] for id_ in group), Counter()) for group in groups]
    order = sorted(
        range(len(groups)),
        key=lambda row: (-max(counts[row].values(), default=0), min(groups[row])),
    )
    fresh = max((track for own in counts for track in own), default=0) + 1
    names: dict[int, int] = {}
    named: dict[int, Counter[int]] = {}
    for row in order:
        free = [track for track, _ in counts[row].most_common() if track not in named]
        name = free[0] if free else fresh
        fresh += not free
        named[name] = counts[row]
        names.update(dict.fromkeys(groups[row], name))
    return names, named
