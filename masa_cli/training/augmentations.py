"""One image seen in another way: the geometry and colours of a view (spec 10.2).

All seven steps of the recipe are one matrix, for pixels as for the corners of regions: OpenCV
reads each pixel of the image once, and what belongs together cannot come apart. (torchvision's
transforms read the image three times, once for each step, and take several times as long on a
CPU: tests/benchmarks/training.py.)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from masa_cli.structures import BoolArray, FloatArray, Image

Matrix: TypeAlias = NDArray[np.float64]  # (3, 3), columns x, y, 1 of pixel corners
_BORDER = 114  # grey of everything outside the image, as in YOLOX


@dataclass(frozen=True, slots=True)
class AugmentationSettings:
    """How far two views of one image differ; the defaults are those of MASA."""

    size: int = 1024  # side of a view, pixels
    max_rotation: float = 10.0  # degrees, to either side
    min_scale: float = 0.5  # of the image in its own frame
    max_scale: float = 1.5
    max_shear: float = 2.0  # degrees, to either side, in x and in y
    max_shift: float = 0.1  # of width and height
    mosaic_chance: float = 0.0  # that a view is made of views of four images, side by side
    paste_chance: float = 0.6  # that cutouts are pasted into an image, where there are some
    most_pasted: int = 8
    min_pasted: float = 0.07  # their longer side, of the image's
    max_pasted: float = 0.5
    mix_chance: float = 1.0  # that a second image is mixed in
    mix_share: float = 0.5  # of the second image in the mixture
    mix_min_scale: float = 0.8  # of the second image, of the size that fits
    mix_max_scale: float = 1.6
    max_hue: float = 5.0  # of 180
    max_saturation: float = 30.0  # of 255
    max_value: float = 30.0  # of 255
    min_resize: float = 0.1  # of the size that fits a view
    max_resize: float = 2.0
    flip_chance: float = 0.5  # for a mirror image
    reduced: int = (
        1  # a view is made, and a teacher asked, at so many times the side that is learned
    )
    blur_chance: float = 0.0  # that a view is blurred as by motion
    max_blur: int = 9  # pixels
    jpeg_chance: float = 0.0  # that a view is compressed as JPEG
    min_quality: int = 25  # of 100
    repeat_below: float = 0.0  # share of images below which those of a class are drawn more often
    min_side: float = 1.0  # boxes of at most that width or height are dropped, pixels
    clips: bool = False  # whether boxes end at the border of the view
    min_visible: float = 0.0  # share of a box inside the view below which it is dropped

    def __post_init__(self) -> None:
        if not 0 < self.min_scale <= self.max_scale or not 0 < self.min_resize <= self.max_resize:
            raise ValueError("scales must be above 0, the least at most the greatest")
        if not 0 < self.min_pasted <= self.max_pasted <= 1 or self.most_pasted < 1:
            raise ValueError("pasted objects are at least one, and sized within 0..1 of the image")
        if self.reduced not in (1, 2, 4) or self.size % self.reduced:
            raise ValueError("reduced must be 1, 2 or 4, and divide the size")
        if self.size < 32:
            raise ValueError(f"a view needs at least 32 pixels per side, got {self.size}")


@dataclass(frozen=True, slots=True)
class Canvas:
    """The frame of an image, in which it is rotated and a second one mixed in.

    Attributes:
        own: source pixels of the image to pixels of the canvas.
        fit: pixels of the canvas to pixels of the view; scales, moves and mirrors only.
        shape: height and width of the canvas.
        size: side of the view.
    """

    own: Matrix
    fit: Matrix
    shape: tuple[int, int]
    size: int

    @property
    def window(self) -> tuple[int, int, int, int]:
        """Left, top, right, bottom of the part of the view that shows the canvas."""
        height, width = self.shape
        corners = transformed(np.array([[0, 0], [width, height]], np.float32), self.fit)
        corners = np.clip(np.round(corners), 0, self.size).astype(int)
        (left, top), (right, bottom) = corners.min(0).tolist(), corners.max(0).tolist()
        return left, top, max(right, left + 1), max(bottom, top + 1)


def draw_canvas(
    shape: tuple[int, int], settings: AugmentationSettings, random: np.random.Generator
) -> Canvas:
    """A random view of an image of that height and width."""
    height, width = shape
    scale = settings.size * random.uniform(settings.min_resize, settings.max_resize) / max(shape)
    # What does not fit is cut off at random places; where there is room, it stays empty.
    room = np.array([width, height]) * scale - settings.size
    left, top = (random.uniform(0, max(0.0, each)) for each in room)
    fit = np.array([[scale, 0, -left], [0, scale, -top], [0, 0, 1]])
    if random.random() < settings.flip_chance:
        shown = min(settings.size, width * scale)  # mirrored before the empty part is added
        fit = np.array([[-1, 0, shown], [0, 1, 0], [0, 0, 1.0]]) @ fit
    return Canvas(_draw_affine(shape, settings, random), fit, shape, settings.size)


def draw_mixed(
    shape: tuple[int, int],
    canvas: tuple[int, int],
    settings: AugmentationSettings,
    random: np.random.Generator,
) -> Matrix:
    """How a second image of that height and width is laid onto a canvas."""
    height, width = shape
    fitting = settings.size / max(shape)
    scale = fitting * random.uniform(settings.mix_min_scale, settings.mix_max_scale)
    mirror = np.eye(3)
    if random.random() < 0.5:
        mirror = np.array([[-1, 0, width], [0, 1, 0], [0, 0, 1.0]])
    room = np.array([width * scale - canvas[1], height * scale - canvas[0]])
    left, top = (random.uniform(0, max(0.0, each)) for each in room)
    laid: Matrix = np.array([[scale, 0, -left], [0, scale, -top], [0, 0, 1]]) @ mirror
    return laid


def render(image: Image, matrix: Matrix, canvas: Canvas) -> Image:
    """The image in the window of a view that shows the canvas: (h, w, 3) uint8.

    Args:
        image: (H, W, 3) uint8.
        matrix: its pixels to pixels of the canvas.
        canvas: of the view.
    """
    left, top, right, bottom = canvas.window
    to_window = np.array([[1, 0, -left], [0, 1, -top], [0, 0, 1]]) @ canvas.fit @ matrix
    # OpenCV counts from the middle of the first pixel, we from its corner.
    half = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
    return cv2.warpAffine(  # type: ignore[return-value]
        image,
        (np.linalg.inv(half) @ to_window @ half)[:2],
        (right - left, bottom - top),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=(_BORDER,) * 3,
    )


def framed(part: Image, canvas: Canvas) -> Image:
    """The whole view, (size, size, 3): grey around the window that shows the canvas."""
    view = np.full((canvas.size, canvas.size, 3), _BORDER, np.uint8)
    left, top, right, bottom = canvas.window
    view[top:bottom, left:right] = part
    return view


def transformed(points: FloatArray, matrix: Matrix) -> FloatArray:
    """(N, 2) points x, y after a matrix."""
    result: FloatArray = (points @ matrix[:2, :2].T + matrix[:2, 2]).astype(np.float32)
    return result


def boxes_in_view(
    outlines: tuple[FloatArray, ...], matrix: Matrix, canvas: Canvas, settings: AugmentationSettings
) -> tuple[FloatArray, BoolArray]:
    """Boxes around regions in a view, and which of them count.

    Args:
        outlines: (K, 2) source pixels of each of N regions, convex.
        matrix: these to pixels of the canvas.
        canvas: of the view.
        settings: which boxes count.

    Returns:
        (N, 4) float32 xyxy in pixels of the view, and (N,) whether to keep them: tight around
        what the canvas, or with `clips` the view, does not cut off.
    """
    height, width = canvas.shape
    frame = transformed(_rectangle(width, height), canvas.fit)
    view = _rectangle(canvas.size, canvas.size)
    boxes = np.zeros((len(outlines), 4), np.float32)
    kept = np.zeros(len(outlines), np.bool_)
    for row, outline in enumerate(outlines):
        whole, area = _common(transformed(outline, canvas.fit @ matrix), frame)
        inside, visible = _common(whole, view)
        shown = inside if settings.clips else whole
        if visible > 0 and visible >= settings.min_visible * area:
            boxes[row] = (*shown.min(0), *shown.max(0))
            kept[row] = ((boxes[row, 2:] - boxes[row, :2]) > settings.min_side).all()
    return boxes, kept


def recoloured(image: Image, settings: AugmentationSettings, random: np.random.Generator) -> Image:
    """Hue, saturation and value shifted at random, each only half the time, as YOLOX does."""
    most = np.array([settings.max_hue, settings.max_saturation, settings.max_value])
    hue, saturation, value = random.uniform(-1, 1, 3) * most * random.integers(0, 2, 3)
    steps = np.arange(256)
    tables = (
        (steps + round(hue)) % 180,
        np.clip(steps + round(saturation), 0, 255),
        np.clip(steps + round(value), 0, 255),
    )
    table = np.stack(tables, axis=-1).astype(np.uint8)[None]  # (1, 256, 3)
    hsv = cv2.LUT(cv2.cvtColor(image, cv2.COLOR_RGB2HSV), table)
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)  # type: ignore[return-value]


def degraded(image: Image, settings: AugmentationSettings, random: np.random.Generator) -> Image:
    """Blurred along a line, compressed, both, or neither, as frames of a video are."""
    if random.random() < settings.blur_chance:
        length = int(random.integers(2, settings.max_blur + 1))
        kernel = np.zeros((length, length), np.float32)
        angle = random.uniform(0, np.pi)
        reach = np.array([np.cos(angle), np.sin(angle)]) * length / 2
        ends = np.round([length / 2 - reach, length / 2 + reach]).astype(int)
        cv2.line(kernel, ends[0].tolist(), ends[1].tolist(), 1.0)
        image = cv2.filter2D(image, -1, kernel / kernel.sum())  # type: ignore[assignment]
    if random.random() < settings.jpeg_chance:
        quality = int(random.integers(settings.min_quality, 96))
        _, packed = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
        image = cv2.imdecode(packed, cv2.IMREAD_COLOR)  # type: ignore[assignment]
    return image


def _draw_affine(
    shape: tuple[int, int], settings: AugmentationSettings, random: np.random.Generator
) -> Matrix:
    """Scaled, rotated, sheared and shifted, about the top left corner."""
    height, width = shape
    angle = np.deg2rad(random.uniform(-settings.max_rotation, settings.max_rotation))
    scale = random.uniform(settings.min_scale, settings.max_scale)
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    turn = np.array([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1]])
    x, y = np.tan(np.deg2rad(random.uniform(-settings.max_shear, settings.max_shear, 2)))
    shear = np.array([[1, x, 0], [y, 1, 0], [0, 0, 1]])
    right, down = random.uniform(-settings.max_shift, settings.max_shift, 2) * (width, height)
    shift = np.array([[1, 0, right], [0, 1, down], [0, 0, 1]])
    affine: Matrix = shift @ shear @ turn
    return affine


def _rectangle(width: float, height: float) -> FloatArray:
    return np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)


def _common(one: FloatArray, other: FloatArray) -> tuple[FloatArray, float]:
    """The polygon that two convex polygons have in common, (K, 2), and its area."""
    if len(one) < 3:
        return one, 0.0
    area, corners = cv2.intersectConvexConvex(one, other)
    return np.empty((0, 2), np.float32) if corners is None else corners.reshape(-1, 2), area  # type: ignore[return-value]
