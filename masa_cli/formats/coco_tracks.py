"""Tracks out of COCO's JSON: with videos, or as TAO's results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from masa_cli.boxes import xywh_to_xyxy
from masa_cli.errors import SettingsError
from masa_cli.formats.coco import frames_of_images, names_of_categories
from masa_cli.formats.detection_table import NAMELESS
from masa_cli.formats.segmentation import masks_of
from masa_cli.formats.tao_columns import Columns, columns_of, read_json
from masa_cli.formats.text_file import HELP
from masa_cli.formats.track_table import TrackTable, numbered
from masa_cli.structures import MaskArray, Tracks

_ID_KEYS = ("track_id", "instance_id")

Size: TypeAlias = tuple[int, int]  # width and height, pixels


def read_coco(path: Path, size: Size | None = None) -> TrackTable:
    """One file with images, categories and annotations that have a track_id or an instance_id.

    The frame of an image is found as in `coco.read_detections`. A missing score is 1. A
    segmentation may be polygons or run lengths.

    Args:
        path: the file.
        size: of images that do not tell theirs.

    Raises:
        SourceError: it is no such file, or an entry is malformed.
        SettingsError: there are polygons in images whose size is not known.
    """
    content = read_json(path)
    images = columns_of(content, path, "images")
    annotations = columns_of(content, path, "annotations")
    frames = frames_of_images(list(images.rows), path)
    names = names_of_categories(content, path)
    return _table(path, annotations, frames, names, _sizes(images, size))


def read_tao(path: Path, images: Path | None = None, size: Size | None = None) -> TrackTable:
    """Results, a list of boxes with track_id, perhaps with a segmentation as in COCO's.

    Args:
        path: the results.
        images: a file whose images tell the frame of each image_id, and whose categories the names;
            without it, image_id counts the frames from 1, as masa writes it.
        size: of images that do not tell theirs.

    Raises:
        SourceError: it is no such file, or an entry is malformed.
        SettingsError: there are polygons in images whose size is not known.
    """
    rows = columns_of(read_json(path), path)
    if images is not None:
        catalogue = read_json(images)
        known = columns_of(catalogue, images, "images")
        frames = frames_of_images(list(known.rows), images)
        names = names_of_categories(catalogue, images)
        return _table(path, rows, frames, names, _sizes(known, size))
    numbers = rows.whole("image_id")
    if len(numbers) and numbers.min() < 1:
        raise rows.wrong(int(numbers.argmin()), "an image_id from 1", numbers.min(), HELP)
    frames = {number: number - 1 for number in numbers.tolist()}
    return _table(path, rows, frames, {}, dict.fromkeys(frames, size))


def _table(
    path: Path,
    rows: Columns,
    frames: Mapping[Any, int],
    names: Mapping[int, str],
    sizes: Mapping[Any, Size | None],
) -> TrackTable:
    """Of COCO-like boxes; `frames` and `sizes` by image_id."""
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
        _masks(path, rows, [sizes[image] for image in images]),
    )
    known = set(sizes.values())
    return TrackTable.from_rows(
        path,
        np.array([frames[image] for image in images], np.int64),
        tracks,
        classes or (NAMELESS,),
        num_frames=max(frames.values(), default=-1) + 1,
        size=known.pop() if len(known) == 1 else None,
    )


def _masks(path: Path, rows: Columns, sizes: Sequence[Size | None]) -> MaskArray:
    """(N,) the masks of boxes in images of these sizes."""
    for row, size in zip(rows.rows, sizes, strict=True):
        if size is None and row.get("segmentation") and isinstance(row["segmentation"], list):
            raise SettingsError(
                f"{path} has polygons, but not the width and height of its images",
                fix="give the video with --video, or its --size",
            )
    return masks_of(rows, "segmentation", [size and (size[1], size[0]) for size in sizes])


def _sizes(images: Columns, usual: Size | None) -> dict[Any, Size | None]:
    """By image_id; `usual` where an image does not tell."""
    return {image["id"]: _size(image) or usual for image in images.rows}


def _size(image: Mapping[str, Any]) -> Size | None:
    """Of an image, if it tells a size that is one."""
    width, height = image.get("width"), image.get("height")
    if not (type(width) is int and type(height) is int and min(width, height) > 0):
        return None
    return width, height
