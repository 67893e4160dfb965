"""Pictures of single objects on nothing, to be pasted into images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from masa_cli.errors import SourceError
from masa_cli.formats.regions import RegionSet
from masa_cli.structures import Image

_OPAQUE = 128  # of 255; what is less so belongs to no box


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
        """A class, and an object of it: (H, W, 4) uint8 RGBA, no larger than what can be seen.

        Raises:
            SourceError: the picture cannot be read, has no transparency, or shows nothing.
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
