"""A tracks.jsonl read as columns, many lines at a time; what jsonl.py reads line by line."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from masa_cli.formats.tables import LARGEST, NAMELESS, TrackTable, check_frame
from masa_cli.formats.times import FrameTimes
from masa_cli.structures import IntArray, Tracks

Progress = Callable[[float], None]  # is told a share, from 0 to 1


def untold(share: float) -> None:
    """The progress of what nobody waits for."""


_LINES = 256  # made columns of at once: what they hold still fits into a processor's cache
_NUMBERS, _WHOLE = frozenset({int, float}), frozenset({int})
_OF_LINES = ("frame", "time", "boxes")


def read_at_once(path: Path, progress: Progress = untold) -> TrackTable | None:
    """All tracks of a tracks.jsonl whose lines are all right: hours of video are read in seconds.

    None for any other file, and for one with masks, whose reading takes the time.

    Args:
        path: the file.
        progress: is told the share of it that is read.
    """
    classes: dict[str, int] = {}
    parts: list[tuple[IntArray, NDArray[np.float64], IntArray, Tracks]] = []
    try:
        size, done = max(path.stat().st_size, 1), 0
        with path.open("rb") as file, _without_collection():
            while lines := list(islice(file, _LINES)):
                parts.append(_columns([orjson.loads(line) for line in lines], classes))
                done += sum(map(len, lines))
                progress(done / size)
    except (OSError, ValueError, TypeError, KeyError, OverflowError):
        return None
    if not parts:
        return None
    frames = np.concatenate([part[0] for part in parts])
    times = np.concatenate([part[1] for part in parts])
    if frames[0] < 0 or np.any(np.diff(frames) <= 0):
        return None
    num_frames = int(frames[-1]) + 1
    check_frame(path, num_frames - 1)
    return TrackTable.from_rows(
        path,
        np.repeat(frames, np.concatenate([part[2] for part in parts])),
        Tracks.joined(part[3] for part in parts),
        tuple(classes) or (NAMELESS,),
        num_frames=num_frames,
        times=FrameTimes.of_rows(path, frames, times),
    )


_KINDS: Mapping[str, frozenset[type]] = MappingProxyType(
    {
        "ids": frozenset({int}),
        "scores": _NUMBERS,
        "labels": frozenset({str}),
        "interpolated": frozenset({bool}),
        "margins": _NUMBERS | {type(None)},
    }
)
_USUAL: Mapping[str, object] = MappingProxyType(
    {"labels": NAMELESS, "interpolated": False, "margins": None}
)


def _columns(
    records: Sequence[Mapping[str, Any]], classes: dict[str, int]
) -> tuple[IntArray, NDArray[np.float64], IntArray, Tracks]:
    """Frames, times, counts and rows of some lines; ValueError for what is not plainly right."""
    if any("masks" in record for record in records):
        raise ValueError("masks")
    frames, times, lists = ([record[key] for record in records] for key in _OF_LINES)
    counts, boxes = list(map(len, lists)), list(chain.from_iterable(lists))
    sides = list(chain.from_iterable(boxes))
    columns = {key: _column(records, key, counts) for key in _KINDS}
    told = [(columns[key], kinds) for key, kinds in _KINDS.items()]
    told += [(sides, _NUMBERS), (times, _NUMBERS), (frames, _WHOLE), (lists, frozenset({list}))]
    if any(not set(map(type, values)) <= kinds for values, kinds in told):
        raise ValueError("kinds")
    if any(len(set(record["ids"])) < count for record, count in zip(records, counts, strict=True)):
        raise ValueError("an id twice")
    corners, seconds, scores = (
        np.array(values, np.float64) for values in (sides, times, columns["scores"])
    )
    if any(np.any(np.abs(values) >= LARGEST) for values in (corners, seconds, scores)):
        raise ValueError("numbers")
    ids, labels = np.array(columns["ids"], np.int64), columns["labels"]
    if ids.min(initial=0) < 0 or not set(map(len, boxes)) <= {4}:
        raise ValueError("ids or boxes")
    for name in dict.fromkeys(labels):  # in the order in which they appear
        classes.setdefault(name, len(classes))
    margins = np.array(columns["margins"], np.float32)  # null is NaN, which JSON has not
    tracks = Tracks(
        corners.astype(np.float32).reshape(-1, 4),
        scores.astype(np.float32),
        np.fromiter(map(classes.__getitem__, labels), np.int64, len(labels)),
        ids,
        np.array(columns["interpolated"], np.bool_),
        margins=np.where(np.isnan(margins), np.float32(np.inf), margins),
    )
    return np.array(frames, np.int64), seconds, np.array(counts, np.int64), tracks


def _column(records: Sequence[Mapping[str, Any]], key: str, counts: Sequence[int]) -> list[Any]:
    """The values of all boxes under a key; ValueError unless each line has one for each of its."""
    if key in _USUAL:
        if not any(key in record for record in records):
            return [_USUAL[key]] * sum(counts)
        usual = [_USUAL[key]]
        lists = [
            record[key] if key in record else usual * count
            for record, count in zip(records, counts, strict=True)
        ]
    else:
        lists = [record[key] for record in records]
    if set(map(type, lists)) - {list} or list(map(len, lists)) != counts:
        raise ValueError(key)
    return list(chain.from_iterable(lists))


@contextmanager
def _without_collection() -> Iterator[None]:
    """Millions of lists are made, none of which is a circle: looking for those took longer."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
