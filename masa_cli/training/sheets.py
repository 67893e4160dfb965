"""Contact sheets to look at: regions of images, and pairs of views with what is the same joined."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from masa_cli.errors import SourceError
from masa_cli.formats.files import PartFile
from masa_cli.render.annotator import colour_of
from masa_cli.sources.image_folder import read_image
from masa_cli.structures import FloatArray, Image
from masa_cli.training.pairs import Pair
from masa_cli.training.regions import Regions, RegionSet

_TILE = 320  # side of an image in the sheet of regions, pixels
_GAP = 4


def draw_regions(path: Path, regions: RegionSet, *, count: int = 20, columns: int = 5) -> None:
    """Write a PNG of some images, evenly chosen, with the outlines of their regions.

    Raises:
        SourceError: none of them can be read.
        OutputError: it cannot be written.
    """
    chosen = np.unique(np.linspace(0, len(regions) - 1, count).round().astype(int)).tolist()
    tiles = []
    for index in chosen:
        try:
            tiles.append(_tile(regions[index]))
        except SourceError:
            continue  # the sheet shows what there is; training names broken images
    if not tiles:
        raise SourceError(
            f"none of {len(chosen)} images can be read, such as {regions.files[0]}",
            fix="prepare the images again",
        )
    _write(path, _sheet(tiles, columns))


def draw_pairs(path: Path, pairs: Sequence[Pair]) -> None:
    """Write a PNG with the two views of each pair side by side, and a line between partners.

    Raises:
        OutputError: it cannot be written.
    """
    _write(path, _sheet([_pair(pair) for pair in pairs], columns=2))


def _tile(regions: Regions) -> Image:
    image = read_image(regions.file).copy()
    scale = _TILE / max(image.shape[:2])
    size = tuple(max(1, round(side * scale)) for side in image.shape[1::-1])
    image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    for number, outline in enumerate(regions.outlines):
        corners = np.round(outline * scale).astype(np.int32)
        cv2.polylines(image, [corners], True, colour_of(number + 1), 1, cv2.LINE_AA)
    tile = np.zeros((_TILE, _TILE, 3), np.uint8)
    tile[: image.shape[0], : image.shape[1]] = image
    return tile


def _pair(pair: Pair) -> Image:
    width = pair.key.image.shape[1] + _GAP
    gap = np.zeros((pair.key.image.shape[0], _GAP, 3), np.uint8)
    both = np.concatenate([pair.key.image, gap, pair.reference.image], axis=1)
    size = pair.key.image.shape[0]
    partners = set(pair.key.ids.tolist()) & set(pair.reference.ids.tolist())
    middles: dict[int, list[tuple[int, int]]] = {}
    for view, left in ((pair.key, 0), (pair.reference, width)):
        for box, id_ in zip(np.clip(view.boxes, 0, size - 1), view.ids.tolist(), strict=True):
            colour = colour_of(id_) if id_ in partners else (160, 160, 160)
            (x1, y1), (x2, y2) = _corners(box, left)
            cv2.rectangle(both, (x1, y1), (x2, y2), colour, 2 if id_ in partners else 1)
            middles.setdefault(id_, []).append(((x1 + x2) // 2, (y1 + y2) // 2))
    for id_ in partners:
        cv2.line(both, middles[id_][0], middles[id_][1], colour_of(id_), 1, cv2.LINE_AA)
    return both


def _corners(box: FloatArray, left: int) -> tuple[tuple[int, int], tuple[int, int]]:
    x1, y1, x2, y2 = np.round(box).astype(int).tolist()
    return (x1 + left, y1), (x2 + left, y2)


def _sheet(tiles: Sequence[Image], columns: int) -> Image:
    """Tiles of one size in rows."""
    height, width = tiles[0].shape[:2]
    rows = -(-len(tiles) // columns)
    sheet = np.zeros((rows * (height + _GAP), columns * (width + _GAP), 3), np.uint8)
    for number, tile in enumerate(tiles):
        top, left = number // columns * (height + _GAP), number % columns * (width + _GAP)
        sheet[top : top + height, left : left + width] = tile
    return sheet


def _write(path: Path, image: Image) -> None:
    _, data = cv2.imencode(".png", image[..., ::-1])
    with PartFile(path) as part:
        part.write(data.tobytes())
