"""TAO json: videos with ground truth, and results as a flat list of boxes with identities.

Boxes are [left, top, width, height] in these files. Categories marked as merged count as the one
they were merged into, in the ground truth and in results alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import orjson
from numpy.typing import NDArray

from masa_cli.boxes import xywh_to_xyxy, xyxy_to_xywh
from masa_cli.formats.coco import (
    frames_of_images,
    names_of_categories,
    sizes_of_images,
    track_table,
)
from masa_cli.formats.files import HELP, FileWriter, PartFile
from masa_cli.formats.json_fields import Columns, columns_of, read_json
from masa_cli.formats.numbering import check_same_video, frames_of_numbers
from masa_cli.formats.tables import TrackTable
from masa_cli.structures import BoolArray, Frame, IntArray, Tracks

_EVAL_HELP = "see masa eval --help, format tao"
_OTHER_SET = "compare results with the annotation file they were made for"


def read_tracks(
    path: Path,
    *,
    images: Path | None = None,
    size: tuple[int, int] | None = None,
    pictures: Sequence[str] = (),
) -> TrackTable:
    """Results as tracks: a list of boxes with track_id, perhaps with a segmentation as in COCO's.

    Args:
        path: the results.
        images: a file whose images tell the frame of each image_id, and whose categories the names;
            without it, image_id counts the frames from 1, as masa writes it.
        size: width and height of images that do not tell theirs.
        pictures: file names of the folder that is the video, in order; none where it is not one.

    Raises:
        SourceError: it is no such file, is of several videos, or an entry is malformed.
        SettingsError: there are polygons in images whose size is not known.
    """
    rows = columns_of(read_json(path), path)
    check_same_video([row.get("video_id") for row in rows.rows], path)
    if images is not None:
        catalogue = read_json(images)
        known = columns_of(catalogue, images, "images")
        frames = frames_of_images(catalogue, images, pictures)
        names = names_of_categories(catalogue, images)
        return track_table(path, rows, frames, names, sizes_of_images(known, size))
    numbers = rows.whole("image_id")
    if len(numbers) and numbers.min() < 1:
        raise rows.wrong(int(numbers.argmin()), "an image_id from 1", numbers.min(), HELP)
    distinct = np.unique(numbers)
    found = frames_of_numbers(distinct - 1, 1, path, pictures)
    frames = dict(zip(distinct.tolist(), found.tolist(), strict=True))
    return track_table(path, rows, frames, {}, dict.fromkeys(frames, size))


class TaoWriter(FileWriter[PartFile]):
    """Writes the tracks of one video as TAO results: a list with one box a line.

    The image of frame 0 is 1, the video is 1, and the category of label 0 is 1.

    Args:
        path: replaced at a clean close; until then `<path>.part`.
        classes: names of the labels; their number bounds the category ids.
    """

    def __init__(self, path: Path, *, classes: Sequence[str]) -> None:
        super().__init__(PartFile(path))
        self._num_classes = len(classes)
        self._separator = b"[\n"

    def write(self, frame: Frame, tracks: Tracks) -> None:
        """Append one frame; a frame without tracks leaves no line."""
        if len(tracks) and tracks.labels.max() >= self._num_classes:
            raise ValueError(f"labels must be below {self._num_classes}, got {tracks.labels}")
        # As fine as in MOT files. Adding 0 turns -0.0 into 0.0.
        boxes = np.round(xyxy_to_xywh(tracks.boxes).astype(np.float64), 2) + 0.0
        scores = np.round(tracks.scores.astype(np.float64), 4) + 0.0
        columns = (tracks.ids, tracks.labels, boxes, scores, tracks.interpolated)
        entries = [
            {
                "image_id": frame.index + 1,
                "video_id": 1,
                "category_id": label + 1,
                "bbox": box,
                "score": score,
                "track_id": id_,
                **({"interpolated": True} if interpolated else {}),
            }
            for id_, label, box, score, interpolated in zip(
                *(column.tolist() for column in columns), strict=True
            )
        ]
        if entries:
            self._file.write(self._separator + b",\n".join(map(orjson.dumps, entries)))
            self._separator = b",\n"

    def _write_end(self) -> None:
        self._file.write(b"[]\n" if self._separator == b"[\n" else b"\n]\n")


@dataclass(frozen=True, slots=True, eq=False)
class TaoBoxes:
    """Boxes with identities, in the order of the file.

    Attributes:
        images: (M,) indices into TaoSet.image_ids.
        tracks: (M,) as in the file; unique within a video, perhaps not beyond.
        classes: (M,) category ids.
        boxes: (M, 4) float64 xyxy in pixels.
        scores: (M,) float64; 1 in ground truth.
    """

    images: IntArray
    tracks: IntArray
    classes: IntArray
    boxes: NDArray[np.float64]
    scores: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, rows: IntArray | BoolArray | slice) -> TaoBoxes:
        return TaoBoxes(
            self.images[rows],
            self.tracks[rows],
            self.classes[rows],
            self.boxes[rows],
            self.scores[rows],
        )


@dataclass(frozen=True, slots=True)
class TaoVideo:
    """One video of a set.

    Attributes:
        id: its number in the file.
        name: such as "val/YFCC100M/v_xxx".
        negative: categories known to be absent.
        not_exhaustive: categories of which not all objects are annotated.
    """

    id: int
    name: str
    negative: frozenset[int]
    not_exhaustive: frozenset[int]


@dataclass(frozen=True, slots=True, eq=False)
class TaoSet:
    """Videos with ground truth.

    Attributes:
        path: the file it was read from.
        names: of the categories, by id.
        frequencies: "r", "c" or "f" by category id, where the file tells.
        merged: by the id of a merged category, the one it counts as.
        videos: in the order of the file.
        image_ids: (I,) video by video, each in time order.
        image_videos: (I,) indices into `videos`.
        truth: the boxes.
    """

    path: Path
    names: Mapping[int, str]
    frequencies: Mapping[int, str]
    merged: Mapping[int, int]
    videos: tuple[TaoVideo, ...]
    image_ids: IntArray
    image_videos: IntArray
    truth: TaoBoxes


def read_annotations(path: Path) -> TaoSet:
    """Read ground truth; raises SourceError where it is incomplete or contradicts itself."""
    content = read_json(path, fix=_EVAL_HELP)

    def listed(key: str) -> Columns:
        return columns_of(content, path, key, fix=_EVAL_HELP)

    categories = listed("categories")
    ids = categories.own_ids().tolist()
    names = dict(zip(ids, map(str, categories.of("name")), strict=True))
    videos = _videos(listed("videos"))
    image_ids, image_videos = _images(listed("images"), videos)
    empty = np.empty(0, np.int64)
    read = TaoSet(
        path,
        names,
        {
            id_: row["frequency"]
            for id_, row in zip(ids, categories.rows, strict=True)
            if "frequency" in row
        },
        _merged(categories, ids),
        videos,
        image_ids,
        image_videos,
        truth=TaoBoxes(empty, empty, empty, np.empty((0, 4)), np.empty(0)),
    )
    return replace(read, truth=_boxes(listed("annotations"), read, scored=False))


def read_results(path: Path, tao: TaoSet) -> TaoBoxes:
    """Read results for a set; raises SourceError where they are malformed or for another set."""
    rows = columns_of(read_json(path, fix=_EVAL_HELP), path, fix=_EVAL_HELP)
    return _boxes(rows, tao, scored=True)


def _merged(categories: Columns, ids: Sequence[int]) -> dict[int, int]:
    owners: dict[int, int] = {}
    for owner, row in zip(ids, categories.rows, strict=True):
        parts = columns_of(
            row.get("merged") or [], Path(f"{categories.where} merged"), fix=_EVAL_HELP
        )
        owners.update(dict.fromkeys(parts.whole("id").tolist(), owner))
    return owners


def _videos(rows: Columns) -> tuple[TaoVideo, ...]:
    lists = ("neg_category_ids", "not_exhaustive_category_ids")
    for key in lists:
        for number, value in enumerate(rows.of(key)):
            if not isinstance(value, list):
                raise rows.wrong(number, f"a list as {key}", value)
    columns = (rows.own_ids().tolist(), rows.of("name"), *map(rows.of, lists))
    return tuple(
        TaoVideo(id_, str(name), frozenset(negative), frozenset(not_exhaustive))
        for id_, name, negative, not_exhaustive in zip(*columns, strict=True)
    )


def _images(rows: Columns, videos: Sequence[TaoVideo]) -> tuple[IntArray, IntArray]:
    """Ids and videos of the images, sorted by video and time."""
    ids = rows.own_ids()
    video_indices = rows.positions("video_id", np.array([video.id for video in videos], np.int64))
    order = np.lexsort((rows.whole("frame_index"), video_indices))
    return ids[order], video_indices[order]


def _boxes(rows: Columns, tao: TaoSet, *, scored: bool) -> TaoBoxes:
    images = rows.positions("image_id", tao.image_ids, _OTHER_SET)
    known = np.array(sorted({*tao.names, *tao.merged}), np.int64)
    counts_as = np.array([tao.merged.get(id_, id_) for id_ in known.tolist()], np.int64)
    classes = counts_as[rows.positions("category_id", known, _OTHER_SET)]
    xywh = rows.numbers("bbox", 4)
    negative = (xywh[:, 2:] < 0).any(axis=1)
    if negative.any():
        number = int(np.argmax(negative))
        raise rows.wrong(number, "a width and height of at least 0", rows.rows[number]["bbox"])
    tracks = rows.whole("track_id")
    _check_videos(rows, tao, images)
    order = np.lexsort((tracks, images))
    again = (np.diff(images[order]) == 0) & (np.diff(tracks[order]) == 0)
    if again.any():
        number = int(order[1:][again].min())
        image = tao.image_ids[images[number]]
        raise rows.wrong(
            number, f"each track once in image {image}", f"track {tracks[number]} again"
        )
    scores = rows.numbers("score") if scored else np.ones(len(rows))
    return TaoBoxes(images, tracks, classes, xywh_to_xyxy(xywh), scores)


def _check_videos(rows: Columns, tao: TaoSet, images: IntArray) -> None:
    """Raise SourceError where a box names another video than its image does."""
    expected = [tao.videos[index].id for index in tao.image_videos[images].tolist()]
    for number, (row, video) in enumerate(zip(rows.rows, expected, strict=True)):
        if row.get("video_id", video) != video:
            image = row["image_id"]
            raise rows.wrong(number, f"video_id {video}, that of image {image}", row["video_id"])
