"""Hints at wrong identities, each with a probability, from the tracker's doubts and from boxes.

The tracker's own doubts tell most: how little likelier its match was than the next best one. Boxes
alone tell the rest, and all there is to know of tracks from elsewhere: objects that pass each
other, come back after a gap, begin or end in the middle of the picture, or last only a moment.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from masa_cli.boxes import centres
from masa_cli.formats.tables import TrackTable
from masa_cli.formats.times import FrameTimes
from masa_cli.settings import DEFAULT_FRAME_RATE
from masa_cli.structures import BoolArray, IntArray

Numbers = NDArray[np.float64]

AROUND = 1.0  # seconds: hints nearer to each other are one place
LEAST = 0.03  # probability of a hint that is told

# What boxes tell, as linking.py has it: speeds fade in a second, and what is not seen wanders.
_DAMPING, _WANDER, _TURNING = 1.0, 0.5, 4.0
_TURN = 1.0  # sizes per second by which speeds change
_NOISE = 0.05  # of a box's centre, in sizes, at least
_SPEED_ROWS = 5  # boxes that a speed is told from
_NEAR = 1.5  # sizes: others nearer than this may be the same object
LONGEST = 10.0  # seconds between the end of a track and the beginning of what may be its rest
_EDGE = 0.25  # sizes: nearer to the border of the picture, objects come and go
_MID_PICTURE = 0.1  # probability that something is wrong where a track begins or ends there
_NEW_LLR = 2.0  # of a new object, in the place of which another would have to be as likely
_JUMP = 0.5  # probability below which a step is no jump: boxes tremble, cameras shake
_OVERLAP = 0.3  # of boxes that hide each other
_SHORT, _MOMENT = 0.5, 0.2  # a track of less seconds may be no object, with this probability
_BOXES_ALONE = (
    0.5  # what a hint of boxes counts where the tracker, who saw pictures, told its doubts
)


@dataclass(frozen=True, slots=True)
class Sight:
    """A box of an identity.

    Attributes:
        id: the identity.
        frame: in which it is.
        box: x1, y1, x2, y2.
    """

    id: int
    frame: int
    box: tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Hint:
    """That an identity may be wrong in a frame.

    Attributes:
        frame: to look at.
        seconds: when the first of its boxes is.
        kind: what hints at it.
        probability: that something is wrong.
        sights: whom it concerns, the one it is about first.
    """

    frame: int
    seconds: float
    kind: str
    probability: float
    sights: tuple[Sight, ...]


@dataclass(frozen=True, slots=True)
class Whole:
    """What hints take from all tracks of a video; an edit of a few does not change it.

    Attributes:
        noise: of a box's centre from frame to frame, in sizes.
        density: of other objects, per square pixel.
        frame_size: width and height, pixels.
        step: seconds from frame to frame.
        last: seconds of the last frame.
        weight: what a hint of boxes counts.
    """

    noise: float
    density: float
    frame_size: tuple[float, float]
    step: float
    last: float
    weight: float


def hints_of(table: TrackTable, whole: Whole | None = None) -> tuple[list[Hint], Whole]:
    """All hints of a table of tracks that has rows, and what they took from the whole of it.

    Args:
        table: tracks of a video, or some of them.
        whole: where these are only some, what holds for all.
    """
    scene = _Scene.of(table, whole)
    told = _matches(scene, table.tracks.margins)
    by_boxes = chain(_crossings(scene), _returns(scene), _handovers(scene), _ends(scene))
    weight = scene.whole.weight
    weighed = (replace(each, probability=each.probability * weight) for each in by_boxes)
    found = [scene.told(each) for each in chain(told, weighed) if each.probability >= LEAST]
    return found, scene.whole


@dataclass(frozen=True, slots=True)
class _Hint:
    frame: int
    kind: str
    probability: float
    rows: tuple[int, ...]  # of the table, the one it is about first


@dataclass(frozen=True, slots=True, eq=False)
class _Scene:
    """The columns of a table that hints are made of; rows are those of the table."""

    frames: IntArray
    seconds: Numbers  # of each row
    ids: IntArray
    boxes: NDArray[np.float32]
    centres: Numbers  # (M, 2)
    sizes: Numbers
    measured: BoolArray
    tracks: Sequence[IntArray]  # the measured rows of each track, by frame
    track_of: Mapping[int, IntArray]  # the same by identity
    before: Numbers  # (M, 2) speed up to each measured row, pixels per second
    after: Numbers  # (M, 2) speed from each measured row on
    whole: Whole
    first_row: IntArray = field(default_factory=lambda: np.empty(0, np.int64))  # of each frame

    @staticmethod
    def of(table: TrackTable, whole: Whole | None = None) -> _Scene:
        times = table.times or FrameTimes.even(DEFAULT_FRAME_RATE)
        boxes = table.tracks.boxes
        sides = np.maximum(boxes[:, 2:] - boxes[:, :2], 1).astype(np.float64)
        sizes = np.sqrt(sides.prod(axis=1))
        middle, seconds = centres(boxes).astype(np.float64), times.at(table.frames)
        measured = ~table.tracks.interpolated
        order = np.lexsort((table.frames, table.tracks.ids))
        order = order[measured[order]]
        starts = np.flatnonzero(np.diff(table.tracks.ids[order], prepend=-1))
        tracks = np.split(order, starts[1:]) if len(order) else []
        before, after = _speeds(tracks, middle, seconds)
        if whole is None:
            noise = _noise(tracks, middle, seconds, sizes, before, times.step)
            whole = _whole(table, times, noise)
        return _Scene(
            frames=table.frames,
            seconds=seconds,
            ids=table.tracks.ids,
            boxes=boxes,
            centres=middle,
            sizes=sizes,
            measured=measured,
            tracks=tracks,
            track_of={int(table.tracks.ids[rows[0]]): rows for rows in tracks},
            before=before,
            after=after,
            whole=whole,
            first_row=np.searchsorted(table.frames, np.arange(table.num_frames + 1)),
        )

    def told(self, hint: _Hint) -> Hint:
        """A hint without rows of this table, which change with each edit."""
        sights = []
        for row in hint.rows:
            x1, y1, x2, y2 = self.boxes[row].tolist()
            sights.append(Sight(int(self.ids[row]), int(self.frames[row]), (x1, y1, x2, y2)))
        seconds = float(self.seconds[hint.rows[0]])
        return Hint(hint.frame, seconds, hint.kind, hint.probability, tuple(sights))

    def in_frame(self, frame: int) -> IntArray:
        """The rows of a frame."""
        return np.arange(self.first_row[frame], self.first_row[frame + 1])

    def link_llr(self, rows: IntArray, nexts: IntArray) -> Numbers:
        """(R,) llr that an object went from each row to the next, and no other came there."""
        gap = np.maximum(self.seconds[nexts] - self.seconds[rows], self.whole.step)
        size = np.sqrt(self.sizes[rows] * self.sizes[nexts])
        reach = (_DAMPING * (1 - np.exp(-gap / _DAMPING)) / 2)[:, None]
        way = self.centres[nexts] - self.centres[rows]
        way = way - reach * (self.before[rows] + self.after[nexts])
        spread = (2 * self.whole.noise**2 + (_WANDER * gap) ** 2 / (1 + gap / _TURNING)) * size**2
        squares = (way**2).sum(axis=1) / spread
        # Who is seen to go on as it went before has hardly turned meanwhile.
        turn = (self.after[nexts] - self.before[rows]) / (_TURN * size[:, None])
        squares = squares + (turn**2).sum(axis=1)
        # Student's density of four degrees of freedom: objects turn and run now and then.
        density = np.log(1 / (2 * np.pi * spread)) - 3 * np.log1p(squares / 4)
        llr: Numbers = density - np.log(self.whole.density)
        return llr

    def at_edge(self, row: int) -> bool:
        """Whether a box is where objects enter and leave."""
        x1, y1, x2, y2 = self.boxes[row]
        width, height = self.whole.frame_size
        reach = _EDGE * self.sizes[row]
        return bool(x1 < reach or y1 < reach or x2 > width - reach or y2 > height - reach)


def _whole(table: TrackTable, times: FrameTimes, noise: float) -> Whole:
    size = table.size if table.size and min(table.size) else table.tracks.boxes[:, 2:].max(axis=0)
    area = float(size[0]) * float(size[1])
    present = len(table) / max(len(np.unique(table.frames)), 1)
    last = float(times.at(np.array([max(table.num_frames - 1, 0)]))[0])
    is_told = bool(np.isfinite(table.tracks.margins).any())
    return Whole(
        noise=noise,
        density=max(present, 1.0) / max(area, 1.0),
        frame_size=(float(size[0]), float(size[1])),
        step=times.step,
        last=last,
        weight=_BOXES_ALONE if is_told else 1.0,
    )


def _speeds(
    tracks: Sequence[IntArray], middle: Numbers, seconds: Numbers
) -> tuple[Numbers, Numbers]:
    before, after = np.zeros_like(middle), np.zeros_like(middle)
    for rows in tracks:
        if len(rows) < 3:
            continue
        index = np.arange(len(rows))
        for back, speeds in ((-_SPEED_ROWS, before), (_SPEED_ROWS, after)):
            other = rows[np.clip(index + back, 0, len(rows) - 1)]
            span = np.abs(seconds[rows] - seconds[other])
            # Across a gap a speed is that of the way, not of the moment.
            known = (span > 0) & (span < 1.0)
            way = (middle[rows] - middle[other]) * -np.sign(back)
            speeds[rows[known]] = way[known] / span[known, None]
    return before, after


def _noise(
    tracks: Sequence[IntArray],
    middle: Numbers,
    seconds: Numbers,
    sizes: Numbers,
    before: Numbers,
    step: float,
) -> float:
    """Of a box's centre from frame to frame, in sizes: what half of all steps do not exceed."""
    residuals = []
    for rows in tracks:
        first, second = rows[:-1], rows[1:]
        gap = seconds[second] - seconds[first]
        way = middle[second] - middle[first] - before[first] * gap[:, None]
        near = gap < 1.5 * step
        residuals.append(np.linalg.norm(way[near], axis=1) / sizes[first[near]])
    joined = np.concatenate([np.empty(0), *residuals])
    return max(_NOISE, float(np.median(joined)) / 1.18) if len(joined) else _NOISE


def _wrong(llr: Numbers | float) -> Numbers:
    """Probability of the other alternative."""
    odds: Numbers = 1 / (1 + np.exp(np.clip(llr, -30, 30)))
    return odds


def _matches(scene: _Scene, margins: NDArray[np.float32]) -> Iterator[_Hint]:
    """What the tracker told, with whom its boxes may be confused."""
    rows = np.flatnonzero(np.isfinite(margins))
    for row, probability in zip(
        rows.tolist(), _wrong(margins[rows].astype(np.float64)).tolist(), strict=True
    ):
        yield _Hint(int(scene.frames[row]), "match", probability, (row, *_nearest(scene, row)))


def _nearest(scene: _Scene, row: int) -> tuple[int, ...]:
    """The row of the nearest other one in the frame, if it is near."""
    rows = scene.in_frame(int(scene.frames[row]))
    rows = rows[rows != row]
    if not len(rows):
        return ()
    far = np.linalg.norm(scene.centres[rows] - scene.centres[row], axis=1)
    nearest = int(far.argmin())
    return (int(rows[nearest]),) if far[nearest] < _NEAR * scene.sizes[row] else ()


def _returns(scene: _Scene) -> Iterator[_Hint]:
    """Tracks that jump, or were away or only interpolated, and may be another object since."""
    for rows in scene.tracks:
        wrong = _wrong(scene.link_llr(rows[:-1], rows[1:]))
        for step in np.flatnonzero(wrong >= LEAST).tolist():
            before, back = int(rows[step]), int(rows[step + 1])
            away = scene.seconds[back] - scene.seconds[before] > 1.5 * scene.whole.step
            if not away and wrong[step] < _JUMP:
                continue
            yield _Hint(
                int(scene.frames[back]),
                "return" if away else "jump",
                float(wrong[step]),
                (back, *_nearest(scene, back)),
            )


def _handovers(scene: _Scene) -> Iterator[_Hint]:
    """Tracks that begin, or are back, where another one has just gone: it may be its rest."""
    going, until, coming, own = _goings_and_comings(scene)
    order = np.argsort(scene.seconds[going], kind="stable")
    going, until = going[order], until[order]
    gone = scene.seconds[going]
    for row, before in zip(coming.tolist(), own.tolist(), strict=True):
        now = scene.seconds[row]
        is_new = before < 0
        start, stop = np.searchsorted(gone, [now - LONGEST, now])
        away = (until[start:stop] > now) & (scene.ids[going[start:stop]] != scene.ids[row])
        others = going[start:stop][away]
        usual = (
            _NEW_LLR if is_new else float(scene.link_llr(np.array([before]), np.array([row]))[0])
        )
        probability, near = 0.0, -1
        if len(others):
            llr = scene.link_llr(others, np.full(len(others), row))
            near = int(others[llr.argmax()])
            probability = float(1 - _wrong(llr.max() - max(usual, _NEW_LLR)))
        if is_new and now > AROUND and not scene.at_edge(row):
            probability = max(probability, _MID_PICTURE)
        if probability >= LEAST:
            kind = "begin" if is_new else "return"
            rows = (row, near) if near >= 0 else (row, *_nearest(scene, row))
            yield _Hint(int(scene.frames[row]), kind, probability, rows)


def _goings_and_comings(scene: _Scene) -> tuple[IntArray, Numbers, IntArray, IntArray]:
    """Rows after which a track is away, until when, rows in which it is there, and those before.

    The row before is -1 where a track begins; the time is infinite where it ends.
    """
    going, until, coming, own = [], [], [], []
    for rows in scene.tracks:
        gaps = np.flatnonzero(np.diff(scene.seconds[rows]) > 1.5 * scene.whole.step)
        going.append(np.append(rows[gaps], rows[-1]))
        until.append(np.append(scene.seconds[rows[gaps + 1]], np.inf))
        coming.append(np.append(rows[0], rows[gaps + 1]))
        own.append(np.append(-1, rows[gaps]))
    nothing = np.empty(0, np.int64)
    return (
        np.concatenate([nothing, *going]),
        np.concatenate([np.empty(0), *until]),
        np.concatenate([nothing, *coming]),
        np.concatenate([nothing, *own]),
    )


def _ends(scene: _Scene) -> Iterator[_Hint]:
    """Tracks that end in mid-picture, and those of a moment."""
    for rows in scene.tracks:
        first, last = int(rows[0]), int(rows[-1])
        if scene.seconds[last] < scene.whole.last - AROUND and not scene.at_edge(last):
            near = (last, *_nearest(scene, last))
            yield _Hint(int(scene.frames[last]), "end", _MID_PICTURE, near)
        if scene.seconds[last] - scene.seconds[first] < _SHORT:
            yield _Hint(int(scene.frames[first]), "short", _MOMENT, (first,))


def _crossings(scene: _Scene) -> Iterator[_Hint]:
    """Pairs that hid each other, and may have been swapped."""
    for first, second, one, two in _meetings(scene):
        ends = [_outside(scene, id_, first, second) for id_ in (one, two)]
        if None in ends:
            continue
        (a, b), (c, d) = ends  # type: ignore[misc]
        rows, nexts = np.array([a, c, a, c]), np.array([b, d, d, b])
        llr = scene.link_llr(rows, nexts)
        margin = float(llr[0] + llr[1] - llr[2] - llr[3])
        yield _Hint(int(scene.frames[b]), "crossing", float(_wrong(margin)), (int(b), int(d)))


def _meetings(scene: _Scene) -> list[tuple[int, int, int, int]]:
    """(first frame, last frame, id, id) of pairs whose boxes overlap much, without a break."""
    order = np.lexsort((scene.boxes[:, 0], scene.frames))
    frames, boxes, ids = (
        scene.frames[order],
        scene.boxes[order].astype(np.float64),
        scene.ids[order],
    )
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    found, reach = [], 1
    alive = np.arange(len(order) - 1)
    # By their left borders: once a box begins right of another one, so do all that follow.
    while len(alive):
        alive = alive[alive + reach < len(order)]
        other = alive + reach
        near = (frames[other] == frames[alive]) & (boxes[other, 0] < boxes[alive, 2])
        alive, other = alive[near], other[near]
        width = np.minimum(boxes[alive, 2], boxes[other, 2]) - boxes[other, 0]
        top = np.maximum(boxes[alive, 1], boxes[other, 1])
        height = np.minimum(boxes[alive, 3], boxes[other, 3]) - top
        shared = np.maximum(width, 0) * np.maximum(height, 0)
        much = shared > _OVERLAP * np.minimum(area[alive], area[other])
        pairs = np.sort(np.stack([ids[alive[much]], ids[other[much]]], axis=1), axis=1)
        found.append(np.column_stack([pairs, frames[alive[much]]]))
        reach += 1
    rows = np.concatenate([np.empty((0, 3), np.int64), *found])
    rows = rows[np.lexsort((rows[:, 2], rows[:, 1], rows[:, 0]))]
    if not len(rows):
        return []
    pause = max(1, round(0.5 * AROUND / scene.whole.step))
    new = (np.diff(rows[:, :2], axis=0) != 0).any(axis=1) | (np.diff(rows[:, 2]) > pause)
    starts = np.concatenate([[0], np.flatnonzero(new) + 1])
    stops = np.concatenate([starts[1:], [len(rows)]]) - 1
    return [
        (int(rows[start, 2]), int(rows[stop, 2]), int(rows[start, 0]), int(rows[start, 1]))
        for start, stop in zip(starts.tolist(), stops.tolist(), strict=True)
    ]


def _outside(scene: _Scene, id_: int, first: int, last: int) -> tuple[int, int] | None:
    """The last measured row of a track before a frame, and its first one after another."""
    rows = scene.track_of.get(id_)
    if rows is None:
        return None
    start, stop = np.searchsorted(scene.frames[rows], [first, last + 1])
    if start == 0 or stop == len(rows):
        return None
    return int(rows[start - 1]), int(rows[stop])
