"""Tracks as a Parquet table, for pandas, polars, DuckDB and the like. Needs pyarrow.

Columns as in csv_tracks; the metadata of the file tells the number of frames and, where known, the
size of the video.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from masa_cli.errors import SettingsError, SourceError
from masa_cli.formats.detection_table import LARGEST
from masa_cli.formats.part_file import part_of, unwritable
from masa_cli.formats.text_file import explained
from masa_cli.formats.track_table import TrackTable, numbered
from masa_cli.structures import Frame, Tracks, VideoInfo

_CORNERS = ("x1", "y1", "x2", "y2")
_ROWS_AT_ONCE = 100_000  # of a row group: what is in memory while writing


class ParquetWriter:
    """Writes a row per box, in groups of some hundred thousand.

    Args:
        path: replaced at a clean close; until then `<path>.part`.
        info: the video.
        classes: names of the labels.
    """

    def __init__(self, path: Path, *, info: VideoInfo, classes: Sequence[str]) -> None:
        self._arrow = _require("pyarrow")
        self._path, self._part = path, part_of(path)
        self._info, self._names = info, np.array(classes, object)
        self._held: list[tuple[int, float, Tracks]] = []
        self._num_held = self._num_frames = 0
        try:
            self._file = _require("pyarrow.parquet").ParquetWriter(str(self._part), self._schema())
        except OSError as error:
            raise unwritable(self._part, str(error)) from error

    def write(self, frame: Frame, tracks: Tracks) -> None:
        """Append one frame."""
        self._held.append((frame.index, float(frame.time), tracks))
        self._num_held += len(tracks)
        self._num_frames = frame.index + 1
        if self._num_held >= _ROWS_AT_ONCE:
            self._write_held()

    def __enter__(self) -> ParquetWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            self._write_held()
            self._file.add_key_value_metadata({"frames": str(self._num_frames)})
            self._file.close()
            if kind is None:
                os.replace(self._part, self._path)
        except OSError as failure:
            if kind is None:
                raise unwritable(self._part, str(failure)) from failure

    def _schema(self) -> Any:  # noqa: ANN401 - pyarrow has no types
        arrow = self._arrow
        return arrow.schema(
            [
                ("frame", arrow.int64()),
                ("time", arrow.float64()),
                ("id", arrow.int64()),
                *((name, arrow.float32()) for name in (*_CORNERS, "score")),
                ("label", arrow.string()),
                ("interpolated", arrow.bool_()),
            ],
            metadata={"width": str(self._info.width), "height": str(self._info.height)},
        )

    def _write_held(self) -> None:
        counts = [len(tracks) for _, _, tracks in self._held]
        tracks = Tracks.joined(tracks for _, _, tracks in self._held)
        columns = {
            "frame": np.repeat([index for index, _, _ in self._held], counts),
            "time": np.repeat([time for _, time, _ in self._held], counts),
            "id": tracks.ids,
            **dict(zip(_CORNERS, np.ascontiguousarray(tracks.boxes.T), strict=True)),
            "score": tracks.scores,
            "label": self._names[tracks.labels] if len(tracks) else np.empty(0, object),
            "interpolated": tracks.interpolated,
        }
        schema = self._file.schema
        arrays = [self._arrow.array(columns[field.name], type=field.type) for field in schema]
        try:
            self._file.write_table(self._arrow.Table.from_arrays(arrays, schema=schema))
        except OSError as error:
            raise unwritable(self._part, str(error)) from error
        self._held.clear()
        self._num_held = 0


def read_tracks(path: Path) -> TrackTable:
    """Read the table; other columns are ignored, `label` and `interpolated` may be missing.

    Raises:
        SourceError: it is no Parquet file, or a column is missing or of another kind.
        SettingsError: pyarrow is not installed.
    """
    parquet, arrow = _require("pyarrow.parquet"), _require("pyarrow")
    with explained(path):
        path.open("rb").close()
    try:
        table = parquet.read_table(str(path))
        meta = parquet.read_metadata(str(path)).metadata or {}
        column = {name: _plain(table, name) for name in ("frame", "id", *_CORNERS, "score")}
        names = table["label"].to_pylist() if "label" in table.column_names else []
        marks = table["interpolated"].to_pylist() if "interpolated" in table.column_names else []
        width, height, num_frames = (
            int(meta.get(key, b"0")) for key in (b"width", b"height", b"frames")
        )
    except (arrow.ArrowException, KeyError, ValueError, TypeError, OSError) as error:
        raise SourceError(
            f"{path} cannot be read as a Parquet table of tracks: {error}",
            fix="it needs columns frame, id, x1, y1, x2, y2 and score, all numbers",
        ) from error
    labels, classes = numbered([str(name) for name in names or ["object"] * len(table)])
    tracks = Tracks(
        np.stack([column[name] for name in _CORNERS], axis=1).astype(np.float32),
        column["score"].astype(np.float32),
        labels,
        column["id"].astype(np.int64),
        np.array([bool(mark) for mark in marks] or np.zeros(len(table)), np.bool_),
    )
    return TrackTable.from_rows(
        path,
        column["frame"].astype(np.int64),
        tracks,
        classes or ("object",),
        num_frames=num_frames,
        size=(width, height) if width and height else None,
    )


def _plain(table: Any, name: str) -> Any:  # noqa: ANN401 - pyarrow has no types
    """A column of finite numbers; ValueError for anything else."""
    numbers = np.asarray(table[name].to_numpy(), np.float64)
    if not np.all(np.abs(numbers) < LARGEST):
        raise ValueError(f"column {name} has numbers that are not finite or below {LARGEST:g}")
    if name in {"frame", "id"} and np.any((numbers != np.floor(numbers)) | (numbers < 0)):
        raise ValueError(f"column {name} has numbers that are not whole and from 0")
    return numbers


def _require(module: str) -> Any:  # noqa: ANN401 - pyarrow has no types
    try:
        return import_module(module)
    except ModuleNotFoundError:
        raise SettingsError(
            "Parquet needs pyarrow, which is not installed", fix="pip install 'masa[parquet]'"
        ) from None
