"""Tracks of any format: what the file holds decides, not its name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from masa_cli.errors import SettingsError, SourceError
from masa_cli.formats.text_file import explained

if TYPE_CHECKING:
    from fractions import Fraction

    from masa_cli.formats.track_table import TrackTable
    from masa_cli.formats.tracks_jsonl import TracksReader
    from masa_cli.structures import Tracks

TrackFormat = Literal[
    "auto",
    "jsonl",
    "mot",
    "csv",
    "parquet",
    "coco",
    "tao",
    "bdd",
    "cvat",
    "yolo-tracks",
    "mots",
    "ytvis",
]
_FIX = f"name its format with --from: {', '.join(TrackFormat.__args__[1:])}"  # type: ignore[attr-defined]
_PEEK = 65_536  # bytes in which the keys of a JSON file are looked for


@dataclass(frozen=True, slots=True)
class Hints:
    """What the user says of a file that does not tell by itself.

    Attributes:
        size: width and height of the video, pixels.
        images: a JSON file whose images tell the frame of each image_id, for TAO results.
    """

    size: tuple[int, int] | None = None
    images: Path | None = None


def read_tracks(
    path: Path, *, format: TrackFormat = "auto", hints: Hints | None = None
) -> TrackTable:
    """All tracks of a file or folder.

    Args:
        path: the file; the folder of YOLO's labels.
        format: its format; "auto" looks at what it holds.
        hints: what the user says of it.

    Raises:
        SourceError: it cannot be read, or breaks a rule of its format.
        SettingsError: something must be known that is not among the hints.
    """
    hints = hints or Hints()
    chosen = recognised(path) if format == "auto" else format
    if hints.images is not None and chosen != "tao":
        raise SettingsError(
            f"--images is for TAO results, but {path} is {chosen}", fix="leave out --images"
        )
    table = _READERS[chosen](path, hints)
    return table if table.size else replace(table, size=hints.size)


class TableReader:
    """The frames of a table, one by one, as those of `TracksReader`.

    Args:
        table: the tracks.
        time_base: seconds from frame to frame, where the table tells no times.
    """

    def __init__(self, table: TrackTable, time_base: Fraction) -> None:
        self._table, self._time_base = table, time_base

    @property
    def classes(self) -> tuple[str, ...]:
        """Names that labels index."""
        return self._table.classes

    def __iter__(self) -> Iterator[tuple[int, float, Tracks]]:
        for frame, tracks in self._table.of_frames(self._time_base):
            yield frame.index, float(frame.time), tracks


def open_tracks(
    path: Path, size: tuple[int, int], time_base: Fraction
) -> TracksReader | TableReader:
    """The frames of a file of tracks; of our own format line by line, of others all at once.

    Args:
        path: the file, or the folder of YOLO's labels.
        size: width and height of the video, pixels.
        time_base: seconds from frame to frame, where the file tells no times.

    Raises:
        SourceError: it is like none of the formats; for our own, when a line is reached.
    """
    from masa_cli.formats.tracks_jsonl import TracksReader  # noqa: PLC0415 - numpy

    if recognised(path) == "jsonl":
        return TracksReader(path)
    return TableReader(read_tracks(path, hints=Hints(size)), time_base)


def recognised(path: Path) -> str:
    """The format of a file, by what it holds; SourceError if it is none we know."""
    if path.is_dir():
        return "yolo-tracks"
    with explained(path), path.open("rb") as file:
        head = file.read(_PEEK)
    if head.startswith(b"PAR1"):
        return "parquet"
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    first = text.partition(b"\n")[0].decode(errors="replace")
    for name, is_like in _SIGNS.items():
        if is_like(first, text):
            return name
    raise SourceError(f"{path} is like none of the formats of tracks", fix=_FIX)


def _is_csv(first: str, text: bytes) -> bool:
    names = {name.strip().strip('"').lower() for name in first.split(",")}
    return {"frame", "id"} <= names


def _is_mot(first: str, text: bytes) -> bool:
    from masa_cli.formats.mot import recognises  # noqa: PLC0415 - numpy

    return not text or recognises(first)


# In this order; each is given the first line and all that was peeked at.
_SIGNS: Mapping[str, Callable[[str, bytes], bool]] = MappingProxyType(
    {
        "cvat": lambda first, text: text.startswith(b"<"),
        "jsonl": lambda first, text: first.startswith("{") and '"frame"' in first,
        "bdd": lambda first, text: text[:1] in (b"[", b"{") and b'"frameIndex"' in text,
        "ytvis": lambda first, text: text[:1] in (b"[", b"{") and b'"segmentations"' in text,
        "coco": lambda first, text: text.startswith(b"{"),
        "tao": lambda first, text: text.startswith(b"["),
        "mots": lambda first, text: "," not in first and len(first.split()) == 6,
        "csv": _is_csv,
        "mot": _is_mot,
    }
)


def _of_module(module: str, function: str = "read_tracks") -> Callable[[Path, Hints], TrackTable]:
    def read(path: Path, hints: Hints) -> TrackTable:
        table: TrackTable = getattr(import_module(f"masa_cli.formats.{module}"), function)(path)
        return table

    return read


def _read_coco(path: Path, hints: Hints) -> TrackTable:
    from masa_cli.formats.coco_tracks import read_coco  # noqa: PLC0415

    return read_coco(path, hints.size)


def _read_tao(path: Path, hints: Hints) -> TrackTable:
    from masa_cli.formats.coco_tracks import read_tao  # noqa: PLC0415

    return read_tao(path, hints.images, hints.size)


def _read_yolo(path: Path, hints: Hints) -> TrackTable:
    from masa_cli.formats.yolo import read_tracks as read  # noqa: PLC0415

    return read(path, hints.size)


_READERS: Mapping[str, Callable[[Path, Hints], TrackTable]] = MappingProxyType(
    {
        "jsonl": _of_module("tracks_jsonl", "read_table"),
        "mot": _of_module("mot", "read_table"),
        "csv": _of_module("csv_tracks"),
        "parquet": _of_module("parquet_tracks"),
        "coco": _read_coco,
        "tao": _read_tao,
        "bdd": _of_module("bdd_tracks"),
        "cvat": _of_module("cvat_reader"),
        "yolo-tracks": _read_yolo,
        "mots": _of_module("mots_tracks", "read_table"),
        "ytvis": _of_module("ytvis", "read_table"),
    }
)
