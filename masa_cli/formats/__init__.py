"""The formats of tracks, a row each: nothing else declares one (detections: detections.py).

Help, choices, names of results and recognition are made from the rows by the functions here. They
look FORMATS up at each call, so a row that is added to it is known everywhere.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, TypeVar

from masa_cli.errors import SettingsError, SourceError
from masa_cli.formats.files import as_utf8, head_of
from masa_cli.formats.headers import is_kitti, is_mot, is_records, is_table

if TYPE_CHECKING:
    from fractions import Fraction

    from masa_cli.formats.jsonl import TracksReader
    from masa_cli.formats.tables import DetectionTable, TableReader, TrackTable
    from masa_cli.structures import Frame, Tracks, VideoInfo

    Table = TypeVar("Table", TrackTable, DetectionTable)

AUTO = "auto"  # in place of a format's name: recognise it

# Whether a file is of a format: by its first line, and by the bytes it begins with.
Sniff: TypeAlias = Callable[[str, bytes], bool]
# What comes back beside boxes and identities when a file is read that was written in the format:
# the names of classes, scores, which boxes are interpolated, the number of frames, times, masks.
Content: TypeAlias = Literal["names", "scores", "interpolated", "length", "times", "masks"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackFormat:
    """All that is known of a format of tracks outside the module that reads and writes it.

    Attributes:
        summary: a few words for users.
        endings: how names of files end, without the first dot. Results of a run have the first;
            a target of conversion may have any.
        sniff: tells whether a file is of this format; rows are tried in order. None: not a file.
        read: "module:function" from a path to a TrackTable; None: cannot be read.
        read_with: which of the hints that function takes, by name: size, images, pictures; and
            progress, if it tells how far it is.
        first: what the format calls the first frame, where `pictures` is none of its hints.
        stream: "module:class" that gives the frames of a path one by one, if there is one.
        write: "module:class" of a context that takes each frame, a TracksSink; None: read only.
        write_with: what its constructor takes beside the path, by name: info (the video), classes
            (their names), with_classes (whether the number of the class is wanted).
        holds: what comes back.
        needs: "masks": every box needs one; "size": the video's width and height must be known.
        package: that must be installed, by the extra of masa that has the name of the format.
        is_folder: it is a folder of files.
        by_default: each run writes it without being asked.
    """

    summary: str
    endings: tuple[str, ...] = ()
    sniff: Sniff | None = None
    read: str | None = None
    read_with: tuple[str, ...] = ()
    first: int = 0
    stream: str | None = None
    write: str | None = None
    write_with: tuple[str, ...] = ("info", "classes")
    holds: frozenset[Content] = frozenset()
    needs: frozenset[Literal["masks", "size"]] = frozenset()
    package: str | None = None
    is_folder: bool = False
    by_default: bool = False


def _has(key: bytes) -> Sniff:
    """JSON with that key near its beginning."""
    return lambda line, head: head[:1] in (b"[", b"{") and key in head


def _has_sequence(head: bytes) -> bool:
    """JSON with keyframes, as Label Studio has them."""
    return head[:1] in (b"[", b"{") and bool(re.search(rb'"sequence"\s*:\s*\[', head))


# The surer a sniff is, the earlier its row.
FORMATS: Mapping[str, TrackFormat] = MappingProxyType(
    {
        "jsonl": TrackFormat(
            summary="masa's own: everything",
            endings=("jsonl",),
            sniff=lambda line, head: (
                line.startswith("{") and '"frame"' in line and not _has_sequence(head)
            ),
            read="masa_cli.formats.jsonl:read_tracks",
            read_with=("progress",),
            stream="masa_cli.formats.jsonl:TracksReader",
            write="masa_cli.formats.jsonl:TracksWriter",
            write_with=("classes",),
            holds=frozenset({"names", "scores", "interpolated", "length", "times", "masks"}),
            by_default=True,
        ),
        "parquet": TrackFormat(
            summary="the columns of csv",
            endings=("parquet",),
            sniff=lambda line, head: head.startswith(b"PAR1"),
            read="masa_cli.formats.parquet:read_parquet",
            write="masa_cli.formats.parquet:ParquetWriter",
            holds=frozenset({"names", "scores", "interpolated", "length", "times"}),
            package="pyarrow",
        ),
        "cvat": TrackFormat(
            summary="CVAT for video 1.1, a keyframe per frame; one class per track",
            endings=("cvat.xml", "xml"),
            sniff=lambda line, head: head.startswith(b"<") and not is_mot(line),
            read="masa_cli.formats.cvat:read_tracks",
            write="masa_cli.formats.cvat:CvatWriter",
            holds=frozenset({"names", "scores", "interpolated", "length", "times"}),
        ),
        "labelstudio": TrackFormat(
            summary="Label Studio's JSON of a video; read only",
            endings=("labelstudio.json",),
            sniff=lambda line, head: _has_sequence(head),
            read="masa_cli.formats.labelstudio:read_tracks",
            read_with=("size",),
        ),
        "bdd": TrackFormat(
            summary="BDD100K, scalabel",
            endings=("bdd.json",),
            sniff=_has(b'"frameIndex"'),
            read="masa_cli.formats.bdd_tracks:read_tracks",
            read_with=("pictures",),
            write="masa_cli.formats.bdd_tracks:BddWriter",
            holds=frozenset({"names", "scores", "interpolated", "length", "times", "masks"}),
        ),
        "ytvis": TrackFormat(
            summary="YouTube-VIS: masks, one class and score per track",
            endings=("ytvis.json",),
            sniff=_has(b'"segmentations"'),
            read="masa_cli.formats.ytvis:read_tracks",
            read_with=("pictures",),
            write="masa_cli.formats.ytvis:YtvisWriter",
            holds=frozenset({"names", "interpolated", "length", "masks"}),
            needs=frozenset({"masks"}),
        ),
        "coco": TrackFormat(
            summary="COCO with videos, track_id and instance_id",
            endings=("coco.json",),
            sniff=lambda line, head: head.startswith(b"{"),
            read="masa_cli.formats.coco:read_tracks",
            read_with=("size", "pictures"),
            write="masa_cli.formats.coco:CocoWriter",
            holds=frozenset({"names", "scores", "interpolated", "length", "times", "masks"}),
        ),
        "records": TrackFormat(
            summary="JSON with an object per box, the columns of csv; read only",
            endings=("records.json",),
            sniff=lambda line, head: is_records(head),
            read="masa_cli.formats.tabular:read_records",
        ),
        "tao": TrackFormat(
            summary="TAO results; classes as numbers",
            endings=("tao.json",),
            sniff=lambda line, head: head.startswith(b"["),
            read="masa_cli.formats.tao:read_tracks",
            read_with=("size", "images", "pictures"),
            write="masa_cli.formats.tao:TaoWriter",
            write_with=("classes",),
            holds=frozenset({"scores", "interpolated"}),
        ),
        "mots": TrackFormat(
            summary="MOTS text: masks, classes as numbers",
            endings=("mots.txt",),
            sniff=lambda line, head: (
                "," not in line and len(line.split()) == 6 and line[:1].isdigit()
            ),
            read="masa_cli.formats.mots:read_tracks",
            first=1,
            write="masa_cli.formats.mots:MotsTracksWriter",
            write_with=("classes",),
            holds=frozenset({"masks"}),
            needs=frozenset({"masks"}),
        ),
        "kitti": TrackFormat(
            summary="KITTI's labels of tracks",
            endings=("kitti.txt",),
            sniff=lambda line, head: is_kitti(line),
            read="masa_cli.formats.kitti:read_tracks",
            write="masa_cli.formats.kitti:KittiWriter",
            write_with=("classes",),
            holds=frozenset({"names", "scores"}),
        ),
        "csv": TrackFormat(
            summary="frame,time,id,x1,y1,x2,y2,score,label,interpolated",
            endings=("csv",),
            sniff=lambda line, head: is_table(line, "id"),
            read="masa_cli.formats.tabular:read_csv",
            write="masa_cli.formats.tabular:CsvWriter",
            write_with=("classes",),
            holds=frozenset({"names", "scores", "interpolated", "times"}),
        ),
        "mot": TrackFormat(
            summary="MOTChallenge; classes as numbers",
            endings=("txt",),
            sniff=lambda line, head: not head or is_mot(line),
            read="masa_cli.formats.mot:read_tracks",
            first=1,
            write="masa_cli.formats.mot:MotWriter",
            write_with=("with_classes",),
            holds=frozenset({"scores"}),
            by_default=True,
        ),
        "yolo-tracks": TrackFormat(
            summary="a folder: class x y w h score id in a text per frame",
            endings=("yolo-tracks",),
            read="masa_cli.formats.yolo:read_tracks",
            read_with=("size", "pictures"),
            write="masa_cli.formats.yolo:YoloTracksWriter",
            holds=frozenset({"names", "scores", "length"}),
            needs=frozenset({"size"}),
            is_folder=True,
        ),
        "yolo": TrackFormat(
            summary="a folder: class x y w h, to train with; no identities, written only",
            endings=("yolo",),
            write="masa_cli.formats.yolo:YoloWriter",
            needs=frozenset({"size"}),
            is_folder=True,
        ),
    }
)


def readable_names() -> tuple[str, ...]:
    """Formats of tracks that can be read."""
    return tuple(name for name, row in FORMATS.items() if row.read)


def writable_names() -> tuple[str, ...]:
    """Formats of tracks that can be written."""
    return tuple(name for name, row in FORMATS.items() if row.write)


def further_names() -> tuple[str, ...]:
    """Formats that a run writes where it is asked to."""
    return tuple(name for name in writable_names() if not FORMATS[name].by_default)


def needing_masks(names: Sequence[str]) -> list[str]:
    """Those of the formats that hold nothing but masks."""
    return [name for name in names if "masks" in FORMATS[name].needs]


def parse_formats(text: str) -> tuple[str, ...]:
    """The formats in "tao,coco", each once; SettingsError if one is none of `further_names`."""
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    for name in names:
        if name not in further_names():
            raise SettingsError(
                f'--also: unknown format "{name}"',
                fix=f"use some of: {', '.join(further_names())}",
            )
    return names


def file_name(stem: str, name: str) -> str:
    """How a run calls the results of that format."""
    return f"{stem}.{FORMATS[name].endings[0]}"


@dataclass(frozen=True, slots=True)
class Hints:
    """What the user says of a file that does not tell by itself.

    Attributes:
        size: width and height of the video, pixels.
        images: a JSON file whose images tell the frame of each image_id, for TAO results.
        pictures: file names of the folder that is the video, in order; none where it is not one.
        num_frames: of the video; None where it is not known.
    """

    size: tuple[int, int] | None = None
    images: Path | None = None
    pictures: tuple[str, ...] = ()
    num_frames: int | None = None

    @staticmethod
    def of(info: VideoInfo, pictures: tuple[str, ...] = ()) -> Hints:
        """What a video tells."""
        return Hints((info.width, info.height), pictures=pictures, num_frames=info.num_frames)


def read_tracks(
    path: Path,
    *,
    format: str = AUTO,
    hints: Hints | None = None,
    progress: Callable[[float], None] = lambda share: None,
) -> TrackTable:
    """All tracks of a file or folder.

    Args:
        path: the file; the folder of YOLO's labels.
        format: its format; "auto": what it holds tells.
        hints: what the user says of it.
        progress: is told the share of the file that is read, if its format can tell.

    Raises:
        SourceError: it cannot be read, or breaks a rule of its format.
        SettingsError: something must be known that is not among the hints.
    """
    hints = hints or Hints()
    chosen = recognise(path) if format == AUTO else format
    check_known(chosen, readable_names())
    row = FORMATS[chosen]
    if hints.images is not None and "images" not in row.read_with:
        raise SettingsError(
            f"--images is for TAO results, but {path} is {chosen}", fix="leave out --images"
        )
    _check_package(chosen)
    told = {"size": hints.size, "images": hints.images, "pictures": hints.pictures}
    facts: dict[str, Any] = {**told, "progress": progress}
    given = {name: facts[name] for name in row.read_with}
    table: TrackTable = member(row.read)(path, **given)
    if "pictures" not in row.read_with:
        table = in_video(table, path, row.first, hints.pictures, hints.num_frames)
    table = table if table.size else replace(table, size=hints.size)
    return table.in_pixels(path, table.size)


def in_video(
    table: Table, path: Path, first: int, pictures: Sequence[str], num_frames: int | None = None
) -> Table:
    """Rows of `path` in the frames that they belong to in a video of so many, or of these pictures.

    Args:
        table: what was read, frames by the rules of its format.
        path: the file, for messages.
        first: see `TrackFormat`.
        pictures: see `Hints`.
        num_frames: see `Hints`.
    """
    from masa_cli.formats.numbering import frames_of_numbers, frames_of_video

    if pictures:
        frames = frames_of_numbers(table.frames, first, path, pictures)
    else:
        frames = frames_of_video(table.frames, first, path, num_frames)
    return table if frames is table.frames else table.moved(path, frames)


def open_tracks(path: Path, time_base: Fraction, hints: Hints) -> TracksReader | TableReader:
    """The frames of a file of tracks; of our own format line by line, of others all at once.

    Args:
        path: the file, or the folder of YOLO's labels.
        time_base: seconds from frame to frame, where the file tells no times.
        hints: of the video.

    Raises what `read_tracks` raises; where it goes line by line, when a line is reached.
    """
    stream = FORMATS[recognise(path)].stream
    if stream:
        reader: TracksReader = member(stream)(path)
        return reader
    return read_tracks(path, hints=hints).reader(time_base)


def recognise(path: Path) -> str:
    """The format of a file of tracks, by what it holds; SourceError if it is none we know."""
    if path.is_dir():
        return next(name for name, row in FORMATS.items() if row.is_folder and row.read)
    line, head = head_of(path)
    for name, row in FORMATS.items():
        if row.read and row.sniff and row.sniff(line, head):
            return name
    raise SourceError(
        f"{path} is like none of the formats of tracks",
        fix=f"name its format with --from: {', '.join(readable_names())}",
    )


class TracksSink(Protocol):
    """Takes the tracks of each frame, in order."""

    def write(self, frame: Frame, tracks: Tracks) -> None:
        """Take one frame."""
        ...


def check_formats(names: Sequence[str], info: VideoInfo) -> None:
    """Raise SettingsError for formats that cannot be written of this video, or on this machine."""
    for name in names:
        _check_package(name)
        if "size" in FORMATS[name].needs and not info.width:
            raise SettingsError(
                f"{name} holds coordinates as fractions of the image, whose size is not known",
                fix=f"give the video or its size as well, or leave out {name}",
            )


def open_writer(
    name: str, path: Path, *, info: VideoInfo, classes: Sequence[str], with_classes: bool = False
) -> AbstractContextManager[TracksSink]:
    """A writer of that format; `path` is complete once it is closed without an exception.

    Args:
        name: of the format.
        path: what to write.
        info: the video.
        classes: names of the labels.
        with_classes: for formats that hold the number of the class only where it is wanted.

    Raises what `check_formats` raises.
    """
    check_formats([name], info)
    row = FORMATS[name]
    # A name that any format can hold: those of files may have bytes that are no text.
    info = replace(info, name=as_utf8(info.name))
    facts: dict[str, Any] = {"info": info, "classes": classes, "with_classes": with_classes}
    given = {each: facts[each] for each in row.write_with}
    opened: AbstractContextManager[TracksSink] = member(row.write)(path, **given)
    return opened


def check_known(name: str, names: Sequence[str]) -> None:
    """Raise SettingsError for a format that is none of these."""
    if name not in names:
        raise SettingsError(f'unknown format "{name}"', fix=f"use one of: {', '.join(names)}")


def _check_package(name: str) -> None:
    package = FORMATS[name].package
    if package and find_spec(package) is None:
        raise SettingsError(
            f"{name} needs {package}, which is not installed", fix=f"pip install 'masa[{name}]'"
        )


def member(location: str | None) -> Any:  # noqa: ANN401 - whatever a row names
    """What stands at module:name, imported now."""
    module, _, name = (location or "").partition(":")
    return getattr(import_module(module), name)
