"""COCO json: detections in.

Either results, a list of {image_id, category_id, bbox [left, top, width, height], score}, with a
second file that tells which frame each image is; or one file with `images`, `annotations` (a
missing score is 1) and perhaps `categories`. Images of one video only. Masks are read where
`segmentation` holds compressed run lengths.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from masa_cli.boxes import xywh_to_xyxy
from masa_cli.errors import SourceError
from masa_cli.formats.detection_table import LARGEST, NAMELESS, DetectionTable
from masa_cli.formats.mask_json import read_masks
from masa_cli.formats.text_file import HELP, TextFile, shortened
from masa_cli.masks import as_array
from masa_cli.structures import Mask, MaskArray


def recognises(first_line: str) -> bool:
    """Whether a line begins like JSON."""
    return first_line.lstrip().startswith(("[", "{"))


def read_detections(path: Path, images: Path | None = None) -> DetectionTable:
    """Read results, or a file that has both images and annotations.

    The frame of an image is its `frame_index`, or its `frame_id` where not all have the former,
    or its place in the natural order of file names. Categories without a name are called by their
    number.

    Args:
        path: results or annotations.
        images: a file with `images`, and perhaps `categories`, to use in place of those of `path`.
    """
    content = _read_json(path)
    if content in ([], None):
        return _table([], {})
    entries, default_score = content, None
    if not isinstance(entries, list):
        entries, default_score = _list(content, "annotations", path), 1.0
    elif images is None:
        raise SourceError(
            f"{path} is a list of COCO results, which does not tell the frames of its images",
            fix="name the file that has the images with --dets-images",
        )
    source = images or path
    catalogue = content if images is None else _read_json(images)
    frames = frames_of_images(_list(catalogue, "images", source), source)
    rows, masks = [], []
    for place, entry in enumerate(entries, start=1):
        where = f"{path} entry {place}"
        rows.append(_row(entry, frames, default_score, where=where))
        masks.append(_mask(entry, where=where))
    return _table(rows, names_of_categories(catalogue, source), as_array(masks))


def _read_json(path: Path) -> object:
    """What the file holds; None where it is empty."""
    text = TextFile.read(path)
    try:
        return orjson.loads("\n".join(text.lines)) if text.lines else None
    except orjson.JSONDecodeError as error:
        place = f"line {text.numbers[error.lineno - 1]} column {error.colno}"
        raise SourceError(f"{path} {place} is not JSON: {error.msg}", fix=HELP) from None


def _list(content: object, key: str, path: Path) -> list[dict[str, Any]]:
    """The list of objects under a key of the file."""
    found = content.get(key) if isinstance(content, dict) else None
    if not isinstance(found, list) or not all(isinstance(entry, dict) for entry in found):
        raise SourceError(f'{path} has no list of objects under "{key}"', fix=HELP)
    return found


def names_of_categories(catalogue: object, path: Path) -> dict[int, str]:
    """Name of each category_id, in the order of the file."""
    if not isinstance(catalogue, dict) or "categories" not in catalogue:
        return {}
    try:
        return {
            int(entry["id"]): str(entry["name"]) for entry in _list(catalogue, "categories", path)
        }
    except (KeyError, TypeError, ValueError):
        raise SourceError(
            f'{path}: not all categories have an "id" and a "name"', fix=HELP
        ) from None


def frames_of_images(images: list[dict[str, Any]], path: Path) -> dict[Any, int]:
    """Frame of each image_id."""
    videos = {str(image.get("video_id")) for image in images}
    if len(videos) > 1:
        raise SourceError(
            f"{path} has images of {len(videos)} videos, expected those of one",
            fix="write the images of one video into a file of their own",
        )
    ids = [image.get("id") for image in images]
    frames = _frame_numbers(images)
    if not all(isinstance(number, int) and number >= 0 for number in frames):
        raise SourceError(f"{path}: not all images have a whole frame number from 0", fix=HELP)
    if not all(isinstance(id_, int | str) for id_ in ids) or len(set(ids)) < len(ids):
        raise SourceError(f'{path}: not all images have an "id" of their own', fix=HELP)
    if len(set(frames)) < len(frames):
        raise SourceError(f"{path}: two images have the same frame number", fix=HELP)
    return dict(zip(ids, frames, strict=True))


def _frame_numbers(images: list[dict[str, Any]]) -> list[Any]:
    for key in ("frame_index", "frame_id"):
        if all(key in image for image in images):
            return [image[key] for image in images]
    order = sorted(range(len(images)), key=lambda place: _natural(images[place].get("file_name")))
    ranks = [0] * len(images)
    for rank, place in enumerate(order):
        ranks[place] = rank
    return ranks


def _natural(file_name: object) -> list[str | int]:
    """A key that sorts 9.jpg before 10.jpg."""
    # Text and digits take turns, so that at each place like is compared with like.
    parts = re.split(r"([0-9]+)", str(file_name))
    return [int(part) if place % 2 else part for place, part in enumerate(parts)]


def _row(
    entry: dict[str, Any], frames: dict[Any, int], default_score: float | None, *, where: str
) -> tuple[float, ...]:
    """Frame, category, left, top, width, height, score of one result."""
    try:
        left, top, width, height = entry["bbox"]
        score: Any = entry.get("score", default_score)
        numbers = (left, top, width, height, score)
        category = int(entry["category_id"])
        frame = frames.get(entry["image_id"])
        # NaN cannot be written in JSON; abs raises TypeError at anything but a number.
        plain = max(map(abs, numbers)) < LARGEST
    except (AttributeError, KeyError, TypeError, ValueError):
        plain = False
    if not plain:
        raise SourceError(
            f"{where}: expected image_id, category_id, bbox of 4 finite numbers and score, "
            f"got {shortened(str(entry))}",
            fix=HELP,
        )
    if frame is None:
        raise SourceError(
            f"{where}: no image has the id {entry['image_id']}",
            fix="use the images that the results were made from",
        )
    return (frame, category, *numbers)


def _mask(entry: dict[str, Any], *, where: str) -> Mask | None:
    """The mask of one result, if it is given as compressed run lengths; polygons are not read."""
    segmentation = entry.get("segmentation")
    if not isinstance(segmentation, dict) or not isinstance(segmentation.get("counts"), str):
        return None
    try:
        mask: Mask | None = read_masks([segmentation], 1)[0]
    except ValueError as error:
        raise SourceError(
            f'{where}: expected compressed run lengths as "segmentation", got {error}', fix=HELP
        ) from None
    return mask


def _table(
    rows: list[tuple[float, ...]], names: dict[int, str], masks: MaskArray | None = None
) -> DetectionTable:
    columns = np.array(rows, np.float64).reshape(-1, 7)
    frames, categories = columns[:, :2].astype(np.int64).T
    found: list[int] = np.unique(categories).tolist()
    names = names | {number: str(number) for number in found if number not in names}
    label_of = {number: label for label, number in enumerate(names)}
    return DetectionTable.from_rows(
        frames,
        xywh_to_xyxy(columns[:, 2:6].astype(np.float32)),
        columns[:, 6].astype(np.float32),
        np.array([label_of[number] for number in categories.tolist()], np.int64),
        tuple(names.values()) or (NAMELESS,),
        masks,
    )
