"""BDD100K's json (scalabel): tracks of one video, in and out; and whole data sets, to be compared.

One file may hold all videos of a set, so its frames are kept as arrays. The format is told in
https://doc.bdd100k.com/format.html.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import isfinite, nan
from operator import itemgetter
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, NamedTuple, TypeAlias, TypeGuard

import numpy as np
import orjson
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import UnidentifiedImageError

from masa_cli.errors import SourceError, shortened
from masa_cli.formats.files import HELP, PartFile, explained
from masa_cli.formats.json_fields import (
    Columns,
    Rle,
    columns_of,
    masks_of,
    read_json,
    read_rle,
    rle_of,
)
from masa_cli.formats.tables import NAMELESS, TrackTable, numbered
from masa_cli.masks import as_array, frames_of, mask_fields, without_overlaps
from masa_cli.structures import BoolArray, Frame, IntArray, MaskArray, Tracks, VideoInfo

BDD_HELP = "see https://doc.bdd100k.com/format.html"
CLASSES = ("pedestrian", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle")

# Other names of the classes; and of what is near a class, but none of it.
_ALIASES = {
    "person": "pedestrian",
    "bike": "bicycle",
    "motor": "motorcycle",
    "van": "car",
    "caravan": "car",
}
_DISTRACTORS = {"other person": "pedestrian", "other vehicle": "car", "trailer": "truck"}
_OWNERS = {name: name for name in CLASSES} | _ALIASES | _DISTRACTORS
_LABELS = MappingProxyType({name: CLASSES.index(owner) for name, owner in _OWNERS.items()})

_CORNERS = ("x1", "y1", "x2", "y2")  # of "box2d"
# Of bitmasks: bits of the second channel; 4 and 8 are occluded and truncated.
_IGNORED, _CROWD = 1, 2
_BITS_HELP = "use the files of the folder bitmasks of the data set"


def read_tracks(path: Path) -> TrackTable:
    """One video: a list of frames with labels that have an id, a category, and a box2d or an rle.

    Ids that are no whole numbers are numbered as they appear. A mask without a box has the
    smallest one around it.

    Raises:
        SourceError: it is no such file, has several videos, or an entry is malformed.
    """
    content = read_json(path)
    frames = columns_of(content, path, "frames" if isinstance(content, dict) else None)
    videos = {str(name) for name in frames.of("videoName")}
    if len(videos) > 1:
        raise SourceError(
            f"{path} has frames of {len(videos)} videos, expected those of one",
            fix="write the frames of one video into a file of their own",
        )
    indices = frames.whole("frameIndex")
    if len(indices) and indices.min() < 0:
        raise frames.wrong(int(indices.argmin()), "a frameIndex from 0", indices.min(), HELP)
    labels = [
        columns_of(row.get("labels") or [], Path(f"{path} entry {number} labels"))
        for number, row in enumerate(frames.rows, start=1)
    ]
    objects = [_objects(each) for each in labels]
    class_labels, classes = numbered([name for each in objects for name in each.categories])
    tracks = Tracks(
        np.concatenate([np.empty((0, 4)), *(each.boxes for each in objects)]).astype(np.float32),
        np.concatenate([np.empty(0), *(each.scores for each in objects)]).astype(np.float32),
        class_labels,
        _numbered_ids([id_ for each in objects for id_ in each.ids]),
        np.array([mark for each in objects for mark in each.interpolated], np.bool_),
        as_array([mask for each in objects for mask in each.masks]),
    )
    return TrackTable.from_rows(
        path,
        np.repeat(indices, [len(each) for each in labels]),
        tracks,
        classes or (NAMELESS,),
        num_frames=int(indices.max(initial=-1)) + 1,
    )


class BddWriter:
    """Writes the tracks of one video as a list of frames; a frame without tracks is there, too.

    Args:
        path: replaced at a clean close; until then `<path>.part`, which lacks the closing bracket.
        info: the video; images are called `<its name>-0000001.jpg` and so on.
        classes: names of the labels.
    """

    def __init__(self, path: Path, *, info: VideoInfo, classes: Sequence[str]) -> None:
        self._file = PartFile(path)
        self._name = info.name
        self._classes = tuple(classes)
        self._before = b"[\n"

    def write(self, frame: Frame, tracks: Tracks) -> None:
        """Append one frame."""
        # Two decimals: a hundredth of a pixel is far below what any metric resolves.
        boxes = np.round(tracks.boxes.astype(np.float64), 2) + 0.0
        scores = np.round(tracks.scores.astype(np.float64), 4) + 0.0
        masks = mask_fields(without_overlaps(tracks).masks)  # no pixel may belong to two objects
        columns = (tracks.ids, tracks.labels, scores, boxes, tracks.interpolated)
        rows = zip(*(column.tolist() for column in columns), masks, strict=True)
        record = {
            "name": f"{self._name}-{frame.index + 1:07d}.jpg",
            "videoName": self._name,
            "frameIndex": frame.index,
            "labels": [
                {
                    "id": str(id_),
                    "category": self._classes[label],
                    "score": score,
                    "box2d": dict(zip(_CORNERS, box, strict=True)),
                    **({"attributes": {"interpolated": True}} if interpolated else {}),
                    **({"rle": mask} if mask else {}),
                }
                for id_, label, score, box, interpolated, mask in sorted(rows, key=itemgetter(0))
            ],
        }
        self._file.write(self._before + orjson.dumps(record))
        self._before = b",\n"

    def __enter__(self) -> BddWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is None:
            with self._file:
                self._file.write(b"[]\n" if self._before == b"[\n" else b"\n]\n")
        else:
            self._file.__exit__(kind, error, traceback)


class BddLabel(NamedTuple):
    """One object.

    Attributes:
        id: as written.
        label: index into CLASSES.
        box: x1, y1, x2, y2 in pixels; NaN where the mask was read.
        score: 1 where the file has none.
        is_crowd: a group; nothing in it is told apart.
        is_ignored: marked to be ignored, or near the class but none of it.
        rle: None where the box was read.
    """

    id: str
    label: int
    box: tuple[float, ...]
    score: float
    is_crowd: bool
    is_ignored: bool
    rle: Rle | None


@dataclass(frozen=True, slots=True, eq=False)
class BddFrame:
    """The objects of one frame.

    Attributes:
        name: of the image.
        file: the json it was read from.
        ids: (N) each once; these and all that follows are the columns of BddLabel.
        labels: (N,) indices into CLASSES.
        boxes: (N, 4) float64 xyxy in pixels; NaN where only masks were read.
        scores: (N,).
        is_crowd: (N,).
        is_ignored: (N,).
        rles: (N) masks; empty where only boxes were read.
    """

    name: str
    file: Path
    ids: tuple[str, ...]
    labels: IntArray
    boxes: NDArray[np.float64]
    scores: NDArray[np.float64]
    is_crowd: BoolArray
    is_ignored: BoolArray
    rles: tuple[Rle, ...]

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, rows: BoolArray) -> BddFrame:
        numbers: list[int] = np.flatnonzero(rows).tolist()
        columns = ("labels", "boxes", "scores", "is_crowd", "is_ignored")
        return replace(
            self,
            ids=tuple(self.ids[number] for number in numbers),
            rles=tuple(self.rles[number] for number in numbers) if self.rles else (),
            **{name: getattr(self, name)[rows] for name in columns},
        )

    @staticmethod
    def of(name: str, file: Path, rows: Sequence[BddLabel], where: str) -> BddFrame:
        """The frame of these objects; raises SourceError if two have the same id."""
        ids = tuple(row.id for row in rows)
        if len(set(ids)) < len(ids):
            id_ = next(id_ for id_ in ids if ids.count(id_) > 1)
            raise SourceError(
                f'{where}: id "{id_}" is there twice', fix="give each object an id of its own"
            )
        return BddFrame(
            name,
            file,
            ids,
            np.array([row.label for row in rows], np.int64),
            np.array([row.box for row in rows], np.float64).reshape(-1, 4),
            np.array([row.score for row in rows], np.float64),
            np.array([row.is_crowd for row in rows], bool),
            np.array([row.is_ignored for row in rows], bool),
            tuple(row.rle for row in rows if row.rle is not None),
        )


# Of each video by its name, the frames by their frameIndex, in order.
BddVideos: TypeAlias = dict[str, dict[int, BddFrame]]


def read_bdd(path: Path, *, masks: bool = False) -> BddVideos:
    """Read all videos.

    Args:
        path: one json, or a folder of them (such as one per video). Or, for masks, a folder of
            bitmasks, <video>/<frame>.png; frames then count from 0 in the order of their names.
        masks: read `rle` instead of `box2d`.

    Raises:
        SourceError: a file is malformed, a class is unknown, or an id or a frame is there twice.
    """
    files = sorted(path.rglob("*.json")) if path.is_dir() else [path]
    if not files and masks:
        return _read_bitmasks(path)
    if not files:
        raise SourceError(f"{path} has no json files", fix=BDD_HELP)
    videos: BddVideos = {}
    for file in files:
        for number, entry in enumerate(_entries(file), start=1):
            video, index, frame = _frame(entry, file, number, masks=masks)
            if index in videos.setdefault(video, {}):
                raise SourceError(
                    f"{file} frame {frame.name}: frameIndex {index} of videoName {video} is there "
                    "twice",
                    fix="keep one of the two",
                )
            videos[video][index] = frame
    return {video: dict(sorted(videos[video].items())) for video in sorted(videos)}


def read_label(entry: object, where: str, *, masks: bool) -> BddLabel:
    """Read one entry of "labels".

    Raises:
        SourceError: something is missing, not known or no number; it starts with `where`.
    """
    if not isinstance(entry, dict) or not isinstance(entry.get("id"), str | int):
        raise SourceError(
            f'{where}: expected a label with an "id", got {shortened(str(entry))}', fix=BDD_HELP
        )
    where = f'{where} id "{entry["id"]}"'
    category = entry.get("category")
    if not isinstance(category, str) or category not in _LABELS:
        raise SourceError(
            f'{where}: "category" is {category!r}, expected one of {", ".join(CLASSES)}',
            fix="leave out what is of none of these classes, or rename it",
        )
    attributes = entry.get("attributes") or {}
    if not isinstance(attributes, dict):
        raise SourceError(f'{where}: "attributes" is no object', fix=BDD_HELP)
    score = entry.get("score", 1.0)
    if not _is_number(score):
        raise SourceError(f'{where}: "score" is {score!r}, expected a finite number', fix=BDD_HELP)
    return BddLabel(
        str(entry["id"]),
        _LABELS[category],
        (nan,) * 4 if masks else _box(entry.get("box2d"), where),
        score,
        bool(attributes.get("crowd")),
        bool(attributes.get("ignored")) or category in _DISTRACTORS,
        read_rle(entry.get("rle"), where) if masks else None,
    )


def read_bitmask(path: Path) -> list[BddLabel]:
    """The objects, in the order of their ids.

    Channels: the class from 1 (0: nothing), flags, and the higher and lower byte of the id.

    Raises:
        SourceError: it is no png with four channels, or has a class that is not known.
    """
    with explained(path):
        try:
            image = Pillow.open(path)
        except UnidentifiedImageError:
            raise SourceError(f"{path} is no image", fix=_BITS_HELP) from None
        if image.mode != "RGBA":
            raise SourceError(f"{path} is an image of {image.mode}, expected RGBA", fix=_BITS_HELP)
        channels = np.asarray(image).astype(np.int64)  # (H, W, 4)
    category, flags, high, low = np.moveaxis(channels, 2, 0)
    ids = (high << 8) + low
    used, firsts = np.unique(ids, return_index=True)
    return [
        _label(path, id_, int(category.flat[first]), int(flags.flat[first]), ids == id_)
        for id_, first in zip(used.tolist(), firsts.tolist(), strict=True)
        if id_
    ]


class _Objects(NamedTuple):
    """Those of a frame."""

    ids: list[str]
    categories: list[str]
    boxes: NDArray[np.float64]
    scores: NDArray[np.float64]
    interpolated: list[bool]
    masks: MaskArray


def _objects(labels: Columns) -> _Objects:
    masks = masks_of(labels, "rle", [None] * len(labels))
    boxed = [
        {"box2d": dict(zip(_CORNERS, frames_of([mask])[0].tolist(), strict=True))} | row
        if mask
        else row
        for row, mask in zip(labels.rows, masks, strict=True)
    ]
    corners = Columns(Columns(boxed, labels.where).of("box2d"), f"{labels.where} box2d")
    for number, row in enumerate(corners.rows):
        if not isinstance(row, dict):
            raise corners.wrong(number, "an object with x1, y1, x2 and y2", row, HELP)
    boxes = [corners.numbers(name) for name in _CORNERS]
    scored = Columns([{"score": row.get("score", 1.0)} for row in labels.rows], labels.where)
    attributes = [row.get("attributes") for row in labels.rows]
    return _Objects(
        [str(id_) for id_ in labels.of("id")],
        [str(name) for name in labels.of("category")],
        np.stack(boxes, axis=1),
        scored.numbers("score"),
        [isinstance(each, dict) and each.get("interpolated") is True for each in attributes],
        masks,
    )


def _numbered_ids(names: list[str]) -> IntArray:
    """As they are if all are whole numbers, else numbered as they appear."""
    if all(name.isascii() and name.isdecimal() and len(name) < 19 for name in names):
        return np.array([int(name) for name in names], np.int64)
    indices, _ = numbered(names)
    return indices + 1


def _read_bitmasks(path: Path) -> BddVideos:
    videos: BddVideos = {}
    for file in sorted(path.rglob("*.png")):
        frames = videos.setdefault(file.parent.name, {})
        frame = BddFrame.of(f"{file.stem}.jpg", file, read_bitmask(file), str(file))
        frames[len(frames)] = frame
    if not videos:
        raise SourceError(f"{path} has neither json files nor bitmasks (png)", fix=BDD_HELP)
    return videos


def _entries(file: Path) -> list[Any]:
    """The frames of a file, not checked yet."""
    content = read_json(file, fix=BDD_HELP)
    entries = content.get("frames") if isinstance(content, dict) else content
    if not isinstance(entries, list):
        raise SourceError(f'{file} is no list of frames and has none under "frames"', fix=BDD_HELP)
    return entries


def _frame(entry: object, file: Path, number: int, *, masks: bool) -> tuple[str, int, BddFrame]:
    """Video, frameIndex and content of one frame."""
    fields = entry if isinstance(entry, dict) else {}
    name, video, index = (fields.get(key) for key in ("name", "videoName", "frameIndex"))
    where = f"{file} frame {name if isinstance(name, str) else f'number {number}'}"
    if not isinstance(name, str) or not isinstance(video, str) or type(index) is not int:
        raise SourceError(
            f'{where}: expected "name" and "videoName" of text and a whole "frameIndex", '
            f"got {name!r}, {video!r} and {index!r}",
            fix=BDD_HELP,
        )
    labels = fields.get("labels")
    if labels is not None and not isinstance(labels, list):
        raise SourceError(f'{where}: "labels" is no list', fix=BDD_HELP)
    rows = [read_label(label, where, masks=masks) for label in labels or []]
    return video, index, BddFrame.of(name, file, rows, where)


def _box(entry: object, where: str) -> tuple[float, ...]:
    if not isinstance(entry, dict):
        raise SourceError(f'{where}: no "box2d"', fix=BDD_HELP)
    corners = [entry.get(corner) for corner in _CORNERS]
    box = tuple(corner for corner in corners if _is_number(corner))
    if len(box) < len(_CORNERS):
        raise SourceError(
            f'{where}: "box2d" is {shortened(str(entry))}, expected finite x1, y1, x2, y2',
            fix=BDD_HELP,
        )
    x1, y1, x2, y2 = box
    if x2 < x1 or y2 < y1:
        raise SourceError(
            f'{where}: "box2d" ends before it starts: {shortened(str(entry))}',
            fix="x1, y1 is the upper left corner, x2, y2 the lower right one",
        )
    return box


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)


def _label(path: Path, id_: int, category: int, flags: int, mask: BoolArray) -> BddLabel:
    if not 1 <= category <= len(CLASSES):
        raise SourceError(
            f"{path} id {id_}: its class is {category}, expected 1 to {len(CLASSES)}",
            fix=_BITS_HELP,
        )
    is_crowd, is_ignored = bool(flags & _CROWD), bool(flags & _IGNORED)
    return BddLabel(str(id_), category - 1, (nan,) * 4, 1.0, is_crowd, is_ignored, rle_of(mask))
