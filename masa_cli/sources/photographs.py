"""A person, a cat and a cup, cut out of photographs in scikit-image, before a brick wall.

The pictures are files inside the installed package, which itself is not imported. The astronaut
(Eileen Collins, by NASA) is in the public domain; the cat Chelsea (Stefan van der Walt), the cup of
coffee (Rachel Michetti), brick and gravel are CC0. The outlines are ours, drawn by hand.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np

from masa_cli.errors import SourceError
from masa_cli.sources.textures import Floats, Grey, Sprite, Wardrobe
from masa_cli.structures import Image, IntArray

_PACKAGE = "skimage"
_SUBPIXEL_BITS = 4  # of the corners of outlines
_TILE_SCALE = 0.6  # of brick and gravel
_STRAIGHT = slice(180, 340)  # columns of brick.png; beyond, its lines lean
_HORIZON = 0.62  # of the height, where the wall stands on the ground
# Tints of (wall, ground), RGB, for each shot.
_TINTS = (((168, 148, 132), (122, 120, 116)), ((128, 140, 150), (140, 126, 104)))


@dataclass(frozen=True, slots=True)
class Cutout:
    """What a picture shows, and where.

    Attributes:
        picture: its file in the package.
        size: width and height of the picture that the outline was drawn on.
        height: of the object, as a multiple of a person's.
        outline: corners (x, y) in pixels of the picture.
    """

    picture: str
    size: tuple[int, int]
    height: float
    outline: tuple[tuple[int, int], ...]

    @property
    def bounds(self) -> tuple[int, int, int, int]:
        """The box around it, xyxy in pixels of the picture."""
        x, y = zip(*self.outline, strict=True)
        return min(x), min(y), max(x), max(y)


# fmt: off
CUTOUTS = {
    "person": Cutout("astronaut.png", (512, 512), 1.0, (
        (232, 16), (208, 22), (188, 33), (163, 44), (154, 62), (154, 85), (158, 102), (170, 117),
        (182, 131), (184, 148), (170, 149), (145, 155), (128, 172), (118, 188), (116, 205),
        (95, 222), (72, 242), (55, 265), (45, 290), (32, 325), (22, 360), (20, 390), (24, 430),
        (26, 470), (30, 512), (505, 512), (495, 460), (488, 420), (470, 385), (440, 358),
        (405, 344), (375, 346), (362, 352), (360, 330), (350, 295), (342, 275), (325, 250),
        (306, 238), (304, 220), (296, 205), (280, 188), (262, 178), (266, 160), (270, 140),
        (280, 128), (292, 115), (300, 95), (299, 70), (292, 48), (275, 32), (255, 20),
    )),
    "cat": Cutout("chelsea.png", (451, 300), 0.6, (
        (38, 0), (33, 40), (30, 80), (33, 110), (42, 130), (48, 150), (60, 172), (85, 200),
        (120, 228), (150, 255), (190, 272), (225, 280), (262, 282), (290, 275), (308, 255),
        (312, 235), (325, 210), (345, 185), (357, 160), (362, 135), (358, 100), (352, 75),
        (372, 50), (382, 22), (398, 0),
    )),
    "cup": Cutout("coffee.png", (600, 400), 0.75, (
        (285, 18), (240, 25), (205, 45), (185, 68), (174, 95), (173, 118), (176, 150), (183, 180),
        (195, 210), (212, 232), (205, 248), (197, 270), (198, 292), (208, 304), (222, 307),
        (235, 290), (250, 265), (258, 250), (262, 268), (270, 280), (290, 286), (318, 280),
        (332, 262), (350, 240), (372, 215), (388, 190), (398, 160), (405, 130), (407, 105),
        (400, 75), (383, 50), (355, 30), (320, 20),
    )),
}
# fmt: on


def cut_out(number: int, name: str, width: int, height: int, seed: int) -> Sprite:
    """The object of that number; every other one of a class is mirrored.

    Raises:
        SourceError: its picture is not installed, or another one.
    """
    cutout = CUTOUTS[name]
    x1, y1, x2, y2 = cutout.bounds
    picture = _picture(cutout.picture, cutout.size)
    inside = np.zeros(picture.shape[:2], np.uint8)
    corners = np.array(cutout.outline) << _SUBPIXEL_BITS
    cv2.fillPoly(inside, [corners.astype(np.int32)], 255, cv2.LINE_AA, _SUBPIXEL_BITS)
    size = width, height
    alpha = cv2.resize(inside[y1:y2, x1:x2], size, interpolation=cv2.INTER_AREA)
    colour = cv2.resize(picture[y1:y2, x1:x2], size, interpolation=cv2.INTER_AREA)
    if number // len(CUTOUTS) % 2:
        alpha, colour = alpha[:, ::-1], colour[:, ::-1]
    colour = np.round(colour * (alpha[..., None] / 255)).astype(np.uint8)
    return Sprite(np.ascontiguousarray(colour), np.ascontiguousarray(alpha))


def brick_and_gravel(width: int, height: int, seed: int, shot: int) -> Image:
    """(H, W, 3) a brick wall on gravel; in other tints for each shot."""
    wall, ground = _TINTS[shot % len(_TINTS)]
    offset = np.random.default_rng((seed, shot)).integers(512, size=2)
    bricks = _picture("brick.png", (512, 512))[:, _STRAIGHT, 0].T  # there, they stand on end
    gravel = _picture("gravel.png", (512, 512))[..., 0]
    image: Floats = _tiled(bricks, width, height, offset) * np.array(wall)
    horizon = round(height * _HORIZON)
    image[horizon:] = _tiled(gravel, width, height - horizon, offset) * np.array(ground)
    return np.asarray(np.round(np.clip(image, 0, 255)), np.uint8)


def _outline(name: str) -> Floats:
    """(P, 2) the convex hull, from 0 to 1 of width and height."""
    cutout = CUTOUTS[name]
    x1, y1, x2, y2 = cutout.bounds
    hull = cv2.convexHull(np.array(cutout.outline, np.int32))[:, 0]
    return np.asarray((hull - (x1, y1)) / (x2 - x1, y2 - y1), np.float64)


def _tiled(grey: Grey, width: int, height: int, offset: IntArray) -> Floats:
    """(H, W, 1) about 1: a texture, mirrored at each edge of its tile so that none shows."""
    smaller = cv2.resize(grey, None, fx=_TILE_SCALE, fy=_TILE_SCALE, interpolation=cv2.INTER_AREA)
    tile = smaller / grey.mean()
    both = np.concatenate([tile, tile[::-1]])
    both = np.concatenate([both, both[:, ::-1]], axis=1)
    rows = (np.arange(height) + offset[0]) % len(both)
    columns = (np.arange(width) + offset[1]) % both.shape[1]
    return np.asarray(both[np.ix_(rows, columns)][..., None], np.float64)


def _picture(name: str, size: tuple[int, int]) -> Image:
    """(H, W, 3) RGB, from the package's data."""
    spec = find_spec(_PACKAGE)
    folders = (spec.submodule_search_locations if spec else None) or []
    for folder in folders:
        file = Path(folder) / "data" / name
        image = cv2.imdecode(np.fromfile(file, np.uint8), 1) if file.is_file() else None
        if image is not None and image.shape[1::-1] == size:
            return np.ascontiguousarray(image[..., ::-1])
    raise SourceError(
        f"the photograph {name} of scikit-image is not installed, or is another one",
        fix="pip install 'scikit-image>=0.24', or masa demo --kind textures, which needs none",
    )


PHOTOGRAPHS = Wardrobe(
    classes=tuple(CUTOUTS),
    aspects=tuple(
        (cutout.bounds[2] - cutout.bounds[0]) / (cutout.bounds[3] - cutout.bounds[1])
        for cutout in CUTOUTS.values()
    ),
    heights=tuple(cutout.height for cutout in CUTOUTS.values()),
    alike=1,
    outline=_outline,
    draw_sprite=cut_out,
    draw_background=brick_and_gravel,
)
