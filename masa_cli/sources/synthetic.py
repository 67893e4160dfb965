"""A rendered video whose truth is known exactly: for `masa demo`, tests and benchmarks.

Textured objects cross, hide one another, leave the picture and come back. Every frame follows from
the settings and its index alone: no frame is kept, and none needs the frames before it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from types import MappingProxyType

import cv2
import numpy as np

from masa_cli.boxes import wholly_outside, xyxy_to_xywh
from masa_cli.errors import SettingsError
from masa_cli.sources.textures import (
    ASPECTS,
    SHAPES,
    Floats,
    Sprite,
    draw_background,
    draw_sprite,
    draw_wall,
)
from masa_cli.structures import Detections, FloatArray, Frame, Image, IntArray, Tracks, VideoInfo

# Positions are whole multiples of these: the last digits of a sine, which differ between machines,
# do not reach the image.
PIXEL_STEP, SCALE_STEP = 1 / 32, 1 / 1024

# They keep the random numbers of one seed apart; objects have the numbers below.
PATHS, NOISE, CAMERA, WALL = 1 << 21, 1 << 22, 1 << 23, 1 << 24

_SHORTEST_PERIOD = 8.0  # seconds in which an object that leaves the frame swings there and back

# In a relay one enters so many seconds after the other has left, at the sooner and later end. They
# are counted at the largest scale: smaller objects leave sooner and enter later.
_RELAY_GAP = (-0.2, 0.0)

_PAN_SECONDS, _ZOOM_SECONDS = (7.0, 5.0), 6.0  # across and down; there and back
_SHAKE_RATES = ((2.9, 4.7), (3.7, 5.3))  # Hz; two trembles in each direction
_PAN_DOWN = 0.2  # of the way across


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
    # The objects:
    num_appearances: int = (
        0  # objects take turns in so many shapes, colours and patterns; 0: one each
    )
    size: float = 1.0  # of all objects, as a multiple of the default
    depth: float = 1.0  # how much larger and lower the near ones are; 0: all alike, 0 to 1
    pace: float = 1.0  # how fast they swing, as a multiple of the default
    stay_every: int = 3  # every so-many-th never leaves the frame; 0: all leave
    min_absence: float = 1.0  # seconds for which the others leave it, at least
    max_absence: float = 2.0  # seconds, at most
    relay: bool = False  # in pairs of equal paths, one enters where and when the other has left
    # The scene:
    wall_width: float = 0.0  # of a wall that hides whatever passes; share of the frame's width
    num_shots: int = 1  # equally long; with each, background and places change
    pan: float = 0.0  # the camera swings so far to either side; share of the frame's width
    zoom: float = 0.0  # and zooms out by so much, now and then; share of its scale
    shake: float = 0.0  # and trembles so far to either side; pixels
    # The detector:
    min_detectable: float = 0.25  # it never finds an object of which less is seen; share of area
    miss_rate: float = 0.02  # how often it misses an object in full view, 0 to 1
    occluded_miss_rate: float = 0.5  # the same at `min_detectable`; linear in between
    jitter: float = 0.02  # standard deviation of each side, in widths or heights of the object
    score_noise: float = 0.05  # standard deviation
    false_positives: float = 0.1  # mean number per frame
    max_false_score: float = 0.5  # they score from 0.1 to this

    def __post_init__(self) -> None:
        if self.width < 64 or self.height < 64 or self.frame_rate <= 0:
            raise ValueError(f"width and height must be at least 64, frame_rate positive: {self}")
        counts = ("seed", "num_frames", "num_objects", "num_appearances", "stay_every")
        camera = ("pan", "shake")
        for name in (*counts, *camera, "jitter", "score_noise", "false_positives"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")
        rates = ("min_visible", "min_detectable", "miss_rate", "occluded_miss_rate")
        for name in (*rates, "depth", "wall_width", "max_false_score"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be within 0..1, got {getattr(self, name)}")
        if min(self.size, self.pace) <= 0 or self.num_shots < 1 or not 0 <= self.zoom < 1:
            raise ValueError(
                f"size and pace must be positive, num_shots at least 1, zoom in 0..1: {self}"
            )
        # Half a period is spent on either side: there must be time to cross the frame, too.
        if not 0 <= self.min_absence <= self.max_absence < _SHORTEST_PERIOD / self.pace / 2:
            raise ValueError(f"min_absence, max_absence and pace do not go together: {self}")


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
        self._background = np.stack([draw_background(*size, seed, shot) for shot in shots])
        paths = zip(self._paths.appearances, self._paths.labels, self._paths.sizes, strict=True)
        self._sprites = [
            draw_sprite(int(number), self.classes[label], int(size[0]), int(size[1]), seed)
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
        miss_rate = (1 - hidden) * settings.miss_rate + hidden * settings.occluded_miss_rate
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
        scene = self._background[self._paths.shot(index)]
        canvas[self._frame] = self._camera.view(scene, index)
        boxes = self._all_boxes(index)
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
        boxes = self._all_boxes(index)
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

    def _all_boxes(self, index: int) -> Floats:
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


# Ten ways in which a video is hard to track; each differs from the first in one difficulty.
SCENARIOS: Mapping[str, SyntheticSettings] = MappingProxyType(
    {
        "crossings": SyntheticSettings(),
        # All of one shape, colour and pattern, and nearly of one size.
        "look-alikes": SyntheticSettings(num_appearances=1, depth=0.2, num_frames=200),
        # Behind a wall for 1 to 3 s, in the middle of the frame.
        "long-occlusions": SyntheticSettings(wall_width=0.38, pace=0.5, num_frames=300),
        "re-entry": SyntheticSettings(
            pace=0.5, stay_every=0, min_absence=3.0, max_absence=5.8, num_frames=400
        ),
        "low-frame-rate": SyntheticSettings(frame_rate=Fraction(5), num_frames=75),
        "camera-motion": SyntheticSettings(pan=0.3, zoom=0.15, shake=2.0, num_frames=200),
        "crowding": SyntheticSettings(num_objects=22, size=1.2, num_frames=200),
        "noise-and-misses": SyntheticSettings(
            jitter=0.06, miss_rate=0.15, false_positives=4.0, max_false_score=0.75, num_frames=200
        ),
        # Where one leaves, another enters within 0.3 s.
        "edge-births": SyntheticSettings(num_objects=8, relay=True, stay_every=0, num_frames=300),
        "cut": SyntheticSettings(num_shots=2, num_frames=200),
    }
)


def scenario(name: str, seed: int) -> SyntheticVideo:
    """The video of that family; another seed gives others of its kind.

    Raises:
        SettingsError: there is no such family.
    """
    if name not in SCENARIOS:
        raise SettingsError(f'unknown scenario "{name}"', fix=f"use one of: {', '.join(SCENARIOS)}")
    return SyntheticVideo(replace(SCENARIOS[name], seed=seed))


class Paths:
    """Each coordinate swings about a middle, for ever.

    Unless set otherwise, two of three objects swing out of the frame on both sides, and stay away
    for 1 to 2 s. Objects of a higher number are nearer: larger, lower in the frame and in front.
    """

    def __init__(self, settings: SyntheticSettings) -> None:
        self._num_frames, self._num_shots = settings.num_frames, settings.num_shots
        self._frame_rate = settings.frame_rate
        count, width, height = settings.num_objects, settings.width, settings.height
        numbers = np.arange(count)
        own = _draws(settings, (), 10)  # (10, K)
        paths = numbers - numbers % 2 if settings.relay else numbers  # whose path each one has
        draw = own[:, paths]
        near = (paths + 0.5) / max(count, 1) * settings.depth + 0.5 * (1 - settings.depth)
        self.appearances: IntArray = numbers % (settings.num_appearances or max(count, 1))
        self.labels: IntArray = self.appearances // 2 % len(SHAPES)  # pairs also share their colour
        room = min(1.0, (7 / max(count, 1)) ** 0.5)  # more than 7 cover no more of the frame
        heights = height * (0.24 + 0.2 * near) * (0.9 + 0.2 * draw[0]) * room * settings.size
        aspects = np.array([ASPECTS[shape] for shape in SHAPES])[self.labels]
        # (K, 2) width and height at the largest, whole pixels
        self.sizes: Floats = np.stack([heights * aspects, heights], axis=1).round()
        every = settings.stay_every or count + 1
        leaves = paths % every != every - 1
        period = (np.where(leaves, 8, 5) + 3 * draw[1]) / settings.pace
        absence = settings.min_absence + (settings.max_absence - settings.min_absence) * draw[2]
        beyond = (width + self.sizes[:, 0]) / 2 / np.cos(np.pi * absence / period)
        reach = np.where(leaves, beyond, width * (0.2 + 0.15 * draw[3]))
        # (3, K): the middle of the lower edge in pixels, then the scale
        self._middles = np.stack(np.broadcast_arrays(width / 2, height * (0.5 + 0.44 * near), 0.86))
        self._reaches = np.stack(np.broadcast_arrays(reach, height * (0.02 + 0.05 * draw[4]), 0.14))
        self._periods = np.stack([period, 3 + 3 * draw[5], 6 + 4 * draw[6]])  # seconds
        # Turns, (3, K) for each shot.
        shots = range(1, settings.num_shots)
        self._phases = [draw[7:10], *(_draws(settings, (shot,), 3)[:, paths] for shot in shots)]
        if settings.relay:
            sooner, later = _RELAY_GAP
            lead = (absence - sooner - (later - sooner) * own[7]) / period
            for phases in self._phases:
                phases[0] += np.where(paths == numbers, 0, lead)

    def shot(self, index: int) -> int:
        """Which part of the video, between cuts, a frame belongs to."""
        return min(index * self._num_shots // max(self._num_frames, 1), self._num_shots - 1)

    def boxes(self, index: int) -> Floats:
        """(K, 4) xyxy in pixels of the scene, in the frame or not."""
        phases = self._phases[self.shot(index)]
        turns = float(index / self._frame_rate) / self._periods + phases
        x, y, scale = self._middles + self._reaches * np.sin(2 * np.pi * turns)
        sizes = self.sizes * (np.round(scale / SCALE_STEP) * SCALE_STEP)[:, None]
        corners = np.stack([x, y], axis=1) - sizes * (0.5, 1)
        corners = np.round(corners / PIXEL_STEP) * PIXEL_STEP
        return np.concatenate([corners, corners + sizes], axis=1)


class Camera:
    """Sees a part of the scene of the size of the frame, or more of it when zoomed out."""

    def __init__(self, settings: SyntheticSettings) -> None:
        self._settings = settings
        across = settings.pan * settings.width
        self._reach = np.array([across, _PAN_DOWN * across])
        self._phases = np.random.default_rng((settings.seed, CAMERA)).random(7)  # turns
        size = np.array([settings.width, settings.height])
        wider = (1 / (1 - settings.zoom) - 1) * size / 2
        moves = self._reach + 2 * settings.shake + wider
        # Pixels of scene to the left and right, above and below of the frame at rest.
        self.room = tuple(math.ceil(side) + 1 if side else 0 for side in moves)

    def pose(self, index: int) -> tuple[float, Floats]:
        """The scale, at most 1, and the point of the scene at the left upper corner, (2,)."""
        settings, phases = self._settings, self._phases
        if not any(self.room):
            return 1.0, np.zeros(2)
        time = float(index / settings.frame_rate)
        swing = np.sin(2 * np.pi * (time / np.array(_PAN_SECONDS) + phases[:2]))
        turns = time * np.array(_SHAKE_RATES) + phases[2:6].reshape(2, 2)
        tremble = np.sin(2 * np.pi * turns).sum(axis=0)
        away = (1 - math.cos(2 * math.pi * (time / _ZOOM_SECONDS + phases[6]))) / 2
        scale = round((1 - settings.zoom * away) / SCALE_STEP) * SCALE_STEP
        size = np.array([settings.width, settings.height])
        middle = size / 2 + self._reach * swing + settings.shake * tremble
        corner = middle - size / 2 / scale
        return scale, np.round(corner / PIXEL_STEP) * PIXEL_STEP

    def boxes(self, boxes: Floats, index: int) -> Floats:
        """(N, 4) boxes of the scene as they are in the frame."""
        scale, corner = self.pose(index)
        corners = np.round((boxes[:, :2] - corner) * scale / PIXEL_STEP) * PIXEL_STEP
        return np.concatenate([corners, corners + (boxes[:, 2:] - boxes[:, :2]) * scale], axis=1)

    def view(self, scene: Image, index: int) -> Image:
        """(H, W, 3) what is seen of an image of the scene, which has `room` around the frame."""
        if not any(self.room):
            return scene
        scale, corner = self.pose(index)
        # Pixels are at their centres.
        offset = (0.5 - np.array(self.room) - corner) * scale - 0.5
        matrix = np.array([[scale, 0, offset[0]], [0, scale, offset[1]]])
        size = (self._settings.width, self._settings.height)
        return np.asarray(cv2.warpAffine(scene, matrix, size), np.uint8)


def _draws(settings: SyntheticSettings, part: tuple[int, ...], count: int) -> Floats:
    """(count, K) random numbers from 0 to 1; an object's do not depend on how many there are."""
    rows = [
        np.random.default_rng((settings.seed, PATHS, number, *part)).random(count)
        for number in range(settings.num_objects)
    ]
    draws: Floats = np.reshape(rows, (settings.num_objects, count)).T
    return draws
