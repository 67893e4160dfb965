"""BDD100K's json (scalabel): what is in each frame of many videos, in; tracks of one video, out.

One file may hold all videos; then a whole data set is read at once, so frames are kept as arrays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from operator import itemgetter
from pathlib import Path
from types import TracebackType
from typing import Any, TypeAlias

import numpy as np
import orjson
from numpy.typing import NDArray

from masa_cli.errors import SourceError
from masa_cli.formats.bdd_bitmask import read_bitmask
from masa_cli.formats.bdd_labels import HELP, BddLabel, read_label
from masa_cli.formats.bdd_masks import Rle
from masa_cli.formats.mask_json import mask_fields
from masa_cli.formats.part_file import PartFile
from masa_cli.formats.text_file import explained
from masa_cli.masks import without_overlaps
from masa_cli.structures import BoolArray, Frame, IntArray, Tracks


@dataclass(frozen=True, slots=True, eq=False)
class BddFrame:
    """The objects of one frame.

    Attributes:
        name: of the picture.
        file: the json it was read from.
        ids: (N) as written, each once.
        labels: (N,) indices into bdd_labels.CLASSES.
        boxes: (N, 4) float64 xyxy in pixels; NaN where only masks were read.
        scores: (N,), 1 where the file has none.
        is_crowd: (N,) a group; nothing in it is told apart.
        is_ignored: (N,) marked to be ignored, or near the class but none of it.
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
        return BddFrame(
            self.name,
            self.file,
            tuple(self.ids[number] for number in numbers),
            self.labels[rows],
            self.boxes[rows],
            self.scores[rows],
            self.is_crowd[rows],
            self.is_ignored[rows],
            tuple(self.rles[number] for number in numbers) if self.rles else (),
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

    def with_masks(self, rles: Sequence[Rle]) -> BddFrame:
        """The same with other masks."""
        return replace(self, rles=tuple(rles))


# Of each video by its name, the frames by their frameIndex, in order.
BddVideos: TypeAlias = dict[str, dict[int, BddFrame]]


def read_bdd(path: Path, *, masks: bool = False) -> BddVideos:
    """Read all videos.

    Args:
        path: one json, or a folder of them (such as one per video). Or, for masks, a folder of
            bitmasks, <video>/<frame>.png; frames then count from 0 in the order of their names.
        masks: read `rle` in place of `box2d`.

    Raises:
        SourceError: a file is malformed, a class is unknown, or an id or a frame is there twice.
    """
    files = sorted(path.rglob("*.json")) if path.is_dir() else [path]
    if not files and masks:
        return _read_bitmasks(path)
    if not files:
        raise SourceError(f"{path} has no json files", fix=HELP)
    videos: BddVideos = {}
    for file in files:
        for place, entry in enumerate(_entries(file), start=1):
            video, index, frame = _frame(entry, file, place, masks=masks)
            if index in videos.setdefault(video, {}):
                raise SourceError(
                    f"{file} frame {frame.name}: frameIndex {index} of videoName {video} is there "
                    "twice",
                    fix="keep one of the two",
                )
            videos[video][index] = frame
    return {video: dict(sorted(videos[video].items())) for video in sorted(videos)}


class BddWriter:
    """Writes the tracks of one video as a list of frames; a frame without tracks is there, too.

    Args:
        path: replaced at a clean close; until then `<path>.part`, which lacks the closing bracket.
        name: of the video; pictures are called `<name>-0000001.jpg` and so on.
        classes: names of the labels.
    """

    def __init__(self, path: Path, *, name: str, classes: Sequence[str]) -> None:
        self._file = PartFile(path)
        self._name = name
        self._classes = tuple(classes)
        self._before = b"[\n"

    def write(self, frame: Frame, tracks: Tracks) -> None:
        """Append one frame."""
        # Two decimals: a hundredth of a pixel is far below what any metric resolves.
        boxes = np.round(tracks.boxes.astype(np.float64), 2) + 0.0
        scores = np.round(tracks.scores.astype(np.float64), 4) + 0.0
        masks = mask_fields(without_overlaps(tracks).masks)  # no pixel may belong to two objects
        rows = zip(
            tracks.ids.tolist(),
            tracks.labels.tolist(),
            scores.tolist(),
            boxes.tolist(),
            tracks.interpolated.tolist(),
            masks,
            strict=True,
        )
        record = {
            "name": f"{self._name}-{frame.index + 1:07d}.jpg",
            "videoName": self._name,
            "frameIndex": frame.index,
            "labels": [
                {
                    "id": str(id_),
                    "category": self._classes[label],
                    "score": score,
                    "box2d": dict(zip(("x1", "y1", "x2", "y2"), box, strict=True)),
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


def _read_bitmasks(path: Path) -> BddVideos:
    videos: BddVideos = {}
    for file in sorted(path.rglob("*.png")):
        frames = videos.setdefault(file.parent.name, {})
        frame = BddFrame.of(f"{file.stem}.jpg", file, read_bitmask(file), str(file))
        frames[len(frames)] = frame
    if not videos:
        raise SourceError(f"{path} has neither json files nor bitmasks (png)", fix=HELP)
    return videos


def _entries(file: Path) -> list[Any]:
    """The frames of a file, not looked at yet."""
    with explained(file):
        data = file.read_bytes()
    try:
        content = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        place = f"line {error.lineno} column {error.colno}"
        raise SourceError(f"{file} {place} is not JSON: {error.msg}", fix=HELP) from None
    entries = content.get("frames") if isinstance(content, dict) else content
    if not isinstance(entries, list):
        raise SourceError(f'{file} is no list of frames and has none under "frames"', fix=HELP)
    return entries


def _frame(entry: object, file: Path, place: int, *, masks: bool) -> tuple[str, int, BddFrame]:
    """Video, frameIndex and content of one frame."""
    fields = entry if isinstance(entry, dict) else {}
    name, video, index = (fields.get(key) for key in ("name", "videoName", "frameIndex"))
    where = f"{file} frame {name if isinstance(name, str) else f'number {place}'}"
    if not isinstance(name, str) or not isinstance(video, str) or type(index) is not int:
        raise SourceError(
            f'{where}: expected "name" and "videoName" of text and a whole "frameIndex", '
            f"got {name!r}, {video!r} and {index!r}",
            fix=HELP,
        )
    labels = fields.get("labels")
    if labels is not None and not isinstance(labels, list):
        raise SourceError(f'{where}: "labels" is no list', fix=HELP)
    rows = [read_label(label, where, masks=masks) for label in labels or []]
    return video, index, BddFrame.of(name, file, rows, where)
