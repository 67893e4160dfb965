"""What synthetic objects and their background look like: shapes, patterns and colours as arrays.

Everything is drawn once, when a video is made; a frame only moves and scales what is here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from masa_cli.structures import Image

Grey = NDArray[np.uint8]  # (H, W)
Floats = NDArray[np.float64]

SUPERSAMPLING = 4  # points per pixel and axis that decide how much of a pixel a shape covers
CREAM, INK = (244, 236, 214), (38, 42, 58)
# Each colour is worn by two objects in a row, which only their patterns tell apart.
PALETTE = (
    (206, 88, 66),  # coral
    (44, 128, 138),  # teal
    (222, 166, 62),  # mustard
    (122, 82, 150),  # plum
    (104, 146, 82),  # leaf
    (74, 118, 184),  # denim
)
# Of the background of each shot: upper and lower end of the wall, far and near end of the floor.
TONES = (
    ((176, 188, 194), (222, 218, 206), (184, 174, 154), (136, 138, 130)),
    ((74, 92, 84), (108, 128, 104), (92, 84, 72), (58, 56, 60)),  # a park at dusk
)
_SCENERY = 1 << 20  # from here on, random numbers are not those of objects


@dataclass(frozen=True, slots=True, eq=False)
class Wardrobe:
    """All that objects of one look are made of.

    Attributes:
        classes: what there is, by name.
        aspects: width / height of each class.
        heights: of each class, as a multiple of an object's height.
        alike: so many appearances in a row are of one class.
        outline: of a class: (P, 2) its convex hull, from 0 to 1 of its width and height.
        draw_sprite: from number, class, width and height in pixels, and seed.
        draw_background: (H, W, 3) from width and height in pixels, seed and shot.
    """

    classes: tuple[str, ...]
    aspects: tuple[float, ...]
    heights: tuple[float, ...]
    alike: int
    outline: Callable[[str], Floats]
    draw_sprite: Callable[[int, str, int, int, int], Sprite]
    draw_background: Callable[[int, int, int, int], Image]


@dataclass(frozen=True, slots=True, eq=False)
class Sprite:
    """An upright object at the largest size it is ever shown; its shape touches all four sides.

    Attributes:
        colour: (h, w, 3) RGB, already multiplied by the coverage (so that it can be resampled).
        alpha: (h, w) how much of each pixel is covered, 0 to 255.
    """

    colour: Image
    alpha: Grey


def draw_sprite(number: int, shape: str, width: int, height: int, seed: int) -> Sprite:
    """The object of that number: its colour and pattern follow from it, details from the seed."""
    rng = np.random.default_rng((seed, number))
    y, x = np.mgrid[:height, :width] + 0.5
    cover = _coverage(SHAPES[shape], width, height)
    mix = tuple(PATTERNS.values())[number % len(PATTERNS)](rng, x, y)[..., None]
    base = np.array(PALETTE[number // 2 % len(PALETTE)])
    second = np.array((CREAM, INK)[number // 2 % 2])
    colour = base * (1 - mix) + (0.2 * base + 0.8 * second) * mix
    colour *= _light(cover, x / width, y / height)[..., None]
    colour = np.clip(colour, 0, 255) * cover[..., None]
    return Sprite(np.round(colour).astype(np.uint8), np.round(cover * 255).astype(np.uint8))


def draw_background(width: int, height: int, seed: int, shot: int = 0) -> Image:
    """(H, W, 3) a hazy wall above a floor, both mottled, in muted tones: others for each shot."""
    rng = np.random.default_rng((seed, _SCENERY + shot))
    high, low, far, near = TONES[shot % len(TONES)]
    y = np.linspace(0, 1, height)[:, None]
    x = np.linspace(-1, 1, width)[None, :]
    horizon = 0.40 + 0.03 * (_noise(rng, 1, width, width / 5) - 0.5)
    floor = np.clip((y - horizon) * height / 6, 0, 1)[..., None]
    wall = _blend(high, low, y / 0.4)
    ground = _blend(far, near, (y - 0.4) / 0.6)
    image = wall * (1 - floor) + ground * floor
    scale = height / 360
    octaves = ((90, 16), (34, 10), (12, 8), (3, 8))  # (cell in pixels at height 360, grey levels)
    for cell, levels in octaves:
        image += levels * (_noise(rng, height, width, cell * scale)[..., None] - 0.5)
    image *= (1.04 - 0.16 * (x**2 + (2 * y - 1) ** 2))[..., None]  # vignette
    return np.round(np.clip(image, 0, 255)).astype(np.uint8)


def outline_of(shape: str) -> Floats:
    """(P, 2) the convex hull of a shape, from 0 to 1 of its width and height."""
    points = 256
    y, x = (np.mgrid[:points, :points] + 0.5) / points
    rows, columns = np.nonzero(SHAPES[shape](x, y) > 0)
    hull = cv2.convexHull(np.stack([columns, rows], axis=1).astype(np.int32))[:, 0]
    corners = hull[:, None] + np.array([[0, 0], [0, 1], [1, 0], [1, 1]])  # of those points
    hull = cv2.convexHull(corners.reshape(-1, 2).astype(np.int32))[:, 0]
    return np.asarray(hull / points, np.float64)


def draw_wall(width: int, height: int, seed: int) -> Sprite:
    """A mottled concrete wall that covers all of its box."""
    rng = np.random.default_rng((seed, _SCENERY - 1))
    grey = np.full((height, width), 150.0)
    for cell, levels in ((60, 24), (9, 14)):
        grey += levels * (_noise(rng, height, width, cell * height / 360) - 0.5)
    colour = grey[..., None] * (1.0, 0.97, 0.93)
    return Sprite(np.round(colour).astype(np.uint8), np.full((height, width), 255, np.uint8))


def _stripes(rng: np.random.Generator, x: Floats, y: Floats) -> Floats:
    angle = rng.choice((0.0, 0.25, 0.5, 0.75)) * np.pi
    return _edge(np.sin((x * np.cos(angle) + y * np.sin(angle)) * 2 * np.pi / _cell(rng, y)))


def _checks(rng: np.random.Generator, x: Floats, y: Floats) -> Floats:
    cell = _cell(rng, y)
    return _edge(np.sin(x * np.pi / cell + 0.8) * np.sin(y * np.pi / cell) * 2)


def _dots(rng: np.random.Generator, x: Floats, y: Floats) -> Floats:
    cell = _cell(rng, y)
    row = np.floor(y / cell)
    across = (x / cell + row % 2 / 2) % 1 - 0.5
    return _edge((0.32 - np.hypot(across, y / cell - row - 0.5)) * 8)


def _marble(rng: np.random.Generator, x: Floats, y: Floats) -> Floats:
    height, width = x.shape
    veins = _noise(rng, height, width, height / 4) + _noise(rng, height, width, height / 9) / 2
    return _edge(np.sin(veins * 14) * 1.5)


def _chevrons(rng: np.random.Generator, x: Floats, y: Floats) -> Floats:
    cell = _cell(rng, y)
    return _edge(np.sin((y + np.abs(x / cell % 2 - 1) * cell * 0.8) * 2 * np.pi / cell))


PATTERNS: dict[str, Callable[[np.random.Generator, Floats, Floats], Floats]] = {
    "stripes": _stripes,
    "dots": _dots,
    "checks": _checks,
    "marble": _marble,
    "chevrons": _chevrons,
}


def _ellipse(x: Floats, y: Floats) -> Floats:
    return 1 - np.hypot(2 * x - 1, 2 * y - 1)


def _block(x: Floats, y: Floats) -> Floats:
    corner = 0.22
    across, down = np.abs(2 * x - 1) - 1 + corner, np.abs(2 * y - 1) - 1 + corner
    depth: Floats = corner - np.hypot(np.maximum(across, 0), np.maximum(down, 0))
    return depth


def _figure(x: Floats, y: Floats) -> Floats:
    """A pawn: a round head upon a body that widens to its foot."""
    head = 0.2 - np.hypot((x - 0.5) * 0.55, y - 0.2)
    half_width = 0.2 + 0.3 * np.clip((y - 0.3) / 0.62, 0, 1) ** 1.7
    body = np.minimum(half_width - np.abs(x - 0.5), np.minimum(y - 0.3, 1 - y))
    shoulders = 0.3 - np.hypot(x - 0.5, (y - 0.44) * 2.2)
    return np.maximum(np.maximum(head, body), shoulders)


# Each gives a number above 0 inside the shape, for x and y from 0 to 1.
SHAPES: dict[str, Callable[[Floats, Floats], Floats]] = {
    "ellipse": _ellipse,
    "block": _block,
    "figure": _figure,
}
ASPECTS = {"ellipse": 0.85, "block": 1.0, "figure": 0.62}  # width / height

TEXTURES = Wardrobe(
    classes=tuple(SHAPES),
    aspects=tuple(ASPECTS[shape] for shape in SHAPES),
    heights=(1.0,) * len(SHAPES),
    alike=2,  # which also share their colour
    outline=outline_of,
    draw_sprite=draw_sprite,
    draw_background=draw_background,
)


def _coverage(shape: Callable[[Floats, Floats], Floats], width: int, height: int) -> Floats:
    """(h, w) share of each pixel that is inside, 0 to 1."""
    fine_height, fine_width = height * SUPERSAMPLING, width * SUPERSAMPLING
    y, x = np.mgrid[:fine_height, :fine_width] + 0.5
    inside = shape(x / fine_width, y / fine_height) > 0
    squares = inside.reshape(height, SUPERSAMPLING, width, SUPERSAMPLING)
    cover: Floats = squares.mean(axis=(1, 3))
    return cover


def _light(cover: Floats, x: Floats, y: Floats) -> Floats:
    """Light from the upper left, and a darker rim, so that objects look solid."""
    rim = cv2.GaussianBlur(cover, (0, 0), cover.shape[0] / 22, borderType=cv2.BORDER_CONSTANT)
    inner = np.clip((rim - 0.5) * 2, 0, 1)
    glow = np.exp(-((x - 0.36) ** 2 + (y - 0.28) ** 2) * 7)
    return np.asarray(0.66 + 0.3 * inner + 0.26 * glow - 0.16 * y, np.float64)


def _noise(rng: np.random.Generator, height: int, width: int, cell: float) -> Floats:
    """(H, W) about 0 to 1: random values on a grid of that cell, smooth between them."""
    rows, columns = int(height / cell) + 4, int(width / cell) + 4
    grid = rng.random((rows, columns))
    smooth = cv2.resize(grid, None, fx=cell, fy=cell, interpolation=cv2.INTER_CUBIC)
    edge = int(cell)  # the outermost cell is not smooth
    return np.asarray(smooth[edge : edge + height, edge : edge + width], np.float64)


def _cell(rng: np.random.Generator, y: Floats) -> float:
    """The size of a pattern's motif in pixels."""
    return float(len(y) * rng.uniform(0.13, 0.2))


def _edge(wave: Floats) -> Floats:
    """0 to 1, with a soft edge where the wave passes 0."""
    soft: Floats = np.clip(wave * 2.5 + 0.5, 0, 1)
    return soft


def _blend(first: tuple[int, ...], second: tuple[int, ...], share: Floats) -> Floats:
    """(H, 1, 3) from one colour, at shares up to 0, to the other, at 1 and more; (H, 1) shares."""
    share = np.clip(share, 0, 1)[..., None]
    mixed: Floats = np.array(first) * (1 - share) + np.array(second) * share
    return mixed
