"""Cut-out objects in an image: more scenes than were photographed, and objects behind others.

As in simple copy-paste (arXiv 2012.07177). What is pasted is in both views of a pair.
"""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from masa_cli.boxes import area, intersection
from masa_cli.formats.regions import Regions, box_outline
from masa_cli.structures import FloatArray, Image
from masa_cli.training.cutouts import Cutouts
from masa_cli.training.views import ViewSettings

_BESIDE = 0.5  # chance that an object comes beside the one before, at about its size
_STRETCH = 1.25  # how much larger or smaller it may be then
_APART = np.array([1.2, 0.2])  # how far from it at most, of its own width and height
_ENLARGED = 1.5  # a cutout is enlarged no more than so
_DARKEST, _BRIGHTEST = 0.7, 1.3  # what its colours are multiplied by
_LEAST = 5  # pixels; smaller objects are not pasted
_HIDDEN = 0.65  # share of a box that is covered, above which what it holds is to be ignored


def pasted(
    image: Image,
    regions: Regions,
    cutouts: Cutouts,
    settings: ViewSettings,
    random: np.random.Generator,
) -> tuple[Image, Regions]:
    """An image with some more objects in it, and its regions with theirs, those at the end.

    Args:
        image: (H, W, 3) uint8 RGB.
        regions: what is in it.
        cutouts: what to paste.
        settings: how many, and how large.
        random: decides.

    Raises:
        SourceError: a cutout cannot be read.
    """
    image = image.copy()
    size = np.array(image.shape[1::-1])  # width, height
    boxes: list[FloatArray] = []
    labels: list[int] = []
    for _ in range(int(random.integers(1, settings.most_pasted + 1))):
        label, cutout = cutouts.draw(random)
        before = boxes[-1] if boxes and random.random() < _BESIDE else None
        side = _side(size, before, settings, random)
        scale = min(side / max(cutout.shape[:2]), _ENLARGED)
        own = np.round(np.array(cutout.shape[1::-1]) * scale).astype(int)
        if own.min() < _LEAST or (own > size).any():
            continue
        corner = random.uniform(0, size - own)
        if before is not None:
            corner = before[:2] + random.uniform(-1, 1, 2) * _APART * own
        left, top = np.clip(corner, 0, size - own).astype(int).tolist()
        _lay(image, _seen(cutout, own, random), left, top)
        boxes.append(np.array([left, top, left + own[0], top + own[1]], np.float32))
        labels.append(label)
    return image, _with(regions, np.array(boxes, np.float32).reshape(-1, 4), labels)


def _side(
    size: FloatArray,
    before: FloatArray | None,
    settings: ViewSettings,
    random: np.random.Generator,
) -> float:
    """The longer side of an object, pixels."""
    if before is not None:
        return float((before[2:] - before[:2]).max() * _STRETCH ** random.uniform(-1, 1))
    limits = np.log([settings.min_pasted, settings.max_pasted])
    return float(size.max() * np.exp(random.uniform(*limits)))


def _seen(cutout: Image, size: FloatArray, random: np.random.Generator) -> FloatArray:
    """(h, w, 4) the cutout in that size, perhaps mirrored, lighter or darker.

    Its colours are multiplied by how opaque it is, which is 0 to 1.
    """
    pixels = cutout.astype(np.float32)
    pixels[..., 3] /= 255
    pixels[..., :3] *= pixels[..., 3:]
    if random.random() < 0.5:
        pixels = pixels[:, ::-1]
    shrinks = size[0] < pixels.shape[1]
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    seen: FloatArray = cv2.resize(pixels, size.tolist(), interpolation=how)  # type: ignore[assignment]
    seen[..., :3] *= random.uniform(_DARKEST, _BRIGHTEST)
    return seen


def _lay(image: Image, seen: FloatArray, left: int, top: int) -> None:
    """Cover a part of the image, in place."""
    part = image[top : top + seen.shape[0], left : left + seen.shape[1]]
    mixed = seen[..., :3] + part * (1 - seen[..., 3:])
    part[:] = np.clip(mixed, 0, 255).round().astype(np.uint8)


def _with(regions: Regions, boxes: FloatArray, labels: list[int]) -> Regions:
    """The regions and those that were pasted, in order; what these hide is to be ignored."""
    together = np.concatenate([regions.boxes, boxes])
    shared = intersection(together, boxes) / np.maximum(area(together), 1)[:, None]
    numbers, pasting = np.arange(len(together)), len(regions.boxes) + np.arange(len(boxes))
    is_later = pasting > numbers[:, None]
    hidden = ((shared > _HIDDEN) & is_later).any(axis=1)
    known = np.concatenate([regions.labels, np.array(labels, np.int64)])
    return replace(
        regions,
        boxes=together,
        labels=np.where(hidden & (known >= 0), ~known, known),
        outlines=(*regions.outlines, *map(box_outline, boxes)),
    )
