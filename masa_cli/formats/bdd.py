"""BDD100K's data sets (scalabel), whole, to be compared; tracks of one video: bdd_tracks.

One file may hold all videos of a set, so its frames are kept as arrays. The format is told in
https://doc.bdd100k.com/format.html.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import isfinite, nan
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias, TypeGuard

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import UnidentifiedImageError

from masa_cli.errors import SourceError, shortened
from masa_cli.formats.files import explained
from masa_cli.formats.json_fields import (
    Rle,
    read_json,
    read_rle,
    rle_of,
)
from masa_cli.structures import BoolArray, IntArray

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
