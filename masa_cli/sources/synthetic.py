"""A rendered video whose truth is known exactly: for the demo, which also checks an installation.

Textured objects cross, hide one another, leave the picture and come back. Every frame follows from
the settings and its index alone: no frame is kept, and none needs the frames before it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

import cv2
import numpy as np

from masa_cli.boxes import wholly_outside, xyxy_to_xywh
from masa_cli.sources.textures import ASPECTS, SHAPES, Floats, Sprite, draw_background, draw_sprite
from masa_cli.structures import Detections, FloatArray, Frame, Image, IntArray, Tracks, VideoInfo

# Positions are whole multiples of these: the last digits of a sine, which differ between machines,
# do not reach the picture.
PIXEL_STEP, SCALE_STEP = 1 / 32, 1 / 1024

# They keep the random numbers of one seed apart; objects have the numbers below.
_PATHS, _NOISE = 1 << 21, 1 << 22


@dataclass(frozen=True, slots=True)
class SyntheticSettings:
    """What is shown, and how well it is detected."""

    seed: int = 42  # with it, five of the objects leave and return within the first 150 frames
    num_frames: int = 150
    width: int = 640  # pixels
    height: int = 360  # pixels
    frame_rate: Fraction = Fraction(25)  # frames per second
    num_objects: int = 7
    min_visible: float = 0.1  # the truth leaves out objects of which less is seen; share of area
    # The detector:
    min_detectable: float = 0.25  # it never finds an object of which less is seen; share of area
    miss_rate: float = 0.02  # how often it misses an object in full view, 0 to 1
    hidden_miss_rate: float = 0.5  # the same at `min_detectable`; linear in between
    jitter: float = 0.02  # standard deviation of each side, in widths or heights of the object
    score_noise: float = 0.05  # standard deviation
    false_positives: float = 0.1  # mean number per frame

    def __post_init__(self) -> None:
        if self.width < 64 or self.height < 64 or self.frame_rate <= 0:
            raise ValueError(f"width and height must be at least 64, frame_rate positive: {self}")
        counts = ("seed", "num_frames", "num_objects")
        for name in (*counts, "jitter", "score_noise", "false_positives"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")
        for name in ("min_visible", "min_detectable", "miss_rate", "hidden_miss_rate"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be within 0..1, got {getattr(self, name)}")


class SyntheticVideo:
    """A source of rendered frames; it also tells their truth, and detects them with noise.

    It is a detector as well: one that knows the truth and sees it badly.
    """

    def __init__(self, settings: SyntheticSettings) -> None:
        self._settings = settings
        self._paths = _Paths(settings)
        width, height, seed = settings.width, settings.height, settings.seed
        # Around the frame is room enough for objects that touch it: they are always drawn whole.
        margin = self._margin = int(self._paths.sizes.max(initial=0)) + 1
        self._frame = np.s_[margin : margin + height, margin : margin + width]
        self._backdrop = np.zeros((height + 2 * margin, width + 2 * margin, 3), np.uint8)
        self._backdrop[self._frame] = draw_background(width, height, seed)
        self._sprites = [
            draw_sprite(number, self.classes[label], int(size[0]), int(size[1]), seed)
            for number, (label, size) in enumerate(
                zip(self._paths.labels, self._paths.sizes, strict=True)
            )
        ]

    @property
    def info(self) -> VideoInfo:
        """What the frames will be."""
        settings = self._settings
        return VideoInfo(
            name="synthetic",
            width=settings.width,
            height=settings.height,
            frame_rate=settings.frame_rate,
            time_base=1 / settings.frame_rate,
            num_frames=settings.num_frames,
        )

    @property
    def classes(self) -> tuple[str, ...]:
        """Names that labels index: the shapes."""
        return tuple(SHAPES)

    def frames(self, start: int = 0) -> Iterator[Frame]:
        """The frames from number `start` on, each rendered when asked for."""
        for index in range(start, self._settings.num_frames):
            yield Frame(index, index / self._settings.frame_rate, self._render(index))

    def ground_truth(self, index: int) -> Tracks:
        """Where the objects of a frame are; id 1 is the farthest, the last is in front of all.

        Returns:
            Boxes of whole objects, also of the parts that others hide, cut off at the frame. The
            scores are the visible fractions: how much of the object's area is in the frame and
            behind no other object, 0 to 1.
        """
        boxes, visible = self._truth(index)
        seen = np.flatnonzero((visible >= self._settings.min_visible) & (visible > 0))
        return Tracks(boxes[seen], visible[seen], self._paths.labels[seen], seen + 1)

    def detections(self, index: int) -> Detections:
        """What a detector with the noise of the settings finds in a frame, best score first.

        Boxes lie within the frame. Scores fall with the visible fraction, from about 0.95 to 0.5;
        those of false positives are below 0.5.
        """
        settings = self._settings
        rng = np.random.default_rng((settings.seed, _NOISE, index))
        boxes, visible = self._truth(index)
        count = len(boxes)
        # As many numbers for every frame: what is hidden does not change the noise of the rest.
        offsets, luck = rng.normal(size=(count, 4)), rng.random(count)
        scores = 0.35 + 0.6 * visible + settings.score_noise * rng.normal(size=count)
        hidden = (1 - visible) / max(1 - settings.min_detectable, 1e-6)
        miss_rate = (1 - hidden) * settings.miss_rate + hidden * settings.hidden_miss_rate
        found = (luck >= miss_rate) & (visible >= settings.min_detectable) & (visible > 0)
        noisy = boxes + settings.jitter * offsets * np.tile(self._paths.sizes, 2)
        wrong_boxes, wrong_scores, wrong_labels = self._false_positives(rng)
        detections = Detections(
            self._clipped(np.concatenate([noisy[found], wrong_boxes])),
            np.clip(np.concatenate([scores[found], wrong_scores]), 0.05, 0.99).astype(np.float32),
            np.concatenate([self._paths.labels[found], wrong_labels]),
        )
        detections = detections[xyxy_to_xywh(detections.boxes)[:, 2:].min(axis=1) > 0]
        return detections[np.argsort(-detections.scores, kind="stable")]

    def detect(self, frames: Sequence[Frame]) -> list[Detections]:
        """The detections of these frames of this video; their images are not looked at."""
        return [self.detections(frame.index) for frame in frames]

    def _render(self, index: int) -> Image:
        """(H, W, 3) RGB."""
        canvas = self._backdrop.copy()
        boxes = self._paths.boxes(index)
        for number in self._in_view(boxes):
            sprite = self._sprites[number]
            window, matrix = self._window(boxes[number], sprite)
            behind = canvas[window]
            size = behind.shape[1::-1]
            colour = cv2.warpAffine(sprite.colour, matrix, size)
            uncovered = 255 - cv2.warpAffine(sprite.alpha, matrix, size)
            uncovered = cv2.cvtColor(uncovered, cv2.COLOR_GRAY2RGB)
            canvas[window] = cv2.add(cv2.multiply(behind, uncovered, scale=1 / 255), colour)
        image: Image = canvas[self._frame].copy()
        return image

    def _truth(self, index: int) -> tuple[FloatArray, FloatArray]:
        """(K, 4) clipped boxes and (K,) visible fractions of all objects, seen or not."""
        boxes = self._paths.boxes(index)
        visible = np.zeros(len(boxes), np.float32)
        uncovered = np.zeros(self._backdrop.shape[:2], np.float32)
        uncovered[self._frame] = 1
        for number in reversed(self._in_view(boxes)):
            sprite = self._sprites[number]
            window, matrix = self._window(boxes[number], sprite)
            left = uncovered[window]
            alpha = cv2.warpAffine(sprite.alpha, matrix, left.shape[::-1]) / np.float32(255)
            visible[number] = (alpha * left).sum() / alpha.sum()
            left *= 1 - alpha
        return self._clipped(boxes), visible

    def _in_view(self, boxes: Floats) -> list[int]:
        """Numbers of the objects that touch the frame, from back to front."""
        settings = self._settings
        outside = wholly_outside(boxes.astype(np.float32), settings.width, settings.height)
        return [int(number) for number in np.flatnonzero(~outside)]

    def _window(self, box: Floats, sprite: Sprite) -> tuple[tuple[slice, slice], Floats]:
        """The pixels of the canvas that a box touches, and the sprite's way into them."""
        scale = (box[3] - box[1]) / len(sprite.alpha)
        x1, y1 = np.floor(box[:2]).astype(int) + self._margin
        x2, y2 = np.ceil(box[2:]).astype(int) + self._margin
        # Pixels are at their centres: 0.5 in the sprite is scale / 2 inside the box.
        offset_x, offset_y = box[:2] % 1 + scale / 2 - 0.5
        matrix = np.array([[scale, 0, offset_x], [0, scale, offset_y]])
        return (slice(y1, y2), slice(x1, x2)), matrix

    def _clipped(self, boxes: Floats) -> FloatArray:
        """Boxes without what is outside the frame."""
        limits = np.tile((self._settings.width, self._settings.height), 2)
        clipped: FloatArray = np.clip(boxes, 0, limits).astype(np.float32)
        return clipped

    def _false_positives(self, rng: np.random.Generator) -> tuple[Floats, Floats, IntArray]:
        """Boxes, scores and labels; of objects' sizes, at any place."""
        settings = self._settings
        count = int(rng.poisson(settings.false_positives))
        sizes = settings.height * rng.uniform(0.12, 0.35, (count, 2))
        corners = rng.random((count, 2)) * (settings.width, settings.height) - sizes / 2
        boxes = np.concatenate([corners, corners + sizes], axis=1)
        return boxes, rng.uniform(0.1, 0.5, count), rng.integers(len(SHAPES), size=count)


class _Paths:
    """Where objects are at any time: each coordinate swings about a middle, for ever.

    Two of three objects swing out of the frame on both sides, and stay away for 1 to 2 s. Objects
    of a higher number are nearer: larger, lower in the frame and in front.
    """

    def __init__(self, settings: SyntheticSettings) -> None:
        count, width, height = settings.num_objects, settings.width, settings.height
        draws = [np.random.default_rng((settings.seed, _PATHS, k)).random(10) for k in range(count)]
        draw = np.reshape(draws, (count, 10)).T  # (10, K)
        numbers = np.arange(count)
        near = (numbers + 0.5) / max(count, 1)
        self.labels: IntArray = numbers // 2 % len(SHAPES)  # pairs also share their colour
        room = min(1.0, (7 / max(count, 1)) ** 0.5)  # more than 7 cover no more of the frame
        heights = height * (0.24 + 0.2 * near) * (0.9 + 0.2 * draw[0]) * room
        aspects = np.array([ASPECTS[shape] for shape in SHAPES])[self.labels]
        # (K, 2) width and height at the largest, whole pixels
        self.sizes: Floats = np.stack([heights * aspects, heights], axis=1).round()
        leaves = numbers % 3 != 2
        period = np.where(leaves, 8, 5) + 3 * draw[1]
        outside = np.pi * (1 + draw[2]) / period  # half the angle of 1 to 2 s
        beyond = (width + self.sizes[:, 0]) / 2 / np.cos(outside)
        reach = np.where(leaves, beyond, width * (0.2 + 0.15 * draw[3]))
        # (3, K): the middle of the lower edge in pixels, then the scale
        self._middles = np.stack(np.broadcast_arrays(width / 2, height * (0.5 + 0.44 * near), 0.86))
        self._reaches = np.stack(np.broadcast_arrays(reach, height * (0.02 + 0.05 * draw[4]), 0.14))
        self._periods = np.stack([period, 3 + 3 * draw[5], 6 + 4 * draw[6]])  # seconds
        self._phases = draw[7:10]  # turns
        self._frame_rate = settings.frame_rate

    def boxes(self, index: int) -> Floats:
        """(K, 4) xyxy in pixels, in the frame or not."""
        turns = float(index / self._frame_rate) / self._periods + self._phases
        x, y, scale = self._middles + self._reaches * np.sin(2 * np.pi * turns)
        sizes = self.sizes * (np.round(scale / SCALE_STEP) * SCALE_STEP)[:, None]
        corners = np.stack([x, y], axis=1) - sizes * (0.5, 1)
        corners = np.round(corners / PIXEL_STEP) * PIXEL_STEP
        return np.concatenate([corners, corners + sizes], axis=1)
