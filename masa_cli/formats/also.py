"""Formats that results can be written in besides our own, by name: one row each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
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


# module and class of the writer, and which facts of the video it is told.
_WRITERS: Mapping[str, tuple[str, str, Callable[[VideoInfo], dict[str, Any]]]] = MappingProxyType(
    {
        "tao": ("tao", "TaoWriter", lambda info: {}),
        "coco": ("coco_video", "CocoWriter", lambda info: {"info": info}),
        "bdd": ("bdd", "BddWriter", lambda info: {"name": info.name}),
        "cvat": ("cvat", "CvatWriter", lambda info: {"info": info}),
        "csv": ("csv_tracks", "CsvWriter", lambda info: {}),
        "parquet": ("parquet_tracks", "ParquetWriter", lambda info: {"info": info}),
        "yolo": ("yolo", "YoloWriter", lambda info: {"info": info}),
        "yolo-tracks": ("yolo", "YoloWriter", lambda info: {"info": info, "with_ids": True}),
    }
)
NAMES = tuple(_WRITERS)


def parse_names(text: str) -> tuple[str, ...]:
    """The formats in a list such as "tao,coco", each once.

    Raises:
        SettingsError: one of them is not known, or cannot be written from boxes.
    """
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    for name in names:
        if name == "mots":
            raise SettingsError("mots holds masks, but boxes are tracked", fix="leave out mots")
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
    module, kind, facts = _WRITERS[name]
    writer = getattr(import_module(f"masa_cli.formats.{module}"), kind)
    opened: AbstractContextManager[TracksSink] = writer(
        path, classes=classes, **facts(_writable(info))
    )
    return opened


def _writable(info: VideoInfo) -> VideoInfo:
    """The same with a name that any format can hold."""
    return replace(info, name=as_utf8(info.name))
