"""The edits that mend tracks, a row each, and what each does to the identities it names.

An edit is one JSON object, checked before it is done: either all of it happens, or an EditError
says why nothing did. Frames count from 0, boxes are xyxy in source pixels, ids count from 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import MISSING, asdict, dataclass, fields, replace
from types import MappingProxyType
from typing import Any, ClassVar, Protocol

import numpy as np

from masa_cli.errors import MasaError, shortened
from masa_cli.formats.tables import LARGEST, MAX_FRAMES
from masa_cli.review.tracks import Patch, Track, TracksById
from masa_cli.structures import FloatArray, IntArray, Tracks

_LARGEST_ID = 2**31 - 1  # that every format and program takes
_LONGEST_LABEL = 200  # characters
_LAST = MAX_FRAMES - 1


class EditError(MasaError):
    """An edit cannot be done to these tracks."""


class Edit(Protocol):
    """One change of tracks."""

    name: ClassVar[str]

    def apply(self, tracks: TracksById) -> tuple[Patch, tuple[str, ...]]:
        """What becomes of the identities it changes, and the names of classes afterwards.

        Raises EditError where it cannot be done.
        """
        ...

    def text(self) -> str:
        """It in words, for a list of edits."""
        ...


@dataclass(frozen=True, slots=True)
class Rename:
    """An identity gets another number that nobody has."""

    name: ClassVar[str] = "rename"
    id: int
    to: int

    def apply(self, tracks: TracksById) -> tuple[Patch, tuple[str, ...]]:
        """See `Edit`."""
        track = _track(tracks, self.id)
        _check_free(tracks, self.to)
        return {self.id: None, self.to: track.renamed(self.to)}, tracks.classes

    def text(self) -> str:
        """See `Edit`."""
        return f"rename {self.id} to {self.to}"


@dataclass(frozen=True, slots=True)
class Merge:
    """Two identities become one.

    Where both have a box in a frame, a detected one goes before an interpolated one; two detected
    ones are an error, or with `overlaps` "keep", those of `into` stay and the others are dropped.
    """

    name: ClassVar[str] = "merge"
    id: int
    into: int
    overlaps: str = "refuse"

    def apply(self, tracks: TracksById) -> tuple[Patch, tuple[str, ...]]:
        """See `Edit`."""
        if self.overlaps not in {"refuse", "keep"}:
            raise _wrong("merge", "overlaps", '"refuse" or "keep"', self.overlaps)
        other, track = _track(tracks, self.id), _track(tracks, self.into)
        if self.id == self.into:
            raise EditError(f"{self.id} cannot be merged into itself", fix="name another identity")
        common, mine, theirs = np.intersect1d(track.frames, other.frames, return_indices=True)
        both = ~track.rows.interpolated[mine] & ~other.rows.interpolated[theirs]
        if both.any() and self.overlaps == "refuse":
            raise EditError(
                f"{self.id} and {self.into} are both seen in {both.sum()} frames, "
                f"first in frame {common[both][0]}",
                fix=f"swap or split them there, or keep the boxes of {self.into} where both are",
            )
        dropped = track.rows.interpolated[mine] & ~other.rows.interpolated[theirs]
        kept = _leave_out(track, mine[dropped])
        added = _leave_out(other, theirs[~dropped])
        joined = kept.joined(added) if kept else other.renamed(self.into)
        return {self.id: None, self.into: joined}, tracks.classes

    def text(self) -> str:
        """See `Edit`."""
        return f"merge {self.id} into {self.into}"


@dataclass(frozen=True, slots=True)
class Split:
    """An identity is another one from a frame on."""

    name: ClassVar[str] = "split"
    id: int
    frame: int
    new: int

    def apply(self, tracks: TracksById) -> tuple[Patch, tuple[str, ...]]:
        """See `Edit`."""
        track = _track(tracks, self.id)
        _check_free(tracks, self.new)
        before, after = track.between(0, self.frame - 1), track.between(self.frame, _LAST)
        if before is None or after is None:
            raise EditError(
                f"{self.id} has boxes only {'from' if before is None else 'before'} frame "
                f"{self.frame} {'on' if before is None else ''}".rstrip(),
                fix=f"split it between frames {track.frames[0] + 1} and {track.frames[-1]}",
            )
        return {self.id: before, self.new: after.renamed(self.new)}, tracks.classes

    def text(self) -> str:
        """See `Edit`."""
        return f"split {self.id} at frame {self.frame}: {self.new} from there on"


@dataclass(frozen=True, slots=True)
class Swap:
    """Two identities are exchanged from a frame on, up to another if one is given."""

    name: ClassVar[str] = "swap"
    id: int
    other: int
    frame: int
    last: int = _LAST

    def apply(self, tracks: TracksById) -> tuple[Patch, tuple[str, ...]]:
        """See `Edit`."""
        if self.id == self.other:
            raise EditError(f"{self.id} cannot be swapped with itself", fix="name another identity")
        one, two = _track(tracks, self.id), _track(tracks, self.other)
        stretch = (self.frame, self.last)
        if one.between(*stretch) is None and two.between(*stretch) is None:
            raise EditError(
                f"neither {self.id} nor {self.other} has a box from frame {self.frame} on",
                fix="swap them at an earlier frame",
            )

        def mixed(kept: Track, given: Track) -> Track | None:
            own, new = kept.without(*stretch), given.between(*stretch)
            return own.joined(new) if own else new and new.renamed(kept.id)

        return {self.id: mixed(one, two), self.other: mixed(two, one)}, tracks.classes

    def text(self) -> str:
        """See `Edit`."""
        until = "" if self.last == _LAST else f" to {self.last}"
        return f"swap {self.id} and {self.other} from frame {self.frame}{until}"


@dataclass(frozen=True, slots=True)
class Delete:
    """An identity goes, or its boxes in some frames."""

    name: ClassVar[str] = "delete"
    id: int
    first: int = 0
    last: int = _LAST

    def apply(self, tracks: TracksById) -> tuple[Patch, tuple[str, ...]]:
        """See `Edit`."""
        track = _track(tracks, self.id)
        if track.between(self.first, self.last) is None:
            raise EditError(
                f"{self.id} has no box in frames {self.first} to {self.last}",
                fix=f"it has some from frame {track.frames[0]} to {track.frames[-1]}",
            )
        return {self.id: track.without(self.first, self.last)}, tracks.classes

    def text(self) -> str:
        """See `Edit`."""
        if self.first == 0 and self.last == _LAST:
            return f"delete {self.id}"
        until = "on" if self.last == _LAST else f"to {self.last}"
        return f"delete {self.id} from frame {self.first} {until}"


@dataclass(frozen=True, slots=True)
class SetClass:
    """All boxes of an identity get a class, an old or a new one."""

    name: ClassVar[str] = "class"
    id: int
    label: str

    def apply(self, tracks: TracksById) -> tuple[Patch, tuple[str, ...]]:
        """See `Edit`."""
        track = _track(tracks, self.id)
        label, classes = _numbered(self.label, tracks.classes)
        rows = replace(track.rows, labels=np.full(len(track), label, np.int64))
        return {self.id: Track(track.frames, rows)}, classes

    def text(self) -> str:
        """See `Edit`."""
        return f"{self.id} is a {self.label}"


@dataclass(frozen=True, slots=True)
class SetBox:
    """A key box, drawn by hand: of an identity that exists or, with a label, of a new one.

    It counts as detected, with the score 1 and without a mask. Where up to `fill` frames between it
    and the next detected box on either side have none, or interpolated ones, these are
    interpolated anew.
    """

    name: ClassVar[str] = "box"
    id: int
    frame: int
    box: tuple[float, float, float, float]
    label: str = ""
    fill: int = 0

    def apply(self, tracks: TracksById) -> tuple[Patch, tuple[str, ...]]:
        """See `Edit`."""
        x1, y1, x2, y2 = self.box
        if x2 <= x1 or y2 <= y1:
            raise _wrong("box", "box", "x1 < x2 and y1 < y2", str(list(self.box)))
        track, classes = tracks.tracks.get(self.id), tracks.classes
        if track is None and not self.label:
            raise EditError(
                f"there is no identity {self.id}, and a new one needs a label",
                fix="give it a label, or name an identity that exists",
            )
        if self.label:
            label, classes = _numbered(self.label, classes)
        else:
            label = track.label if track else 0
        key = _rows_of(self.id, label, np.array([self.box], np.float32), np.ones(1, np.float32))
        drawn = Track(np.array([self.frame], np.int64), key)
        if track is not None:
            others = track.without(self.frame, self.frame)
            drawn = others.joined(drawn) if others else drawn
        return {self.id: _filled(drawn, self.frame, self.fill)}, classes

    def text(self) -> str:
        """See `Edit`."""
        return f"box of {self.id} in frame {self.frame}"


@dataclass(frozen=True, slots=True)
class Interpolate:
    """The boxes of an identity between two frames that have one are interpolated anew."""

    name: ClassVar[str] = "interpolate"
    id: int
    first: int
    last: int

    def apply(self, tracks: TracksById) -> tuple[Patch, tuple[str, ...]]:
        """See `Edit`."""
        track = _track(tracks, self.id)
        for frame in (self.first, self.last):
            if track.between(frame, frame) is None:
                raise EditError(
                    f"{self.id} has no box in frame {frame}",
                    fix="draw one there, or choose frames in which it has one",
                )
        if self.last - self.first < 2:
            raise EditError(
                f"there is no frame between {self.first} and {self.last}",
                fix="give frames that are further apart, the earlier one first",
            )
        return {self.id: _interpolated(track, self.first, self.last)}, tracks.classes

    def text(self) -> str:
        """See `Edit`."""
        return f"interpolate {self.id} from frame {self.first} to {self.last}"


EDITS: Mapping[str, Callable[..., Edit]] = MappingProxyType(
    {row.name: row for row in (Rename, Merge, Split, Swap, Delete, SetClass, SetBox, Interpolate)}
)


def parse(record: object) -> Edit:
    """The edit that a JSON object tells; EditError where it is none."""
    if not isinstance(record, dict):
        raise _wrong("an edit", "it", "a JSON object", type(record).__name__)
    name = record.get("edit")
    row: Any = EDITS.get(name) if isinstance(name, str) else None
    if row is None:
        raise _wrong("an edit", "edit", f"one of {', '.join(EDITS)}", str(name))
    values = {}
    for each in fields(row):
        if each.name in record:
            values[each.name] = _CHECKS[each.name](str(name), each.name, record[each.name])
        elif each.default is MISSING:
            raise EditError(f"{name}: {each.name} is missing", fix=_FIX)
    if unknown := record.keys() - values.keys() - {"edit"}:
        raise EditError(f"{name}: unknown {shortened(', '.join(sorted(unknown)))}", fix=_FIX)
    edit: Edit = row(**values)
    return edit


def as_record(edit: Edit) -> dict[str, object]:
    """What `parse` reads; what is as usual is left out."""
    defaults = {each.name: each.default for each in fields(edit)}  # type: ignore[arg-type]
    values = asdict(edit)  # type: ignore[call-overload]
    return {
        "edit": edit.name,
        **{name: value for name, value in values.items() if value != defaults[name]},
    }


_FIX = "see docs/review.md for the edits and what each takes"


def _wrong(edit: str, field: str, expected: str, got: str) -> EditError:
    return EditError(f"{edit}: expected {expected} as {field}, got {shortened(got)}", fix=_FIX)


def _whole(low: int, high: int) -> Callable[[str, str, object], int]:
    def check(edit: str, field: str, value: object) -> int:
        if type(value) is not int or not low <= value <= high:
            raise _wrong(edit, field, f"a whole number from {low} to {high}", repr(value))
        return value

    return check


def _label(edit: str, field: str, value: object) -> str:
    if not isinstance(value, str) or not value.strip() or not value.isprintable():
        raise _wrong(edit, field, "a name", repr(value))
    if len(value) > _LONGEST_LABEL:
        raise _wrong(edit, field, f"a name of at most {_LONGEST_LABEL} characters", value)
    return value.strip()


def _word(edit: str, field: str, value: object) -> str:
    if not isinstance(value, str):
        raise _wrong(edit, field, "a word", repr(value))
    return value


def _box(edit: str, field: str, value: object) -> tuple[float, float, float, float]:
    wanted = f"[x1, y1, x2, y2], numbers below {LARGEST:g}"
    if not isinstance(value, list | tuple) or len(value) != 4:
        raise _wrong(edit, field, wanted, repr(value))
    for each in value:
        plain = isinstance(each, int | float) and not isinstance(each, bool)
        if not plain or not math.isfinite(each) or abs(each) >= LARGEST:
            raise _wrong(edit, field, wanted, repr(value))
    x1, y1, x2, y2 = (float(np.float32(each)) for each in value)
    return x1, y1, x2, y2


_CHECKS: Mapping[str, Callable[[str, str, object], object]] = MappingProxyType(
    {
        **dict.fromkeys(("id", "to", "into", "new", "other"), _whole(1, _LARGEST_ID)),
        **dict.fromkeys(("frame", "first", "last", "fill"), _whole(0, _LAST)),
        "label": _label,
        "overlaps": _word,
        "box": _box,
    }
)


def _track(tracks: TracksById, id_: int) -> Track:
    if id_ not in tracks.tracks:
        raise EditError(f"there is no identity {id_}", fix="name one that exists")
    return tracks.tracks[id_]


def _check_free(tracks: TracksById, id_: int) -> None:
    if id_ in tracks.tracks:
        raise EditError(
            f"there is an identity {id_} already",
            fix=f"merge the two, or take a number that is free, such as {tracks.free_id}",
        )


def _numbered(name: str, classes: tuple[str, ...]) -> tuple[int, tuple[str, ...]]:
    """The label of a class, and the names with it."""
    return (classes.index(name), classes) if name in classes else (len(classes), (*classes, name))


def _leave_out(track: Track, rows: IntArray) -> Track | None:
    kept = np.delete(np.arange(len(track)), rows)
    return Track(track.frames[kept], track.rows[kept]) if len(kept) else None


def _rows_of(
    id_: int, label: int, boxes: FloatArray, scores: FloatArray, *, interpolated: bool = False
) -> Tracks:
    count = len(boxes)
    return Tracks(
        boxes,
        scores,
        np.full(count, label, np.int64),
        np.full(count, id_, np.int64),
        np.full(count, interpolated),
    )


def _filled(track: Track, frame: int, fill: int) -> Track:
    """With up to `fill` frames on either side of a frame's box interpolated."""
    keys = track.frames[~track.rows.interpolated]
    position = int(np.searchsorted(keys, frame))
    neighbours = [*keys[max(position - 1, 0) : position], *keys[position + 1 : position + 2]]
    for neighbour in neighbours:
        first, last = sorted((int(neighbour), frame))
        if 0 < last - first - 1 <= fill:
            track = _interpolated(track, first, last)
    return track


def _interpolated(track: Track, first: int, last: int) -> Track:
    """Boxes straight from the one in a frame to the one in another, in all frames between."""
    start, stop = np.searchsorted(track.frames, [first, last])
    ends = track.rows[np.array([start, stop])]
    frames = np.arange(first + 1, last)
    share = ((frames - first) / (last - first)).astype(np.float32)[:, None]
    boxes = (1 - share) * ends.boxes[0] + share * ends.boxes[1]
    scores = (1 - share[:, 0]) * ends.scores[0] + share[:, 0] * ends.scores[1]
    between = _rows_of(track.id, int(ends.labels[0]), boxes, scores, interpolated=True)
    rest = track.without(first + 1, last - 1)
    if rest is None:
        raise ValueError("a track keeps the boxes that are interpolated between")
    return rest.joined(Track(frames, between))
