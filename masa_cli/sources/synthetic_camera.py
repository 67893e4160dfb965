"""From where a rendered scene is seen: by a camera that swings, zooms and trembles, or stands."""

from __future__ import annotations

import math

import cv2
import numpy as np

from masa_cli.sources.synthetic_settings import CAMERA, PIXEL_STEP, SCALE_STEP, SyntheticSettings
from masa_cli.sources.textures import Floats
from masa_cli.structures import Image

_PAN_SECONDS, _ZOOM_SECONDS = (7.0, 5.0), 6.0  # across and down; there and back
_SHAKE_RATES = ((2.9, 4.7), (3.7, 5.3))  # Hz; two trembles in each direction
_PAN_DOWN = 0.2  # of the way across


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

    def place(self, index: int) -> tuple[float, Floats]:
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
        scale, corner = self.place(index)
        corners = np.round((boxes[:, :2] - corner) * scale / PIXEL_STEP) * PIXEL_STEP
        return np.concatenate([corners, corners + (boxes[:, 2:] - boxes[:, :2]) * scale], axis=1)

    def look(self, scene: Image, index: int) -> Image:
        """(H, W, 3) what is seen of a picture of the scene, which has `room` around the frame."""
        if not any(self.room):
            return scene
        scale, corner = self.place(index)
        # Pixels are at their centres.
        offset = (0.5 - np.array(self.room) - corner) * scale - 0.5
        matrix = np.array([[scale, 0, offset[0]], [0, scale, offset[1]]])
        size = (self._settings.width, self._settings.height)
        return np.asarray(cv2.warpAffine(scene, matrix, size), np.uint8)
