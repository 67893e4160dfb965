"""Tracks out of other tools' JSON: COCO with videos, TAO results, BDD100K (scalabel)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from masa_cli.boxes import xywh_to_xyxy
from masa_cli.errors import SourceError
from masa_cli.formats.coco import frames_of_images, names_of_categories
from masa_cli.formats.detection_table import NAMELESS
from masa_cli.formats.tao_columns import Columns, columns_of, read_json
from masa_cli.formats.text_file import HELP
from masa_cli.formats.track_table import TrackTable, numbered
from masa_cli.structures import IntArray, Tracks

_ID_KEYS = ("track_id", "instance_id")
_CORNERS = ("x1", "y1", "x2", "y2")


def read_coco(path: Path) -> TrackTable:
    """One file with images, categories and annotations that have a track_id or an instance_id.

    The frame of an image is found as in `coco.read_detections`. A missing score is 1.

    Raises:
        SourceError: it is no such file, or an entry is malformed.
    """
    content = read_json(path)
    images = columns_of(content, path, "images")
    annotations = columns_of(content, path, "annotations")
    frames = frames_of_images(list(images.rows), path)
    sizes = {(image.get("width"), image.get("height")) for image in images.rows}
    return _table(path, annotations, frames, names_of_categories(content, path), _size(sizes))


def read_tao(path: Path, images: Path | None = None) -> TrackTable:
    """Results, a list of boxes with track_id.

    Args:
        path: the results.
        images: a file whose images tell the frame of each image_id, and whose categories the names;
            without it, image_id counts the frames from 1, as masa writes it.

    Raises:
        SourceError: it is no such file, or an entry is malformed.
    """
    rows = columns_of(read_json(path), path)
    if images is not None:
        catalogue = read_json(images)
        frames = frames_of_images(list(columns_of(catalogue, images, "images").rows), images)
        return _table(path, rows, frames, names_of_categories(catalogue, images), None)
    numbers = rows.whole("image_id")
    if len(numbers) and numbers.min() < 1:
        raise rows.wrong(int(numbers.argmin()), "an image_id from 1", numbers.min(), HELP)
    return _table(path, rows, {number: number - 1 for number in numbers.tolist()}, {}, None)


def read_bdd(path: Path) -> TrackTable:
    """One video: a list of frames with labels that have an id, a category and a box2d.

    Ids that are no whole numbers from 1 are numbered as they appear.

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
    objects = [_bdd_objects(each) for each in labels]
    places, classes = numbered([name for each in objects for name in each.categories])
    tracks = Tracks(
        np.concatenate([np.empty((0, 4)), *(each.boxes for each in objects)]).astype(np.float32),
        np.concatenate([np.empty(0), *(each.scores for each in objects)]).astype(np.float32),
        places,
        _numbered_ids([id_ for each in objects for id_ in each.ids]),
        np.array([mark for each in objects for mark in each.interpolated], np.bool_),
    )
    return TrackTable.from_rows(
        path,
        np.repeat(indices, [len(each) for each in labels]),
        tracks,
        classes or (NAMELESS,),
        num_frames=int(indices.max(initial=-1)) + 1,
    )


class _BddObjects(NamedTuple):
    """Those of a frame."""

    ids: list[str]
    categories: list[str]
    boxes: NDArray[np.float64]
    scores: NDArray[np.float64]
    interpolated: list[bool]


def _bdd_objects(labels: Columns) -> _BddObjects:
    corners = Columns(labels.of("box2d"), f"{labels.place} box2d")
    for number, row in enumerate(corners.rows):
        if not isinstance(row, dict):
            raise corners.wrong(number, "an object with x1, y1, x2 and y2", row, HELP)
    boxes = [corners.numbers(name) for name in _CORNERS]
    scored = Columns([{"score": row.get("score", 1.0)} for row in labels.rows], labels.place)
    attributes = [row.get("attributes") for row in labels.rows]
    return _BddObjects(
        [str(id_) for id_ in labels.of("id")],
        [str(name) for name in labels.of("category")],
        np.stack(boxes, axis=1),
        scored.numbers("score"),
        [isinstance(each, dict) and each.get("interpolated") is True for each in attributes],
    )


def _numbered_ids(names: list[str]) -> IntArray:
    """As they are if all are whole numbers from 1, else numbered as they appear."""
    plain = [name.isascii() and name.isdecimal() and 0 < len(name) < 16 for name in names]
    if all(plain) and all(int(name) >= 1 for name in names):
        return np.array([int(name) for name in names], np.int64)
    places, _ = numbered(names)
    return places + 1


def _table(
    path: Path,
    rows: Columns,
    frames: Mapping[Any, int],
    names: Mapping[int, str],
    size: tuple[int, int] | None,
) -> TrackTable:
    """Of COCO-like boxes; `frames` by image_id."""
    key = next((key for key in _ID_KEYS if all(key in row for row in rows.rows)), _ID_KEYS[0])
    images = rows.of("image_id")
    for number, image in enumerate(images):
        if not isinstance(image, int | str) or image not in frames:
            raise rows.wrong(number, "the id of one of the images as image_id", image, HELP)
    scored = Columns([{"score": row.get("score", 1.0)} for row in rows.rows], rows.place)
    marks = [row.get("interpolated") is True for row in rows.rows]
    labels, classes = numbered(
        [*names.values(), *(names.get(each, str(each)) for each in rows.whole("category_id"))]
    )
    tracks = Tracks(
        xywh_to_xyxy(rows.numbers("bbox", 4)).astype(np.float32),
        scored.numbers("score").astype(np.float32),
        labels[len(names) :],
        rows.whole(key),
        np.array(marks, np.bool_),
    )
    return TrackTable.from_rows(
        path,
        np.array([frames[image] for image in images], np.int64),
        tracks,
        classes or (NAMELESS,),
        num_frames=max(frames.values(), default=-1) + 1,
        size=size,
    )


def _size(sizes: set[tuple[Any, Any]]) -> tuple[int, int] | None:
    """Width and height, if all images have the same."""
    width, height = sizes.pop() if len(sizes) == 1 else (None, None)
    if not (isinstance(width, int) and isinstance(height, int)) or width < 1 or height < 1:
        return None
    return width, height
