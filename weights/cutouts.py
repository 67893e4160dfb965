"""Objects cut out of their images, for `masa train run --cutouts`.

    python weights/cutouts.py BOXES.json OUT

BOXES.json is a file of regions with classes, such as pseudo_boxes.py makes. An object is cut out
by GrabCut where the outcome can be trusted: it stands by itself, ends inside the image, and its
mask is one piece that fills the box neither too little nor too much, and to all four sides. Each is
written as a PNG file with transparency into the folder of its class.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from masa_cli.boxes import area, intersection, iou
from masa_cli.masks import unpack
from masa_cli.segmenters.grabcut import GrabCutSegmenter
from masa_cli.sources.image_folder import read_image
from masa_cli.structures import BoolArray, Frame, Image, IntArray, Mask
from masa_cli.training.regions import Regions, read_regions

MIN_SHORT, MIN_LONG = 24, 48  # sides of a box, pixels
BORDER = 3  # least distance from the image's border, pixels
COVERED = 0.15  # most that another labelled object covers of a box
MIN_FIT = 0.85  # IoU of the box around the mask with that of the label
MIN_SHARE, MAX_SHARE = 0.3, 0.88  # of the box around the mask
MIN_PIECE = 0.9  # share of the largest piece
LONG_SIDE = 320  # of what is written, at most, pixels


def alone(regions: Regions) -> IntArray:
    """Numbers of the objects that can be cut out, if their masks are good."""
    labelled = np.flatnonzero(regions.labels >= 0)
    boxes = regions.boxes[labelled]
    height, width = regions.size
    sides = boxes[:, 2:] - boxes[:, :2]
    inside = (boxes[:, :2] >= BORDER) & (boxes[:, 2:] <= np.array([width, height]) - BORDER)
    covered = intersection(boxes, boxes) / np.maximum(area(boxes), 1)[:, None]
    np.fill_diagonal(covered, 0)
    large = (sides.min(axis=1) >= MIN_SHORT) & (sides.max(axis=1) >= MIN_LONG)
    return labelled[inside.all(axis=1) & large & (covered.max(axis=1, initial=0) <= COVERED)]


def trusted(pixels: BoolArray, corner: tuple[int, int], box: np.ndarray) -> bool:
    """Whether a mask (h, w), in the smallest window, is likely to be the object in the box."""
    around = np.array([[*corner, *np.add(corner, pixels.shape[::-1])]], np.float32)
    pieces = cv2.connectedComponentsWithStats(pixels.astype(np.uint8))[2]
    return bool(
        iou(around, box[None])[0, 0] >= MIN_FIT
        and MIN_SHARE <= pixels.mean() <= MAX_SHARE
        and pieces[1:, cv2.CC_STAT_AREA].max() >= MIN_PIECE * pixels.sum()
    )


def cut(image: Image, mask: Mask | None, box: np.ndarray) -> Image | None:
    """(h, w, 4) RGBA; None if the mask is not to be trusted."""
    if mask is None:
        return None
    pixels, (left, top) = unpack(mask)
    if not trusted(pixels, (left, top), box):
        return None
    part = image[top : top + pixels.shape[0], left : left + pixels.shape[1]]
    cutout = np.dstack([part, pixels.astype(np.uint8) * 255])
    scale = min(1.0, LONG_SIDE / max(pixels.shape))
    return cv2.resize(cutout, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)


def cutouts(regions: Regions, segmenter: GrabCutSegmenter) -> Iterator[tuple[int, Image]]:
    """Number of the object, and its picture."""
    numbers = alone(regions)
    if not len(numbers):
        return
    image = read_image(regions.file)
    boxes = regions.boxes[numbers]
    masks = segmenter.segment(Frame(0, Fraction(0), image), boxes)
    for number, mask, box in zip(numbers.tolist(), masks, boxes, strict=True):
        if (cutout := cut(image, mask, box)) is not None:
            yield number, cutout


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("boxes", type=Path)
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    regions, segmenter = read_regions(options.boxes), GrabCutSegmenter()
    seen: set[Path] = set()
    counts: Counter[str] = Counter()
    for index, file in enumerate(regions.files):
        if file in seen:
            continue
        seen.add(file)
        own = regions[index]
        for number, cutout in cutouts(own, segmenter):
            name = regions.classes[own.labels[number]]
            target = options.out / name / f"{index:06}-{number:03}.png"
            target.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(target), cv2.cvtColor(cutout, cv2.COLOR_RGBA2BGRA))
            counts[name] += 1
    kinds = ", ".join(f"{number} {name}" for name, number in counts.most_common())
    print(f"{options.out}: {counts.total()} cutouts ({kinds})")


if __name__ == "__main__":
    main()
