"""One line of tracks.jsonl, read but not trusted; see `tracks_jsonl` for what it holds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from masa_cli.errors import SourceError
from masa_cli.formats.detection_table import LARGEST, NAMELESS
from masa_cli.formats.mask_json import read_masks
from masa_cli.formats.text_file import data_lines, shortened, wrong_line
from masa_cli.structures import BoolArray, Detections, IntArray, MaskArray, Tracks


def read_records(path: Path) -> Iterator[Record]:
    """Each line as it stands; SourceError where one is no JSON object."""
    for number, line in data_lines(path):
        try:
            fields = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            raise wrong_line(path, number, "JSON", error.msg, line) from None
        if not isinstance(fields, dict):
            raise wrong_line(path, number, "a JSON object", type(fields).__name__, line)
        yield Record(path, number, line, fields)


@dataclass(frozen=True, slots=True)
class Record:
    """One line, read but not trusted."""

    path: Path
    number: int
    line: str
    fields: dict[str, Any]

    def wrong(self, expected: str, got: str) -> SourceError:
        """What to raise about this line."""
        return wrong_line(self.path, self.number, expected, got, self.line)

    def frame(self) -> int:
        """Its index."""
        return int(self._whole("frame", (), least=0))

    def time(self) -> float:
        """Seconds."""
        return float(self._numbers("time", ()))

    def detections(self, classes: dict[str, int]) -> Detections:
        """Boxes, scores and labels; new names are added to `classes`."""
        count = len(self._list("boxes"))
        return Detections(
            self._numbers("boxes", (count, 4)).astype(np.float32),
            self._numbers("scores", (count,)).astype(np.float32),
            self._labels(count, classes),
            self._masks(count),
        )

    def tracks(self, classes: dict[str, int]) -> Tracks:
        """Detections with ids."""
        found = self.detections(classes)
        ids = self._whole("ids", (len(found),), least=1)
        if len(np.unique(ids)) < len(ids):
            raise self.wrong("each id once", shortened(str(ids.tolist())))
        return replace(found.named(ids), interpolated=self._interpolated(len(ids)))

    def _interpolated(self, count: int) -> BoolArray:
        marks = self._list("interpolated") if "interpolated" in self.fields else [False] * count
        if len(marks) != count or not all(isinstance(mark, bool) for mark in marks):
            raise self.wrong(f"{count} times true or false as interpolated", shortened(str(marks)))
        return np.array(marks, np.bool_)

    def _masks(self, count: int) -> MaskArray:
        try:
            return read_masks(self.fields.get("masks"), count)
        except ValueError as error:
            raise self.wrong(f"{count} masks or null as masks", str(error)) from None

    def _labels(self, count: int, classes: dict[str, int]) -> IntArray:
        names = self._list("labels") if "labels" in self.fields else [NAMELESS] * count
        if len(names) != count or not all(isinstance(name, str) for name in names):
            raise self.wrong(f"{count} names as labels", shortened(str(names)))
        return np.array([classes.setdefault(name, len(classes)) for name in names], np.int64)

    def _list(self, key: str) -> list[Any]:
        value = self._value(key)
        if not isinstance(value, list):
            raise self.wrong(f"a list of {key}", type(value).__name__)
        return value

    def _whole(self, key: str, shape: tuple[int, ...], least: int) -> IntArray:
        numbers = self._numbers(key, shape)
        if np.any(numbers != np.floor(numbers)) or np.any(numbers < least):
            raise self.wrong(f"{key} whole and from {least}", shortened(str(numbers.tolist())))
        return numbers.astype(np.int64)

    def _numbers(self, key: str, shape: tuple[int, ...]) -> NDArray[np.float64]:
        value = self._value(key)
        try:
            numbers = np.asarray(value)
        except ValueError:  # rows of different lengths
            numbers = np.asarray(None)
        if numbers.shape == (0,):
            numbers = np.empty((0, *shape[1:]))  # [] says nothing of its second axis
        # NaN cannot be written in JSON; strings and booleans are kinds of their own.
        plain = numbers.shape == shape and numbers.dtype.kind in "iuf"
        if not plain or np.any(np.abs(numbers) >= LARGEST):
            amount = f"{' x '.join(map(str, shape))} numbers" if shape else "a number"
            raise self.wrong(f"{amount} below {LARGEST:g} as {key}", shortened(str(value)))
        return numbers.astype(np.float64)

    def _value(self, key: str) -> object:
        if key not in self.fields:
            raise self.wrong(f'"{key}"', f"only {', '.join(self.fields) or 'an empty object'}")
        return self.fields[key]
