"""Regions as maps of labels, one file for each image: PNG, or the .mat files of BSDS."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

import imageio.v3 as imageio
import numpy as np
from scipy.io import loadmat

from masa_cli.errors import SourceError
from masa_cli.structures import Image, IntArray
from masa_cli.training.preparation.found import FoundRegion, of_labels


def _read_png(file: Path) -> IntArray:
    """A map whose numbers, or colours, are labels."""
    values = np.asarray(imageio.imread(file, plugin="pillow")).astype(np.int64)
    if values.ndim == 3:  # labels as colours, as segment-everything tools write them
        values = values[..., :3] @ np.array([1, 256, 65536])
    return values


def _read_bsds(file: Path) -> IntArray:
    """Of several people's segmentations the one with the median number of regions.

    All together would name one object twice.
    """
    maps = [entry["Segmentation"][0, 0] for entry in loadmat(file)["groundTruth"].ravel()]
    order = np.argsort([len(np.unique(each)) for each in maps], kind="stable")
    chosen: IntArray = maps[order[len(order) // 2]].astype(np.int64)
    return chosen


_READERS: Mapping[str, Callable[[Path], IntArray]] = MappingProxyType(
    {".png": _read_png, ".mat": _read_bsds}
)


class LabelMaps:
    """Maps of labels in a folder, named like the images.

    Args:
        folder: of the maps, with the folders of the images inside, or flat.
        suffix: .png or .mat.
    """

    def __init__(self, folder: Path, suffix: str) -> None:
        self._read = _READERS[suffix]
        files = sorted(folder.rglob(f"*{suffix}"))
        self._by_name = {
            file.relative_to(folder).with_suffix("").as_posix(): file for file in files
        }
        self._by_stem = {file.stem: file for file in files}

    def regions(self, name: str, image: Image) -> list[FoundRegion] | None:
        """See `RegionSource`."""
        path = Path(name).with_suffix("")
        file = self._by_name.get(path.as_posix()) or self._by_stem.get(path.name)
        if file is None:
            return None
        try:
            labels = self._read(file)
        except (OSError, SyntaxError, ValueError, KeyError, IndexError, TypeError) as error:
            raise SourceError(
                f"{file} cannot be read as a map of labels: {error}", fix="export it again"
            ) from error
        if labels.shape != image.shape[:2]:
            raise SourceError(
                f"{file} is {labels.shape[1]} x {labels.shape[0]} pixels, its image "
                f"{image.shape[1]} x {image.shape[0]}",
                fix="export it at the size of the image",
            )
        return list(of_labels(labels))
