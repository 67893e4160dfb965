"""Where all is in a synthetic scene at any time: the objects on their paths, and the camera."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from masa_cli.sources.scenarios import SyntheticSettings
from masa_cli.sources.textures import Floats, Wardrobe
from masa_cli.structures import Image, IntArray

# Positions are whole multiples of these: the last digits of a sine, which differ between machines,
# do not reach the image.
PIXEL_STEP, SCALE_STEP, TURN_STEP = 1 / 32, 1 / 1024, 1 / 512

# They keep the random numbers of one seed apart; objects have the numbers below.
PATHS, CAMERA = 1 << 21, 1 << 23
_ESCAPES = 1 << 10  # above the numbers of shots

# In a relay one enters so many seconds after the other has left, at the sooner and later end. They
# are counted at the largest scale: smaller objects leave sooner and enter later.
_RELAY_GAP = (-0.2, 0.0)

_ESCAPE_SECONDS = 0.12  # that a dart takes
_ESCAPE_REACH = (0.22, 0.2)  # of the frame's width and height, how far one gets

_PAN_SECONDS, _ZOOM_SECONDS = (7.0, 5.0), 6.0  # across and down; there and back
_SHAKE_RATES = ((2.9, 4.7), (3.7, 5.3))  # Hz; two trembles in each direction
_PAN_DOWN = 0.2  # of the way across
_STEP_RATES = (0.95, 1.9)  # Hz; of a walk: sideways once in two steps, up and down with each
_STEP_REACH = (0.008, 0.012)  # of the frame's height


@dataclass(frozen=True, slots=True, eq=False)
class Turned:
    """Objects at their largest, turned about their upper left corners.

    Attributes:
        matrices: (K, 2, 2) from pixels of the upright object to those of the turned one.
        corners: (K, 2) the upper left corner of the box around it.
        sizes: (K, 2) width and height of that box.
    """

    matrices: Floats
    corners: Floats
    sizes: Floats


class Paths:
    """Each coordinate swings about a middle, for ever.

    Unless set otherwise, two of three objects swing out of the frame on both sides, and stay away
    for 1 to 2 s. Objects of a higher number are nearer: larger, lower in the frame and in front.
    """

    def __init__(self, settings: SyntheticSettings, wardrobe: Wardrobe) -> None:
        self._settings, self._wardrobe = settings, wardrobe
        count, width, height = settings.num_objects, settings.width, settings.height
        numbers = np.arange(count)
        own = _draws(settings, (), 10)  # (10, K)
        paths = numbers - numbers % 2 if settings.relay else numbers  # whose path each one has
        draw = own[:, paths]
        near = (paths + 0.5) / max(count, 1) * settings.depth + 0.5 * (1 - settings.depth)
        self.appearances: IntArray = numbers % (settings.num_appearances or max(count, 1))
        self.labels: IntArray = self.appearances // wardrobe.alike % len(wardrobe.classes)
        room = min(1.0, (7 / max(count, 1)) ** 0.5)  # more than 7 cover no more of the frame
        heights = height * (0.24 + 0.2 * near) * (0.9 + 0.2 * draw[0]) * room * settings.size
        heights = heights * np.array(wardrobe.heights)[self.labels]
        aspects = np.array(wardrobe.aspects)[self.labels] * settings.stretch
        # (K, 2) width and height at the largest, whole pixels
        self.sizes: Floats = np.stack([heights * aspects, heights], axis=1).round()
        every = settings.stay_every or count + 1
        leaves = paths % every != every - 1
        period = (np.where(leaves, 8, 5) + 3 * draw[1]) / settings.pace
        absence = settings.min_absence + (settings.max_absence - settings.min_absence) * draw[2]
        beyond = (width + self.sizes[:, 0]) / 2 / np.cos(np.pi * absence / period)
        reach = np.where(leaves, beyond, width * (0.2 + 0.15 * draw[3]))
        # Walked past, they stand along the way, one here and one there.
        along = settings.walk * width * _seconds(settings) * (numbers * 0.618 % 1 - 0.5)
        down, up_down = height * (0.5 + 0.44 * near), height * (0.02 + 0.05 * draw[4])
        if settings.roam:
            down, up_down = np.full(count, height / 2), np.full(count, height * settings.roam)
        # (3, K): the middle of the lower edge (of the box, if they roam) in pixels, then the scale
        self._middles = np.stack(np.broadcast_arrays(width / 2 + along, down, 0.86))
        self._reaches = np.stack(np.broadcast_arrays(reach, up_down, 0.14))
        self._periods = np.stack([period, 3 + 3 * draw[5], 6 + 4 * draw[6]])  # seconds
        # Turns, (3, K) for each shot.
        shots = range(1, settings.num_shots)
        self._phases = [draw[7:10], *(_draws(settings, (shot,), 3)[:, paths] for shot in shots)]
        if settings.relay:
            sooner, later = _RELAY_GAP
            lead = (absence - sooner - (later - sooner) * own[7]) / period
            for phases in self._phases:
                phases[0] += np.where(paths == numbers, 0, lead)
        self._outlines = [wardrobe.outline(name) for name in wardrobe.classes if settings.turn]
        self._escapes = [_escapes(settings, number) for number in range(count)]

    def shot(self, index: int) -> int:
        """Which part of the video, between cuts, a frame belongs to."""
        settings = self._settings
        return min(
            index * settings.num_shots // max(settings.num_frames, 1), settings.num_shots - 1
        )

    def boxes(self, index: int) -> Floats:
        """(K, 4) xyxy in pixels of the scene, in the frame or not."""
        x, y, scale = self._middles + self._reaches * np.sin(2 * np.pi * self._turns(index))
        sizes = self.turned(index).sizes * (np.round(scale / SCALE_STEP) * SCALE_STEP)[:, None]
        anchor = (0.5, 0.5 if self._settings.roam else 1)
        corners = np.stack([x, y], axis=1) + self._darted(index) - sizes * anchor
        corners = np.round(corners / PIXEL_STEP) * PIXEL_STEP
        return np.concatenate([corners, corners + sizes], axis=1)

    def turned(self, index: int) -> Turned:
        """How all objects are turned in a frame."""
        count = len(self.sizes)
        if not self._settings.turn:
            upright = np.tile(np.eye(2), (count, 1, 1))
            return Turned(upright, np.zeros((count, 2)), self.sizes)
        speeds = self._reaches / self._periods * np.cos(2 * np.pi * self._turns(index))
        headings = np.arctan2(speeds[1], speeds[0]) / (2 * np.pi)
        headings = np.round(headings / TURN_STEP) * TURN_STEP * 2 * np.pi
        sines, cosines = np.sin(headings), np.cos(headings)
        matrices = np.stack([cosines, -sines, sines, cosines], axis=1).reshape(count, 2, 2)
        low, high = np.zeros((count, 2)), np.zeros((count, 2))
        for number, (matrix, size) in enumerate(zip(matrices, self.sizes, strict=True)):
            outline = self._outlines[self.labels[number]] * size @ matrix.T
            low[number], high[number] = outline.min(axis=0), outline.max(axis=0)
        return Turned(matrices, low, high - low)

    def _turns(self, index: int) -> Floats:
        """(3, K) how often each coordinate has swung there and back."""
        seconds = float(index / self._settings.frame_rate)
        turns: Floats = seconds / self._periods + self._phases[self.shot(index)]
        return turns

    def _darted(self, index: int) -> Floats:
        """(K, 2) pixels that escapes have taken the objects away from their paths."""
        seconds = float(index / self._settings.frame_rate)
        shifts = np.zeros((len(self.sizes), 2))
        for number, (times, places) in enumerate(self._escapes):
            last = int(np.searchsorted(times, seconds, side="right"))  # so many have begun
            if last:
                done = min((seconds - times[last - 1]) / _ESCAPE_SECONDS, 1.0)
                start = places[last - 2] if last > 1 else 0
                shifts[number] = start + (places[last - 1] - start) * done
        return shifts


class Camera:
    """Sees a part of the scene of the size of the frame, or more of it when zoomed out."""

    def __init__(self, settings: SyntheticSettings) -> None:
        self._settings = settings
        across = settings.pan * settings.width
        self._reach = np.array([across, _PAN_DOWN * across])
        self._phases = np.random.default_rng((settings.seed, CAMERA)).random(7)  # turns
        self._way = settings.walk * settings.width * _seconds(settings)  # pixels, in all
        self._step = np.array(_STEP_REACH) * settings.height * bool(settings.walk)
        size = np.array([settings.width, settings.height])
        wider = (1 / (1 - settings.zoom) - 1) * size / 2
        moves = self._reach + 2 * settings.shake + wider + self._step + (self._way / 2, 0)
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
        middle += self._step * np.sin(2 * np.pi * time * np.array(_STEP_RATES))
        middle[0] += self._way * (time / max(_seconds(settings), 1e-6) - 0.5)
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


def _escapes(settings: SyntheticSettings, number: int) -> tuple[Floats, Floats]:
    """(E,) seconds at which an object darts, and (E, 2) pixels from its path to where it gets."""
    mean = settings.escape_every
    count = math.ceil(2 * _seconds(settings) / mean) if mean else 0  # the shortest is half of it
    draws = np.random.default_rng((settings.seed, PATHS, number, _ESCAPES)).random((count, 3))
    reach = np.array(_ESCAPE_REACH) * (settings.width, settings.height)
    return np.cumsum(mean * (0.5 + draws[:, 0])), (2 * draws[:, 1:] - 1) * reach


def _seconds(settings: SyntheticSettings) -> float:
    """How long the video is."""
    return float(settings.num_frames / settings.frame_rate)
