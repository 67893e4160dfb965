"""Where the objects of a rendered video are at any time."""

from __future__ import annotations

import numpy as np

from masa_cli.sources.synthetic_settings import PATHS, PIXEL_STEP, SCALE_STEP, SyntheticSettings
from masa_cli.sources.textures import ASPECTS, SHAPES, Floats
from masa_cli.structures import IntArray

# In a relay one enters so many seconds after the other has left, at the sooner and later end. They
# are counted at the largest scale: smaller objects leave sooner and enter later.
_RELAY_GAP = (-0.2, 0.0)


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
        self.looks: IntArray = numbers % (settings.num_looks or max(count, 1))
        self.labels: IntArray = self.looks // 2 % len(SHAPES)  # pairs also share their colour
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


def _draws(settings: SyntheticSettings, part: tuple[int, ...], count: int) -> Floats:
    """(count, K) random numbers from 0 to 1; an object's do not depend on how many there are."""
    rows = [
        np.random.default_rng((settings.seed, PATHS, number, *part)).random(count)
        for number in range(settings.num_objects)
    ]
    draws: Floats = np.reshape(rows, (settings.num_objects, count)).T
    return draws
