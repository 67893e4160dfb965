"""BDD100K's json (scalabel): tracks of one video, in and out.

The format is told in https://doc.bdd100k.com/format.html; the time of a frame is among its
attributes, in seconds. Data sets with many videos: bdd.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray

from masa_cli.formats.files import HELP, FileWriter, PartFile
from masa_cli.formats.json_fields import Columns, columns_of, masks_of, read_json
from masa_cli.formats.numbering import check_same_video, frames_of_stated
from masa_cli.formats.tables import NAMELESS, TrackTable, numbered
from masa_cli.formats.times import FrameTimes
from masa_cli.masks import as_array, frames_of, mask_fields, without_overlaps
from masa_cli.structures import Frame, IntArray, MaskArray, Tracks, VideoInfo

_CORNERS = ("x1", "y1", "x2", "y2")  # of "box2d"


def read_tracks(path: Path, *, pictures: Sequence[str] = ()) -> TrackTable:
    """One video: a list of frames with labels that have an id, a category, and a box2d or an rle.

    Ids that are no whole numbers are numbered as they appear. A mask without a box has the
    smallest one around it.

    Args:
        path: the file.
        pictures: file names of the folder that is the video, in order; none where it is not one.

    Raises:
        SourceError: it is no such file, has several videos, or an entry is malformed.
    """
    content = read_json(path)
    frames = columns_of(content, path, "frames" if isinstance(content, dict) else None)
    check_same_video(frames.of("videoName"), path)
    indices = frames.whole("frameIndex")
    if len(indices) and indices.min() < 0:
        raise frames.wrong(int(indices.argmin()), "a frameIndex from 0", indices.min(), HELP)
    names = [str(row["name"]) for row in frames.rows if "name" in row]
    indices = frames_of_stated(indices, names, path, pictures)
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
        times=_times(path, frames, indices),
    )


class BddWriter(FileWriter[PartFile]):
    """Writes the tracks of one video as a list of frames; a frame without tracks is there, too.

    Args:
        path: replaced at a clean close; until then `<path>.part`, which lacks the closing bracket.
        info: the video; images are called `<its name>-0000001.jpg` and so on.
        classes: names of the labels.
    """

    def __init__(self, path: Path, *, info: VideoInfo, classes: Sequence[str]) -> None:
        super().__init__(PartFile(path))
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
            "attributes": {"time": float(frame.time)},
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

    def _write_end(self) -> None:
        self._file.write(b"[]\n" if self._before == b"[\n" else b"\n]\n")


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


def _times(path: Path, frames: Columns, indices: IntArray) -> FrameTimes | None:
    """Of the frames that tell a time among their attributes."""
    told = [each if isinstance(each := row.get("attributes"), dict) else {} for row in frames.rows]
    seconds = [time if type(time := each.get("time")) in (int, float) else None for each in told]
    return FrameTimes.of_rows(path, indices, np.array(seconds, np.float64))


def _numbered_ids(names: list[str]) -> IntArray:
    """As they are if all are whole numbers, else numbered as they appear."""
    if all(name.isascii() and name.isdecimal() and len(name) < 19 for name in names):
        return np.array([int(name) for name in names], np.int64)
    indices, _ = numbered(names)
    return indices + 1
