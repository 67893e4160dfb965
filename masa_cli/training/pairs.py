"""Pairs of views: one image twice, with the instances that are in both known exactly (spec 10.2).

Images are augmented, mixed, tiled to mosaics, and given more objects by copy-paste. Pair number n
of a seed is always the same, whoever makes it and whenever: runs can be repeated and resumed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from masa_cli.boxes import area, intersection
from masa_cli.errors import SourceError
from masa_cli.sources.image_folder import read_image
from masa_cli.structures import FloatArray, Image, IntArray
from masa_cli.training.augmentations import (
    AugmentationSettings,
    Canvas,
    Matrix,
    boxes_in_view,
    degraded,
    draw_canvas,
    draw_mixed,
    framed,
    recoloured,
    render,
)
from masa_cli.training.regions import Regions, RegionSet, box_outline
from masa_cli.training.teacher import Lesson, Teacher

_OPAQUE = 128  # of 255; what is less so belongs to no box
_BESIDE = 0.5  # chance that an object comes beside the one before, at about its size
_STRETCH = 1.25  # how much larger or smaller it may be then
_APART = np.array([1.2, 0.2])  # how far from it at most, of its own width and height
_MAX_SCALE = 1.5  # a cutout is enlarged no more than so
_MIN_GAIN, _MAX_GAIN = 0.7, 1.3  # what its colours are multiplied by
_MIN_SIDE = 5  # pixels; smaller objects are not pasted
_OCCLUDED = 0.65  # share of a box that is covered, above which what it holds is to be ignored


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
        lesson: what a teacher says of it, where there is one.
    """

    image: Image
    boxes: FloatArray
    ids: IntArray
    labels: IntArray
    ignored_boxes: FloatArray
    ignored_labels: IntArray
    lesson: Lesson = field(default_factory=Lesson.nothing)


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


class PairMaker:
    """Makes pairs of a set of images by their number.

    Args:
        regions: the images.
        settings: of the views.
        seed: another one gives other pairs.
        cutouts: objects to paste into them.
        teacher: is asked about each view.
    """

    MAX_ATTEMPTS = 15

    def __init__(
        self,
        regions: RegionSet,
        settings: AugmentationSettings,
        seed: int,
        cutouts: Cutouts | None = None,
        teacher: Teacher | None = None,
    ) -> None:
        self._regions, self._settings, self._seed = regions, settings, seed
        self._cutouts, self._teacher = cutouts, teacher
        self._sums = np.cumsum(repeat_factors(regions, settings.repeat_below))

    def make(self, number: int, *, index: int | None = None) -> Pair:
        """The pair of that number.

        Images that cannot be read are passed over, and named in the pair; a draw that leaves a view
        without instances is repeated.

        Args:
            number: from 0.
            index: of the image in the set; None: a random one.

        Raises:
            SourceError: no pair was found in 15 attempts.
        """
        broken: list[str] = []
        for attempt in range(self.MAX_ATTEMPTS):
            random = np.random.default_rng((self._seed, number, attempt))
            first = self._drawn(random) if index is None else index
            try:
                is_mosaic = random.random() < self._settings.mosaic_chance
                layers = self._layers(first, random, 3 if is_mosaic else self._mixed(random))
            except SourceError as error:
                broken.append(error.problem)
                continue
            make = make_mosaic if is_mosaic else make_view
            key, reference = (make(layers, self._settings, random) for _ in range(2))
            if self._teacher or (len(key.boxes) and len(reference.boxes)):
                key, reference = (self._finished(view, random) for view in (key, reference))
                return Pair(key, reference, int(random.integers(2**31)), tuple(broken))
        raise SourceError(
            f"no two views with instances in {self.MAX_ATTEMPTS} attempts"
            + (f"; {broken[0]}" if broken else f", the last of {self._regions.files[first]}"),
            fix="prepare images with larger regions, or make views less extreme with --set views.…",
        )

    def _drawn(self, random: np.random.Generator) -> int:
        """The index of an image, each as likely as its factor says."""
        return int(np.searchsorted(self._sums, random.random() * self._sums[-1], side="right"))

    def _finished(self, view: View, random: np.random.Generator) -> View:
        """With what the teacher says of it, then reduced, and perhaps spoiled as video is."""
        lesson = self._teacher(view.image) if self._teacher else view.lesson
        view = reduced(replace(view, lesson=lesson), self._settings.reduced)
        return replace(view, image=degraded(view.image, self._settings, random))

    def _mixed(self, random: np.random.Generator) -> int:
        """How many images are mixed into the first."""
        return int(random.random() < self._settings.mix_chance)

    def _layers(self, first: int, random: np.random.Generator, others: int) -> list[_Layer]:
        """The image, and so many others at random."""
        indices = [first, *(self._drawn(random) for _ in range(others))]
        layers: list[_Layer] = []
        for index in indices:
            regions = self._regions[index]
            first_id = 1 + sum(len(layer.regions.boxes) for layer in layers)
            pixels = _sized(read_image(regions.file), regions)
            if self._cutouts and random.random() < self._settings.paste_chance:
                pixels, regions = copy_paste(pixels, regions, self._cutouts, self._settings, random)
            layers.append(_Layer(pixels, regions, first_id))
        return layers


def repeat_factors(regions: RegionSet, below: float) -> NDArray[np.float64]:
    """(I,) how many times as often as others each image is drawn, from 1 (arXiv 1908.03195).

    Args:
        regions: of I images.
        below: an image whose rarest class is in fewer than this share of all has a factor above 1:
            the root of how many times rarer it is.
    """
    owners = np.repeat(np.arange(len(regions)), np.diff(regions.starts))
    known = regions.labels >= 0
    pairs = np.unique(np.stack([owners[known], regions.labels[known]]), axis=1)
    shares = np.bincount(pairs[1], minlength=len(regions.classes)) / max(len(regions), 1)
    factors = np.ones(len(regions))
    own = np.sqrt(below / np.maximum(shares, 1e-9))
    np.maximum.at(factors, pairs[0], own[pairs[1]])
    return factors


def make_view(
    layers: list[_Layer], settings: AugmentationSettings, random: np.random.Generator
) -> View:
    """A random view of one image, or of two mixed into each other."""
    canvas = draw_canvas(layers[0].regions.size, settings, random)
    matrices = [canvas.own] + [
        draw_mixed(layer.regions.size, canvas.shape, settings, random) for layer in layers[1:]
    ]
    image = _mixed(layers, matrices, canvas, settings.mix_share)
    image = framed(recoloured(image, settings, random), canvas)
    boxes, ids, labels = [], [], []
    for layer, matrix in zip(layers, matrices, strict=True):
        found, kept = boxes_in_view(layer.regions.outlines, matrix, canvas, settings)
        boxes.append(found[kept])
        ids.append(layer.first_id + np.flatnonzero(kept))
        labels.append(layer.regions.labels[kept])
    return _view(image, np.concatenate(boxes), np.concatenate(ids), np.concatenate(labels))


def make_mosaic(
    layers: list[_Layer], settings: AugmentationSettings, random: np.random.Generator
) -> View:
    """A random view of each of four images, side by side."""
    half = settings.size // 2
    quarters = [make_view([layer], replace(settings, size=half), random) for layer in layers]
    image = np.concatenate(
        [
            np.concatenate([quarter.image for quarter in quarters[row : row + 2]], 1)
            for row in (0, 2)
        ]
    )
    corners = [np.array([x, y, x, y], np.float32) for y in (0, half) for x in (0, half)]
    pairs = list(zip(quarters, corners, strict=True))
    return View(
        image,
        np.concatenate([each.boxes + corner for each, corner in pairs]),
        np.concatenate([each.ids for each in quarters]),
        np.concatenate([each.labels for each in quarters]),
        np.concatenate([each.ignored_boxes + corner for each, corner in pairs]),
        np.concatenate([each.ignored_labels for each in quarters]),
    )


def reduced(view: View, factor: int) -> View:
    """A view at a smaller size, of a lesson the levels whose cells it has, too.

    Small views train faster, and what is said of a cell of stride 16 holds for stride 8 of half the
    size.
    """
    if factor == 1:
        return view
    size = view.image.shape[0] // factor
    image = cv2.resize(view.image, (size, size), interpolation=cv2.INTER_AREA)
    return replace(
        view,
        image=image,  # type: ignore[arg-type]
        boxes=view.boxes / np.float32(factor),
        ignored_boxes=view.ignored_boxes / np.float32(factor),
        lesson=view.lesson.reduced(factor, view.image.shape[0]),
    )


class Cutouts:
    """Draws cutouts at random, each class as often as its weight says.

    Args:
        files: of each class, by its number; PNG files with transparency.
        weights: of each class; those without files are never drawn.
    """

    def __init__(self, files: Sequence[Sequence[Path]], weights: Sequence[float]) -> None:
        self._files = tuple(tuple(each) for each in files)
        chances = np.array(weights, np.float64) * [bool(each) for each in self._files]
        self._chances = chances / chances.sum()

    def draw(self, random: np.random.Generator) -> tuple[int, Image]:
        """A class, and an object of it: (H, W, 4) uint8 RGBA, no larger than what is opaque.

        Raises:
            SourceError: the image cannot be read, has no transparency, or shows nothing.
        """
        label = int(random.choice(len(self._files), p=self._chances))
        own = self._files[label]
        file = own[int(random.integers(len(own)))]
        pixels = cv2.imread(str(file), cv2.IMREAD_UNCHANGED)
        if pixels is None or pixels.dtype != np.uint8 or pixels.shape[2:] != (4,):
            raise SourceError(
                f"{file} is no PNG with transparency", fix="make it one, or remove it"
            )
        opaque = pixels[..., 3] >= _OPAQUE
        rows, columns = np.flatnonzero(opaque.any(axis=1)), np.flatnonzero(opaque.any(axis=0))
        if not len(rows):
            raise SourceError(f"{file} shows nothing", fix="remove it")
        shown = pixels[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        return label, cv2.cvtColor(shown, cv2.COLOR_BGRA2RGBA)  # type: ignore[return-value]


def find_cutouts(folder: Path, regions: RegionSet) -> Cutouts:
    """The files `<class>/*.png` of a folder; a class is drawn as often as the set has it labelled.

    Raises:
        SourceError: there are none, or some of a class that the set never has.
    """
    counts = np.bincount(regions.labels[regions.labels >= 0], minlength=len(regions.classes))
    files = {path.name: sorted(path.glob("*.png")) for path in sorted(folder.glob("*/"))}
    files = {name: each for name, each in files.items() if each}
    if not files:
        raise SourceError(
            f"{folder} has no cutouts",
            fix="give a folder with PNG files in folders named as classes",
        )
    known = [name for name, count in zip(regions.classes, counts, strict=True) if count]
    if unknown := sorted(files.keys() - set(known)):
        raise SourceError(
            f'{folder} has cutouts of "{unknown[0]}", which no image has',
            fix=f"name its folders after classes of the images: {', '.join(known)}",
        )
    return Cutouts([files.get(name, []) for name in regions.classes], counts.tolist())


def copy_paste(
    image: Image,
    regions: Regions,
    cutouts: Cutouts,
    settings: AugmentationSettings,
    random: np.random.Generator,
) -> tuple[Image, Regions]:
    """An image with some more objects in it, and its regions with theirs, those at the end.

    As in simple copy-paste (arXiv 2012.07177): more scenes than were photographed, and objects
    behind others. What is pasted is in both views of a pair.

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
        scale = min(side / max(cutout.shape[:2]), _MAX_SCALE)
        own = np.round(np.array(cutout.shape[1::-1]) * scale).astype(int)
        if own.min() < _MIN_SIDE or (own > size).any():
            continue
        corner = random.uniform(0, size - own)
        if before is not None:
            corner = before[:2] + random.uniform(-1, 1, 2) * _APART * own
        left, top = np.clip(corner, 0, size - own).astype(int).tolist()
        _paste(image, _varied(cutout, own, random), left, top)
        boxes.append(np.array([left, top, left + own[0], top + own[1]], np.float32))
        labels.append(label)
    return image, _with(regions, np.array(boxes, np.float32).reshape(-1, 4), labels)


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


def _mixed(layers: list[_Layer], matrices: list[Matrix], canvas: Canvas, share: float) -> Image:
    parts = [
        render(layer.pixels, matrix, canvas) for layer, matrix in zip(layers, matrices, strict=True)
    ]
    if len(parts) == 1:
        return parts[0]
    return cv2.addWeighted(parts[0], 1 - share, parts[1], share, 0)  # type: ignore[return-value]


def _view(image: Image, boxes: FloatArray, ids: IntArray, labels: IntArray) -> View:
    """With instances and regions to ignore, as labels tell them apart."""
    known = labels >= 0
    return View(image, boxes[known], ids[known], labels[known], boxes[~known], ~labels[~known])


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


def _side(
    size: FloatArray,
    before: FloatArray | None,
    settings: AugmentationSettings,
    random: np.random.Generator,
) -> float:
    """The longer side of an object, pixels."""
    if before is not None:
        return float((before[2:] - before[:2]).max() * _STRETCH ** random.uniform(-1, 1))
    limits = np.log([settings.min_pasted, settings.max_pasted])
    return float(size.max() * np.exp(random.uniform(*limits)))


def _varied(cutout: Image, size: FloatArray, random: np.random.Generator) -> FloatArray:
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
    pasted: FloatArray = cv2.resize(pixels, size.tolist(), interpolation=how)  # type: ignore[assignment]
    pasted[..., :3] *= random.uniform(_MIN_GAIN, _MAX_GAIN)
    return pasted


def _paste(image: Image, pasted: FloatArray, left: int, top: int) -> None:
    """Cover a part of the image, in place."""
    part = image[top : top + pasted.shape[0], left : left + pasted.shape[1]]
    mixed = pasted[..., :3] + part * (1 - pasted[..., 3:])
    part[:] = np.clip(mixed, 0, 255).round().astype(np.uint8)


def _with(regions: Regions, boxes: FloatArray, labels: list[int]) -> Regions:
    """The regions and those that were pasted, in order; what these hide is to be ignored."""
    together = np.concatenate([regions.boxes, boxes])
    shared = intersection(together, boxes) / np.maximum(area(together), 1)[:, None]
    numbers, pasting = np.arange(len(together)), len(regions.boxes) + np.arange(len(boxes))
    is_later = pasting > numbers[:, None]
    occluded = ((shared > _OCCLUDED) & is_later).any(axis=1)
    known = np.concatenate([regions.labels, np.array(labels, np.int64)])
    return replace(
        regions,
        boxes=together,
        labels=np.where(occluded & (known >= 0), ~known, known),
        outlines=(*regions.outlines, *map(box_outline, boxes)),
    )
