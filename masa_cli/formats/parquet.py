"""Tables of tracks as Parquet, with the columns of csv (tabular.py), by pyarrow."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from masa_cli.errors import SettingsError, SourceError
from masa_cli.formats.files import explained, part_of, unwritable
from masa_cli.formats.headers import BOX_FORMS, CORNERS, columns_of_names, missing_in
from masa_cli.formats.numbering import check_same_video
from masa_cli.formats.tables import LARGEST, MAX_ID, NAMELESS, NO_ID, TrackTable, numbered
from masa_cli.formats.text_columns import BOXES, corners_of, scores_of
from masa_cli.formats.times import FrameTimes
from masa_cli.structures import Frame, Tracks, VideoInfo

logger = logging.getLogger(__name__)

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
                *((name, arrow.float32()) for name in (*CORNERS, "score")),
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
            **dict(zip(CORNERS, np.ascontiguousarray(tracks.boxes.T), strict=True)),
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


def read_parquet(path: Path) -> TrackTable:
    """Read the table; other columns are ignored, `label` and `interpolated` may be missing.

    Raises:
        SourceError: it is no Parquet file, or a column is missing or of another kind.
        SettingsError: pyarrow is not installed.
    """
    parquet, arrow = _require("pyarrow.parquet"), _require("pyarrow")
    with explained(path):
        path.open("rb").close()
    try:
        table = _renamed(parquet.read_table(str(path)))
        meta = parquet.read_metadata(str(path)).metadata or {}
        if missing := missing_in(table.column_names, ("frame", "id")):
            raise KeyError(f"no column {', '.join(missing)}")
        kept = {"frame", "id", "score"}.union(*BOX_FORMS)
        column = {name: _plain(table, name) for name in table.column_names if name in kept}
        names = table["label"].to_pylist() if "label" in table.column_names else []
        marks = table["interpolated"].to_pylist() if "interpolated" in table.column_names else []
        seconds = _seconds(table, path) if "time" in table.column_names else None
        videos = table["video"].to_pylist() if "video" in table.column_names else []
        width, height, num_frames = (
            int(meta.get(key, b"0")) for key in (b"width", b"height", b"frames")
        )
    except (arrow.ArrowException, KeyError, ValueError, TypeError, OSError) as error:
        raise SourceError(
            f"{path} cannot be read as a Parquet table of tracks: {error}",
            fix=f"it needs columns frame, id and {BOXES}, all numbers",
        ) from error
    check_same_video(videos, path)
    frames = column["frame"].astype(np.int64)
    labels, classes = numbered([str(name) for name in names or [NAMELESS] * len(table)])
    tracks = Tracks(
        corners_of(column),
        scores_of(column, len(table), path),
        labels,
        column["id"].astype(np.int64),
        np.array([bool(mark) for mark in marks] or np.zeros(len(table)), np.bool_),
    )
    return TrackTable.from_rows(
        path,
        frames,
        tracks,
        classes or (NAMELESS,),
        num_frames=num_frames,
        times=None if seconds is None else FrameTimes.of_rows(path, frames, seconds),
        size=(width, height) if width and height else None,
    )


def _renamed(table: Any) -> Any:  # noqa: ANN401 - pyarrow has no types
    """The columns that are read, under our names."""
    columns = columns_of_names(table.column_names)
    return table.select(list(columns.values())).rename_columns(list(columns))


def _seconds(table: Any, path: Path) -> NDArray[np.float64]:  # noqa: ANN401 - no types
    """The column of times; NaN where it holds something else, which is said."""
    try:
        return np.asarray(table["time"].to_numpy(), np.float64)
    except (TypeError, ValueError):
        logger.warning("%s: its column time is not read: it holds no seconds", path)
        return np.full(len(table), np.nan)


def _plain(table: Any, name: str) -> Any:  # noqa: ANN401 - pyarrow has no types
    """A column of finite numbers; ValueError for anything else."""
    values = np.asarray(table[name].to_numpy())
    if name == "id" and values.dtype.kind == "f":
        values = np.where(np.isnan(values), NO_ID, values)
    numbers, limit = values.astype(np.float64), float(MAX_ID) if name == "id" else LARGEST
    if not np.all(np.abs(numbers) < limit):
        raise ValueError(f"column {name} has numbers that are not finite or below {limit:g}")
    if name in {"frame", "id"} and np.any(
        (numbers != np.floor(numbers)) | (numbers < (NO_ID if name == "id" else 0))
    ):
        raise ValueError(f"column {name} has numbers that are not whole and from 0")
    return values if name == "id" else numbers  # float64 does not hold all ids


def _require(module: str) -> Any:  # noqa: ANN401 - pyarrow has no types
    try:
        return import_module(module)
    except ModuleNotFoundError:
        raise SettingsError(
            "Parquet needs pyarrow, which is not installed", fix="pip install 'masa[parquet]'"
        ) from None
