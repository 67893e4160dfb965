"""A rendered video whose truth is known exactly: for `masa demo`, tests and benchmarks.

Objects cross, hide one another, leave the picture and come back. Every frame follows from the
settings and its index alone: no frame is kept, and none needs the frames before it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

import cv2
import numpy as np

from masa_cli.boxes import wholly_outside, xyxy_to_xywh
from masa_cli.errors import SettingsError
from masa_cli.sources.photographs import PHOTOGRAPHS
from masa_cli.sources.scenarios import SCENARIOS, SyntheticSettings
from masa_cli.sources.scene import Camera, Paths, Turned
from masa_cli.sources.textures import TEXTURES, Floats, Wardrobe, draw_wall
from masa_cli.structures import Detections, FloatArray, Frame, Image, IntArray, Tracks, VideoInfo

# They keep the random numbers of one seed apart; objects have the numbers below.
NOISE, WALL, GHOSTS, PARTS = 1 << 22, 1 << 24, 1 << 25, 1 << 26

WARDROBES: Mapping[str, Wardrobe] = MappingProxyType(
    {"textures": TEXTURES, "photographs": PHOTOGRAPHS}
)

_GHOST_SECONDS, _GHOST_SHARE = 3.0, 0.4  # there and away again; of which it is there
_GHOST_RATE, _GHOST_JITTER = 0.8, 2.0  # found while it is there; pixels of each side
_PART_SHARE = (0.4, 0.7)  # of the object's width or height


class SyntheticVideo:
    """A source of rendered frames; it also tells their truth, and detects them with noise.

    It is a detector as well: one that knows the truth and sees it badly. Settings that make
    it hard to track are in `scenarios.py`.

    Raises:
        SourceError: photographs are wanted, and they are not installed.
    """

    def __init__(self, settings: SyntheticSettings) -> None:
        self._settings = settings
        self._wardrobe = wardrobe = WARDROBES[settings.look]
        self._paths, self._camera = Paths(settings, wardrobe), Camera(settings)
        width, height, seed = settings.width, settings.height, settings.seed
        # Around the frame is room enough for objects that touch it: they are always drawn whole.
        sizes = np.hypot(*self._paths.sizes.T) if settings.turn else self._paths.sizes
        margin = self._margin = int(sizes.max(initial=0)) + 1
        self._frame = np.s_[margin : margin + height, margin : margin + width]
        self._canvas = (height + 2 * margin, width + 2 * margin)
        room_x, room_y = self._camera.room
        size = width + 2 * room_x, height + 2 * room_y
        shots = range(settings.num_shots)
        self._background = np.stack([wardrobe.draw_background(*size, seed, shot) for shot in shots])
        paths = zip(self._paths.appearances, self._paths.labels, self._paths.sizes, strict=True)
        self._sprites = [
            wardrobe.draw_sprite(int(number), self.classes[label], int(size[0]), int(size[1]), seed)
            for number, label, size in paths
        ]
        self._walls = np.empty((0, 4))  # xyxy in the scene; in front of all objects
        if settings.wall_width:
            wall = draw_wall(round(width * settings.wall_width), height, seed)
            middle = width * np.random.default_rng((seed, WALL)).uniform(0.35, 0.65)
            left = round(middle - wall.alpha.shape[1] / 2)
            self._walls = np.array([[left, 0, left + wall.alpha.shape[1], height]], np.float64)
            self._sprites.append(wall)

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
        """Names that labels index: the shapes, or what the photographs show."""
        return self._wardrobe.classes

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
        those of false positives are lower, unless set otherwise. They are in the detector's own
        scale: up to `score_scale`.
        """
        settings = self._settings
        rng = np.random.default_rng((settings.seed, NOISE, index))
        boxes, visible = self._truth(index)
        count = len(boxes)
        # As many numbers for every frame: what is hidden does not change the noise of the rest.
        offsets, luck = rng.normal(size=(count, 4)), rng.random(count)
        scores = 0.35 + 0.6 * visible + settings.score_noise * rng.normal(size=count)
        hidden = (1 - visible) / max(1 - settings.min_detectable, 1e-6)
        miss_rate = (1 - hidden) * settings.miss_rate + hidden * settings.occluded_miss_rate
        found = (luck >= miss_rate) & (visible >= settings.min_detectable) & (visible > 0)
        noisy = boxes + settings.jitter * offsets * np.tile(self._paths.turned(index).sizes, 2)
        labels = self._paths.labels[found]
        right = noisy[found], scores[found], labels
        wrong = self._false_positives(rng), self._ghosts(index), self._parts(index, *right)
        all_boxes, all_scores, all_labels = map(np.concatenate, zip(right, *wrong, strict=True))
        detections = Detections(
            self._clipped(np.asarray(all_boxes, np.float64)),
            (np.clip(all_scores, 0.05, 0.99) * settings.score_scale).astype(np.float32),
            np.asarray(all_labels, np.int64),
        )
        detections = detections[xyxy_to_xywh(detections.boxes)[:, 2:].min(axis=1) > 0]
        return detections[np.argsort(-detections.scores, kind="stable")]

    def detect(self, frames: Sequence[Frame]) -> list[Detections]:
        """The detections of these frames of this video; their images are not looked at."""
        return [self.detections(frame.index) for frame in frames]

    def _render(self, index: int) -> Image:
        """(H, W, 3) RGB."""
        canvas = np.zeros((*self._canvas, 3), np.uint8)
        scene = self._background[self._paths.shot(index)]
        canvas[self._frame] = self._camera.view(scene, index)
        boxes = self._all_boxes(index)
        turned = self._paths.turned(index)
        for number in self._in_view(boxes):
            sprite = self._sprites[number]
            window, matrix = self._window(boxes[number], number, turned)
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
        boxes = self._all_boxes(index)
        visible = np.zeros(len(boxes), np.float32)
        uncovered = np.zeros(self._canvas, np.float32)
        uncovered[self._frame] = 1
        turned = self._paths.turned(index)
        for number in reversed(self._in_view(boxes)):
            sprite = self._sprites[number]
            window, matrix = self._window(boxes[number], number, turned)
            left = uncovered[window]
            alpha = cv2.warpAffine(sprite.alpha, matrix, left.shape[::-1]) / np.float32(255)
            visible[number] = (alpha * left).sum() / alpha.sum()
            left *= 1 - alpha
        count = len(self._paths.sizes)
        return self._clipped(boxes[:count]), visible[:count]

    def _all_boxes(self, index: int) -> Floats:
        """(K + walls, 4) xyxy in pixels of the frame, in it or not, from back to front."""
        scene = np.concatenate([self._paths.boxes(index), self._walls])
        return self._camera.boxes(scene, index)

    def _in_view(self, boxes: Floats) -> list[int]:
        """Numbers of the objects and walls that touch the frame, from back to front."""
        settings = self._settings
        outside = wholly_outside(boxes.astype(np.float32), settings.width, settings.height)
        return [int(number) for number in np.flatnonzero(~outside)]

    def _window(
        self, box: Floats, number: int, turned: Turned
    ) -> tuple[tuple[slice, slice], Floats]:
        """The pixels of the canvas that a box touches, and its sprite's way into them."""
        linear, start = np.eye(2), np.zeros(2)
        height = float(len(self._sprites[number].alpha))
        if number < len(turned.sizes):  # or else it is a wall
            linear, start = turned.matrices[number], turned.corners[number]
            height = turned.sizes[number, 1]
        scale = (box[3] - box[1]) / height
        corner = box[:2] + self._margin
        x1, y1 = np.maximum(np.floor(corner).astype(int), 0)
        x2, y2 = np.ceil(box[2:] + self._margin).astype(int)
        # Pixels are at their centres: 0.5 in the sprite is scale / 2 inside the box.
        offset = corner - (x1, y1) - scale * start + scale * linear @ (0.5, 0.5) - 0.5
        matrix = np.concatenate([scale * linear, offset[:, None]], axis=1)
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
        return (
            boxes,
            rng.uniform(0.1, settings.max_false_score, count),
            rng.integers(len(self.classes), size=count),
        )

    def _ghosts(self, index: int) -> tuple[Floats, Floats, IntArray]:
        """The same of places in the scene that are taken for an object, each now and then."""
        settings = self._settings
        draws = np.random.default_rng((settings.seed, GHOSTS)).random((settings.num_ghosts, 6))
        luck = np.random.default_rng((settings.seed, GHOSTS, index))
        shape = (settings.num_ghosts, 4)
        found, offsets = luck.random(shape)[:, 0], luck.normal(size=shape)
        sizes = settings.height * (0.12 + 0.23 * draws[:, :2])
        corners = draws[:, 2:4] * (settings.width, settings.height) - sizes / 2
        scene = np.concatenate([corners, corners + sizes], axis=1)
        boxes = self._camera.boxes(scene, index) + _GHOST_JITTER * offsets
        phase = (float(index / settings.frame_rate) / _GHOST_SECONDS + draws[:, 4]) % 1
        there = (phase < _GHOST_SHARE) & (found < _GHOST_RATE)
        scores = (0.2 + draws[:, 5] * (settings.max_false_score - 0.2)) + 0.05 * offsets[:, 0]
        labels = (draws[:, 5] * 97 % len(self.classes)).astype(np.int64)
        return boxes[there], scores[there], labels[there]

    def _parts(
        self, index: int, boxes: Floats, scores: Floats, labels: IntArray
    ) -> tuple[Floats, Floats, IntArray]:
        """The same of parts of the objects that were found: one end of the box."""
        settings = self._settings
        rng = np.random.default_rng((settings.seed, PARTS, index))
        draws = rng.random((settings.num_objects, 3))[: len(boxes)]
        parts = boxes.copy()
        low, high = _PART_SHARE
        kept = (low + (high - low) * draws[:, 1]) * (parts[:, 3] - parts[:, 1])
        upper = draws[:, 2] < 0.5
        parts[:, 3] = np.where(upper, parts[:, 1] + kept, parts[:, 3])
        parts[:, 1] = np.where(upper, parts[:, 1], parts[:, 3] - kept)
        found = draws[:, 0] < settings.part_rate
        return parts[found], 0.7 * scores[found], labels[found]


def scenario(name: str, seed: int) -> SyntheticVideo:
    """The video of that family; another seed gives others of its kind.

    Raises:
        SettingsError: there is no such family.
    """
    if name not in SCENARIOS:
        raise SettingsError(f'unknown scenario "{name}"', fix=f"use one of: {', '.join(SCENARIOS)}")
    return SyntheticVideo(replace(SCENARIOS[name].settings, seed=seed))
