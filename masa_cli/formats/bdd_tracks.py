"""Tracks of one video out of BDD100K's JSON (scalabel), of any classes."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from masa_cli.errors import SourceError
from masa_cli.formats.detection_table import NAMELESS
from masa_cli.formats.segmentation import masks_of
from masa_cli.formats.tao_columns import Columns, columns_of, read_json
from masa_cli.formats.text_file import HELP
from masa_cli.formats.track_table import TrackTable, numbered
from masa_cli.masks import as_array, frames_of
from masa_cli.structures import IntArray, Mask, MaskArray, Tracks

_CORNERS = ("x1", "y1", "x2", "y2")


def read_tracks(path: Path) -> TrackTable:
    """One video: a list of frames with labels that have an id, a category, and a box2d or an rle.

    Ids that are no whole numbers from 1 are numbered as they appear. A mask without a box has the
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
    places, classes = numbered([name for each in objects for name in each.categories])
    tracks = Tracks(
        np.concatenate([np.empty((0, 4)), *(each.boxes for each in objects)]).astype(np.float32),
        np.concatenate([np.empty(0), *(each.scores for each in objects)]).astype(np.float32),
        places,
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
        {"box2d": _around(mask)} | row if mask else row
        for row, mask in zip(labels.rows, masks, strict=True)
    ]
    corners = Columns(Columns(boxed, labels.place).of("box2d"), f"{labels.place} box2d")
    for number, row in enumerate(corners.rows):
        if not isinstance(row, dict):
            raise corners.wrong(number, "an object with x1, y1, x2 and y2", row, HELP)
    boxes = [corners.numbers(name) for name in _CORNERS]
    scored = Columns([{"score": row.get("score", 1.0)} for row in labels.rows], labels.place)
    attributes = [row.get("attributes") for row in labels.rows]
    return _Objects(
        [str(id_) for id_ in labels.of("id")],
        [str(name) for name in labels.of("category")],
        np.stack(boxes, axis=1),
        scored.numbers("score"),
        [isinstance(each, dict) and each.get("interpolated") is True for each in attributes],
        masks,
    )


def _around(mask: Mask) -> dict[str, float]:
    """The smallest box that holds a mask."""
    return dict(zip(_CORNERS, frames_of([mask])[0].tolist(), strict=True))


def _numbered_ids(names: list[str]) -> IntArray:
    """As they are if all are whole numbers from 1, else numbered as they appear."""
    plain = [name.isascii() and name.isdecimal() and 0 < len(name) < 16 for name in names]
    if all(plain) and all(int(name) >= 1 for name in names):
        return np.array([int(name) for name in names], np.int64)
    places, _ = numbered(names)
    return places + 1
