"""Images and the regions in each: what training learns from.

The file is COCO json: `images`, `annotations` with `bbox`, `area` and perhaps `segmentation`
(compressed run lengths), `categories`. Of ours are `outline`, the corners of the region's convex
hull (x, y, x, y, ...), and `folder`, where the images are: absolute, or relative to the file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from masa_cli.boxes import xywh_to_xyxy
from masa_cli.errors import SourceError
from masa_cli.structures import FloatArray, IntArray

REGIONS_FILE = "regions.json"
OBJECT = "object"  # the class of what has no class; always the last of a set
_FIX = "make it with masa train prepare"


@dataclass(frozen=True, slots=True, eq=False)
class Regions:
    """One image and what is known of it.

    Attributes:
        file: the image.
        size: height and width, pixels.
        boxes: (N, 4) float32 xyxy, pixels.
        labels: (N,) int64, indices into the classes of the set; ~index for regions to ignore, in
            which there may be something of that class.
        outlines: for each region (K, 2) float32 x, y: corners of its convex hull, or of its box.
    """

    file: Path
    size: tuple[int, int]
    boxes: FloatArray
    labels: IntArray
    outlines: tuple[FloatArray, ...]


class RegionSet:
    """Many images and their regions, in a few arrays: also of a million, quickly copied.

    Args:
        files: of the images.
        sizes: (I, 2) height and width of each.
        starts: (I + 1,) the first region of each image.
        boxes: (M, 4) float32 xyxy.
        labels: (M,) indices into `classes`, or ~index.
        corners: (K, 2) float32 x, y of all outlines.
        corner_starts: (M + 1,) the first corner of each region.
        classes: names.
    """

    def __init__(
        self,
        files: Sequence[Path],
        sizes: IntArray,
        starts: IntArray,
        boxes: FloatArray,
        labels: IntArray,
        corners: FloatArray,
        corner_starts: IntArray,
        classes: Sequence[str],
    ) -> None:
        self.files, self.sizes, self.starts = tuple(files), sizes, starts
        self.boxes, self.labels = boxes, labels
        self.corners, self.corner_starts = corners, corner_starts
        self.classes = tuple(classes)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Regions:
        rows = range(self.starts[index], self.starts[index + 1])
        ends = self.corner_starts
        return Regions(
            self.files[index],
            (int(self.sizes[index, 0]), int(self.sizes[index, 1])),
            self.boxes[rows.start : rows.stop],
            self.labels[rows.start : rows.stop],
            tuple(self.corners[ends[row] : ends[row + 1]] for row in rows),
        )

    def chosen(self, indices: Sequence[int]) -> RegionSet:
        """Only those images, in that order."""
        return RegionSet.of([self[index] for index in indices], self.classes)

    @staticmethod
    def of(images: Sequence[Regions], classes: Sequence[str]) -> RegionSet:
        """The set of these images."""
        outlines = [outline for image in images for outline in image.outlines]
        nothing = np.empty((0, 4), np.float32)
        return RegionSet(
            [image.file for image in images],
            np.array([image.size for image in images], np.int64).reshape(-1, 2),
            _starts([len(image.boxes) for image in images]),
            np.concatenate([nothing, *(image.boxes for image in images)]),
            np.concatenate([np.empty(0, np.int64), *(image.labels for image in images)]),
            np.concatenate([nothing[:, :2], *outlines]),
            _starts([len(outline) for outline in outlines]),
            classes,
        )

    @staticmethod
    def joined(sets: Sequence[RegionSet]) -> RegionSet:
        """All images of several sets; classes of one name are one."""
        classes = list(dict.fromkeys(name for each in sets for name in each.classes))
        classes.sort(key=lambda name: name == OBJECT)
        images = []
        for each in sets:
            numbers = np.array([classes.index(name) for name in each.classes], np.int64)
            for index in range(len(each)):
                image = each[index]
                known = image.labels >= 0
                renumbered = numbers[np.where(known, image.labels, ~image.labels)]
                labels = np.where(known, renumbered, ~renumbered)
                images.append(Regions(image.file, image.size, image.boxes, labels, image.outlines))
        return RegionSet.of(images, classes)


def read_regions(path: Path, *, backgrounds: bool = False) -> RegionSet:
    """Read a regions file, or the one in a folder that `masa train prepare` made.

    Args:
        path: of the file or the folder.
        backgrounds: whether images are kept in which nothing is known to be.

    Raises:
        SourceError: it is missing or malformed.
    """
    path = path / REGIONS_FILE if path.is_dir() else path
    try:
        content = orjson.loads(path.read_bytes())
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}", fix=_FIX) from None
    except orjson.JSONDecodeError as error:
        raise SourceError(f"{path} is not JSON: {error}", fix=_FIX) from None
    try:
        return _parse(content, path.parent, backgrounds=backgrounds)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        what = f"{type(error).__name__}: {error}"
        raise SourceError(f"{path} is no file of regions ({what})", fix=_FIX) from None


def _parse(content: Mapping[str, Any], beside: Path, *, backgrounds: bool) -> RegionSet:
    folder = beside / content.get("folder", ".")
    names = {int(row["id"]): str(row["name"]) for row in content["categories"]}
    index_of = {number: index for index, number in enumerate(names)}
    rows_of: dict[Any, list[Mapping[str, Any]]] = {row["id"]: [] for row in content["images"]}
    for row in content["annotations"]:
        rows_of[row["image_id"]].append(row)
    images = []
    for image in content["images"]:
        rows = rows_of[image["id"]]
        if not backgrounds and all(row.get("iscrowd") for row in rows):
            continue
        boxes = xywh_to_xyxy(np.array([row["bbox"] for row in rows], np.float32).reshape(-1, 4))
        if not np.isfinite(boxes).all():
            raise ValueError(f"image {image['id']} has a box that is no numbers")
        images.append(
            Regions(
                folder / image["file_name"],
                (int(image["height"]), int(image["width"])),
                boxes,
                np.array([_label(row, index_of) for row in rows], np.int64),
                tuple(_outline(row, box) for row, box in zip(rows, boxes, strict=True)),
            )
        )
    return RegionSet.of(images, tuple(names.values()))


def _label(row: Mapping[str, Any], index_of: Mapping[int, int]) -> int:
    index = index_of[int(row["category_id"])]
    return ~index if row.get("iscrowd") else index


def _outline(row: Mapping[str, Any], box: FloatArray) -> FloatArray:
    if "outline" in row:
        return np.array(row["outline"], np.float32).reshape(-1, 2)
    return box_outline(box)


def box_outline(box: FloatArray) -> FloatArray:
    """(4, 2) x, y: the corners of a box (4,) xyxy, the outline of a region that is all of it."""
    return box[[0, 1, 2, 1, 2, 3, 0, 3]].reshape(4, 2)


def _starts(counts: Sequence[int]) -> IntArray:
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
