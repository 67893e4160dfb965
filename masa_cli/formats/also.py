"""Formats that results can be written in besides our own, by name: one row each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

from masa_cli.errors import SettingsError
from masa_cli.formats.text_file import as_utf8
from masa_cli.structures import Frame, Tracks, VideoInfo


class TracksSink(Protocol):
    """Takes the tracks of each frame, in order."""

    def write(self, frame: Frame, tracks: Tracks) -> None:
        """Take one frame."""
        ...


@dataclass(frozen=True, slots=True)
class _Writer:
    """Where a writer is, and what it wants."""

    module: str
    kind: str
    facts: Callable[[VideoInfo], dict[str, Any]]  # of the video, that it is told
    needs_masks: bool = False


_WRITERS: Mapping[str, _Writer] = MappingProxyType(
    {
        "tao": _Writer("tao", "TaoWriter", lambda info: {}),
        "coco": _Writer("coco_video", "CocoWriter", lambda info: {"info": info}),
        "bdd": _Writer("bdd", "BddWriter", lambda info: {"name": info.name}),
        "cvat": _Writer("cvat", "CvatWriter", lambda info: {"info": info}),
        "csv": _Writer("csv_tracks", "CsvWriter", lambda info: {}),
        "parquet": _Writer("parquet_tracks", "ParquetWriter", lambda info: {"info": info}),
        "yolo": _Writer("yolo", "YoloWriter", lambda info: {"info": info}),
        "yolo-tracks": _Writer("yolo", "YoloWriter", lambda info: {"info": info, "with_ids": True}),
        "mots": _Writer("mots_tracks", "MotsTracksWriter", lambda info: {}, needs_masks=True),
        "ytvis": _Writer("ytvis", "YtvisWriter", lambda info: {"info": info}, needs_masks=True),
    }
)
NAMES = tuple(_WRITERS)
NEED_MASKS = tuple(name for name, writer in _WRITERS.items() if writer.needs_masks)


def parse_names(text: str) -> tuple[str, ...]:
    """The formats in a list such as "tao,coco", each once.

    Raises:
        SettingsError: one of them is not known.
    """
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    for name in names:
        if name not in _WRITERS:
            raise SettingsError(
                f'--also: unknown format "{name}"', fix=f"use some of: {', '.join(NAMES)}"
            )
    return names


def check(names: Sequence[str], info: VideoInfo) -> None:
    """Raise SettingsError for formats that cannot be written of this video, or on this machine."""
    if "parquet" in names and find_spec("pyarrow") is None:
        raise SettingsError(
            "Parquet needs pyarrow, which is not installed", fix="pip install 'masa[parquet]'"
        )
    if not info.width and {"yolo", "yolo-tracks"} & set(names):
        raise SettingsError(
            "YOLO's coordinates are shares of the picture, whose size is not known",
            fix="give the video as well, or leave out yolo",
        )


def open_writer(
    name: str, path: Path, *, info: VideoInfo, classes: Sequence[str]
) -> AbstractContextManager[TracksSink]:
    """A writer of that format; `path` is complete once it is closed without an exception."""
    row = _WRITERS[name]
    writer = getattr(import_module(f"masa_cli.formats.{row.module}"), row.kind)
    opened: AbstractContextManager[TracksSink] = writer(
        path, classes=classes, **row.facts(_writable(info))
    )
    return opened


def _writable(info: VideoInfo) -> VideoInfo:
    """The same with a name that any format can hold."""
    return replace(info, name=as_utf8(info.name))
