"""File formats: one file each, reading and writing together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, Protocol

from masa_cli.errors import SettingsError, SourceError, shortened
from masa_cli.formats.files import as_utf8, data_lines, explained

if TYPE_CHECKING:
    from fractions import Fraction

    from masa_cli.formats.jsonl import TracksReader
    from masa_cli.formats.tables import DetectionTable, TrackTable
    from masa_cli.structures import Frame, FrameTracks, Tracks, VideoInfo

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

    def __iter__(self) -> Iterator[FrameTracks]:
        from masa_cli.structures import FrameTracks

        for frame, tracks in self._table.of_frames(self._time_base):
            yield FrameTracks(frame.index, float(frame.time), tracks)


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
    from masa_cli.formats.jsonl import TracksReader

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
    from masa_cli.formats.mot import recognises

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
    from masa_cli.formats.coco import read_coco

    return read_coco(path, hints.size)


def _read_tao(path: Path, hints: Hints) -> TrackTable:
    from masa_cli.formats.coco import read_tao

    return read_tao(path, hints.images, hints.size)


def _read_yolo(path: Path, hints: Hints) -> TrackTable:
    from masa_cli.formats.yolo import read_tracks as read

    return read(path, hints.size)


_READERS: Mapping[str, Callable[[Path, Hints], TrackTable]] = MappingProxyType(
    {
        "jsonl": _of_module("jsonl", "read_table"),
        "mot": _of_module("mot", "read_table"),
        "csv": _of_module("tabular", "read_csv"),
        "parquet": _of_module("tabular", "read_parquet"),
        "coco": _read_coco,
        "tao": _read_tao,
        "bdd": _of_module("bdd"),
        "cvat": _of_module("cvat"),
        "yolo-tracks": _read_yolo,
        "mots": _of_module("mots", "read_table"),
        "ytvis": _of_module("ytvis", "read_table"),
    }
)


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
        "coco": _Writer("coco", "CocoWriter", lambda info: {"info": info}),
        "bdd": _Writer("bdd", "BddWriter", lambda info: {"name": info.name}),
        "cvat": _Writer("cvat", "CvatWriter", lambda info: {"info": info}),
        "csv": _Writer("tabular", "CsvWriter", lambda info: {}),
        "parquet": _Writer("tabular", "ParquetWriter", lambda info: {"info": info}),
        "yolo": _Writer("yolo", "YoloWriter", lambda info: {"info": info}),
        "yolo-tracks": _Writer("yolo", "YoloWriter", lambda info: {"info": info, "with_ids": True}),
        "mots": _Writer("mots", "MotsTracksWriter", lambda info: {}, needs_masks=True),
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


DetectionFormat = Literal["auto", "mot", "csv", "jsonl", "coco"]

DETECTION_RULES = """\
Detections. The format is recognised by what the file holds:

\b
  mot    MOTChallenge: frame,-1,left,top,width,height,score[,class[,...]],
         frames from 1
  csv    a header with frame,x1,y1,x2,y2,score and perhaps label,
         frames from 0
  jsonl  tracks.jsonl of this tool, ids not needed, frames from 0
  coco   COCO results, with --dets-images, or one file with images and
         annotations

Rows may be in any order. Blank lines, and in text those that start with #, are skipped.
A line that is malformed, a number that is not finite and a frame that is not whole or below the
first are errors that name the line. Boxes of no area, boxes wholly outside the image and boxes of
frames past the end of the video are dropped and counted. Boxes partly outside stay as they are.
Scores may be of any range. An empty file holds no detections."""

# Each module has recognises(first_line) and read_detections(path); coco takes `images` as well.
_MODULES = {
    "jsonl": "masa_cli.formats.jsonl",
    "coco": "masa_cli.formats.coco",
    "csv": "masa_cli.formats.tabular",
    "mot": "masa_cli.formats.mot",
}


def read_detections(
    path: Path, *, format: DetectionFormat = "auto", images: Path | None = None
) -> DetectionTable:
    """All detections of a file, by the rules of DETECTION_RULES.

    Args:
        path: the file.
        format: its format; "auto" looks at its first line.
        images: for COCO results, the file whose images tell the frame of each image_id.

    Raises:
        SourceError: the file cannot be read or breaks a rule.
        SettingsError: `images` is given for another format than COCO.
    """
    chosen = _recognised(path) if format == "auto" else format
    if images is not None and chosen != "coco":
        raise SettingsError(
            f"--dets-images is for COCO results, but {path} is {chosen}",
            fix="leave out --dets-images",
        )
    options = {} if images is None else {"images": images}
    table: DetectionTable = import_module(_MODULES[chosen]).read_detections(path, **options)
    return table


def _recognised(path: Path) -> str:
    """The format whose module recognises the first line; an empty file is none in particular."""
    number, line = next(data_lines(path), (0, ""))
    if not number:
        return "coco"  # the one that never minds `images`
    for name, module in _MODULES.items():
        if import_module(module).recognises(line):
            return name
    raise SourceError(
        f'{path} line {number} is like none of the known formats: "{shortened(line)}"',
        fix=f"write it as one of {', '.join(_MODULES)} (masa track --help, option --dets), "
        "or name its format",
    )
