"""A rendered video whose truth is known exactly: for the demo, which also checks an installation.

Textured objects cross, hide one another, leave the picture and come back. Every frame follows from
the settings and its index alone: no frame is kept, and none needs the frames before it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import cv2
import numpy as np

from masa_cli.boxes import wholly_outside, xyxy_to_xywh
from masa_cli.sources.synthetic_camera import Camera
from masa_cli.sources.synthetic_paths import Paths
from masa_cli.sources.synthetic_settings import NOISE, WALL, SyntheticSettings
from masa_cli.sources.textures import (
    SHAPES,
    Floats,
    Sprite,
    draw_background,
    draw_sprite,
    draw_wall,
)
from masa_cli.structures import Detections, FloatArray, Frame, Image, IntArray, Tracks, VideoInfo

__all__ = ["SyntheticSettings", "SyntheticVideo"]


class SyntheticVideo:
    """A source of rendered frames; it also tells their truth, and detects them with noise.

    It is a detector as well: one that knows the truth and sees it badly. Settings that make
    it hard to track are in `scenarios.py`.
    """

    def __init__(self, settings: SyntheticSettings) -> None:
        self._settings = settings
        self._paths, self._camera = Paths(settings), Camera(settings)
        width, height, seed = settings.width, settings.height, settings.seed
        # Around the frame is room enough for objects that touch it: they are always drawn whole.
        margin = self._margin = int(self._paths.sizes.max(initial=0)) + 1
        self._frame = np.s_[margin : margin + height, margin : margin + width]
        self._canvas = (height + 2 * margin, width + 2 * margin)
        room_x, room_y = self._camera.room
        size = width + 2 * room_x, height + 2 * room_y
        shots = range(settings.num_shots)
        self._backdrop = np.stack([draw_background(*size, seed, shot) for shot in shots])
        paths = zip(self._paths.looks, self._paths.labels, self._paths.sizes, strict=True)
        self._sprites = [
            draw_sprite(int(look), self.classes[label], int(size[0]), int(size[1]), seed)
            for look, label, size in paths
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
        those of false positives are lower, unless set otherwise.
        """
        settings = self._settings
        rng = np.random.default_rng((settings.seed, NOISE, index))
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
        canvas = np.zeros((*self._canvas, 3), np.uint8)
        scene = self._backdrop[self._paths.shot(index)]
        canvas[self._frame] = self._camera.look(scene, index)
        boxes = self._everything(index)
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
        boxes = self._everything(index)
        visible = np.zeros(len(boxes), np.float32)
        uncovered = np.zeros(self._canvas, np.float32)
        uncovered[self._frame] = 1
        for number in reversed(self._in_view(boxes)):
            sprite = self._sprites[number]
            window, matrix = self._window(boxes[number], sprite)
            left = uncovered[window]
            alpha = cv2.warpAffine(sprite.alpha, matrix, left.shape[::-1]) / np.float32(255)
            visible[number] = (alpha * left).sum() / alpha.sum()
            left *= 1 - alpha
        count = len(self._paths.sizes)
        return self._clipped(boxes[:count]), visible[:count]

    def _everything(self, index: int) -> Floats:
        """(K + walls, 4) xyxy in pixels of the frame, in it or not, from back to front."""
        scene = np.concatenate([self._paths.boxes(index), self._walls])
        return self._camera.boxes(scene, index)

    def _in_view(self, boxes: Floats) -> list[int]:
        """Numbers of the objects and walls that touch the frame, from back to front."""
        settings = self._settings
        outside = wholly_outside(boxes.astype(np.float32), settings.width, settings.height)
        return [int(number) for number in np.flatnonzero(~outside)]

    def _window(self, box: Floats, sprite: Sprite) -> tuple[tuple[slice, slice], Floats]:
        """The pixels of the canvas that a box touches, and the sprite's way into them."""
        scale = (box[3] - box[1]) / len(sprite.alpha)
        corner = box[:2] + self._margin
        x1, y1 = np.maximum(np.floor(corner).astype(int), 0)
        x2, y2 = np.ceil(box[2:] + self._margin).astype(int)
        # Pixels are at their centres: 0.5 in the sprite is scale / 2 inside the box.
        offset_x, offset_y = corner - (x1, y1) + scale / 2 - 0.5
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
        return (
            boxes,
            rng.uniform(0.1, settings.max_false_score, count),
            rng.integers(len(SHAPES), size=count),
        )
