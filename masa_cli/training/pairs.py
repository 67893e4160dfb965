"""Pairs of views: one image twice, with the instances that are in both known exactly (spec 10.2).

Pair number n of a seed is always the same, whoever makes it and whenever: so runs can be repeated,
resumed, and split over processes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from masa_cli.errors import SourceError
from masa_cli.formats.regions import Regions, RegionSet
from masa_cli.sources.image_folder import read_image
from masa_cli.structures import FloatArray, Image, IntArray
from masa_cli.training.cutouts import Cutouts
from masa_cli.training.pasting import pasted
from masa_cli.training.views import (
    Canvas,
    Matrix,
    ViewSettings,
    boxes_in_view,
    draw_canvas,
    draw_mixed,
    framed,
    recoloured,
    render,
)


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """One view and the instances in it.

    Attributes:
        image: (size, size, 3) uint8 RGB.
        boxes: (N, 4) float32 xyxy, pixels of the view.
        ids: (N,) int64, from 1: the same instance has the same number in both views of a pair.
        labels: (N,) int64, its class.
        ignored_boxes: (K, 4) float32 xyxy, where there may be more.
        ignored_labels: (K,) int64, of that class.
    """

    image: Image
    boxes: FloatArray
    ids: IntArray
    labels: IntArray
    ignored_boxes: FloatArray
    ignored_labels: IntArray


@dataclass(frozen=True, slots=True, eq=False)
class Pair:
    """Two views of one image.

    Attributes:
        key: the first view.
        reference: the second.
        seed: for what is drawn at random in a step of training with this pair.
        broken: what was said of images that could not be read on the way here.
    """

    key: View
    reference: View
    seed: int
    broken: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class _Layer:
    """An image that a view shows, perhaps one of two.

    Attributes:
        pixels: (H, W, 3) uint8.
        regions: what is in it.
        first_id: number of its first instance.
    """

    pixels: Image
    regions: Regions
    first_id: int


class PairMaker:
    """Makes pairs of a set of images by their number.

    Args:
        regions: the images.
        settings: of the views.
        seed: another one gives other pairs.
        cutouts: objects to paste into them.
    """

    MOST_ATTEMPTS = 15

    def __init__(
        self,
        regions: RegionSet,
        settings: ViewSettings,
        seed: int,
        cutouts: Cutouts | None = None,
    ) -> None:
        self._regions, self._settings, self._seed = regions, settings, seed
        self._cutouts = cutouts

    def make(self, number: int, *, place: int | None = None) -> Pair:
        """The pair of that number.

        Images that cannot be read are passed over, and named in the pair; a draw that leaves a view
        without instances is repeated.

        Args:
            number: from 0.
            place: of the image in the set; None: a random one.

        Raises:
            SourceError: no pair was found in 15 attempts.
        """
        broken: list[str] = []
        for attempt in range(self.MOST_ATTEMPTS):
            random = np.random.default_rng((self._seed, number, attempt))
            first = int(random.integers(len(self._regions))) if place is None else place
            try:
                is_mosaic = random.random() < self._settings.mosaic_chance
                layers = self._layers(first, random, 3 if is_mosaic else self._mixed(random))
            except SourceError as error:
                broken.append(error.problem)
                continue
            make = make_mosaic if is_mosaic else make_view
            key, reference = (make(layers, self._settings, random) for _ in range(2))
            if len(key.boxes) and len(reference.boxes):
                return Pair(key, reference, int(random.integers(2**31)), tuple(broken))
        raise SourceError(
            f"no two views with instances in {self.MOST_ATTEMPTS} attempts"
            + (f"; {broken[0]}" if broken else f", the last of {self._regions.files[first]}"),
            fix="prepare images with larger regions, or make views less extreme with --set views.…",
        )

    def _mixed(self, random: np.random.Generator) -> int:
        """How many images are mixed into the first."""
        return int(random.random() < self._settings.mix_chance)

    def _layers(self, first: int, random: np.random.Generator, others: int) -> list[_Layer]:
        """The image, and so many others at random."""
        places = [first, *random.integers(len(self._regions), size=others).tolist()]
        layers: list[_Layer] = []
        for place in places:
            regions = self._regions[place]
            first_id = 1 + sum(len(layer.regions.boxes) for layer in layers)
            pixels = _sized(read_image(regions.file), regions)
            if self._cutouts and random.random() < self._settings.paste_chance:
                pixels, regions = pasted(pixels, regions, self._cutouts, self._settings, random)
            layers.append(_Layer(pixels, regions, first_id))
        return layers


def _sized(image: Image, regions: Regions) -> Image:
    """The image at the size its regions are measured in."""
    height, width = regions.size
    if image.shape[:2] == (height, width):
        return image
    if abs(image.shape[0] * width - image.shape[1] * height) > 2 * max(image.shape):
        raise SourceError(
            f"{regions.file} is {image.shape[1]} x {image.shape[0]} pixels, not {width} x {height} "
            "as its regions say",
            fix="prepare it again",
        )
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)  # type: ignore[return-value]


def make_view(layers: list[_Layer], settings: ViewSettings, random: np.random.Generator) -> View:
    """A random view of one image, or of two mixed into each other."""
    canvas = draw_canvas(layers[0].regions.size, settings, random)
    matrices = [canvas.own] + [
        draw_mixed(layer.regions.size, canvas.shape, settings, random) for layer in layers[1:]
    ]
    picture = _mixed(layers, matrices, canvas, settings.mix_share)
    picture = framed(recoloured(picture, settings, random), canvas)
    boxes, ids, labels = [], [], []
    for layer, matrix in zip(layers, matrices, strict=True):
        found, kept = boxes_in_view(layer.regions.outlines, matrix, canvas, settings)
        boxes.append(found[kept])
        ids.append(layer.first_id + np.flatnonzero(kept))
        labels.append(layer.regions.labels[kept])
    return _view(picture, np.concatenate(boxes), np.concatenate(ids), np.concatenate(labels))


def _view(picture: Image, boxes: FloatArray, ids: IntArray, labels: IntArray) -> View:
    """With instances and regions to ignore, as labels tell them apart."""
    known = labels >= 0
    return View(picture, boxes[known], ids[known], labels[known], boxes[~known], ~labels[~known])


def make_mosaic(layers: list[_Layer], settings: ViewSettings, random: np.random.Generator) -> View:
    """A random view of each of four images, side by side."""
    half = settings.size // 2
    quarters = [make_view([layer], replace(settings, size=half), random) for layer in layers]
    picture = np.concatenate(
        [
            np.concatenate([quarter.image for quarter in quarters[row : row + 2]], 1)
            for row in (0, 2)
        ]
    )
    corners = [np.array([x, y, x, y], np.float32) for y in (0, half) for x in (0, half)]
    pairs = list(zip(quarters, corners, strict=True))
    return View(
        picture,
        np.concatenate([each.boxes + corner for each, corner in pairs]),
        np.concatenate([each.ids for each in quarters]),
        np.concatenate([each.labels for each in quarters]),
        np.concatenate([each.ignored_boxes + corner for each, corner in pairs]),
        np.concatenate([each.ignored_labels for each in quarters]),
    )


def _mixed(layers: list[_Layer], matrices: list[Matrix], canvas: Canvas, share: float) -> Image:
    parts = [
        render(layer.pixels, matrix, canvas) for layer, matrix in zip(layers, matrices, strict=True)
    ]
    if len(parts) == 1:
        return parts[0]
    return cv2.addWeighted(parts[0], 1 - share, parts[1], share, 0)  # type: ignore[return-value]
