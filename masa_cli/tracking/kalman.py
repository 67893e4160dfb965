"""Kalman filters for boxes: where every track is expected, and how surely, at any time.

Constant velocity with white-noise acceleration. Nobody can say beforehand how much a detector's
boxes tremble or how suddenly its objects turn, so every filter runs under several hypotheses of
both at once, and the matches that are sure tell which of them foretells this video best: for each
coordinate by itself. Lengths are in box sizes (the geometric mean of width and height), so that
distance and orientation need no retuning.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from masa_cli.structures import BoolArray, FloatArray, IntArray, State

R = TypeVar("R", bound="Rows")
Floats = TypeVar("Floats", FloatArray, NDArray[np.float64])


class Rows:
    """A dataclass of arrays that have equally many rows; fields may be changed in place."""

    __slots__ = ()

    def __len__(self) -> int:
        return len(next(iter(self.state().values())))

    def __getitem__(self: R, rows: IntArray | BoolArray) -> R:
        return type(self)(*(column[rows] for column in self.state().values()))

    def __add__(self: R, other: R) -> R:
        pairs = zip(self.state().values(), other.state().values(), strict=True)
        return type(self)(*(np.concatenate(pair) for pair in pairs))

    def state(self) -> State:
        """The arrays by the names of their fields."""
        columns: dict[str, NDArray[Any]] = {
            field.name: getattr(self, field.name)
            for field in fields(self)  # type: ignore[arg-type]
        }
        return columns

    @classmethod
    def from_state(cls: type[R], state: Mapping[str, NDArray[Any]]) -> R:
        """What had that `state()`."""
        return cls(*(state[field.name] for field in fields(cls)))  # type: ignore[arg-type]


def of_owner(state: State, owner: str) -> State:
    """The part of a state whose names begin with the owner's and a dot, without these."""
    own = f"{owner}."
    return {name.removeprefix(own): state[name] for name in state if name.startswith(own)}


_ANYWHERE = np.float32(1e8)  # variance of a position that is not known at all, square pixels
_TAIL = 4.0  # degrees of freedom of Student's t: boxes jump more often than a normal law allows

# The hypotheses, in box sizes: noise of a detector's box, and change of speed within one second.
_NOISES = (0.02, 0.04, 0.08, 0.16)
_ACCELERATIONS = (0.15, 0.5, 1.5, 5.0)
NOISE = np.repeat(_NOISES, len(_ACCELERATIONS)).astype(np.float32)[:, None]  # (K, 1)
ACCELERATION = np.tile(_ACCELERATIONS, len(_NOISES)).astype(np.float32)[:, None]
# What is believed before anything is seen: a log-normal law around these.
_USUAL_NOISE, _USUAL_ACCELERATION = 0.05, 0.5
_SPREADS = (0.7, 1.0)  # of the logarithms
_PRIOR = -0.5 * (
    (np.log(NOISE / _USUAL_NOISE) / _SPREADS[0]) ** 2
    + (np.log(ACCELERATION / _USUAL_ACCELERATION) / _SPREADS[1]) ** 2
).astype(np.float64)
_START_SPEED = 1.0  # of the unknown speed of a new track, sizes per second
_MEMORY = 1000.0  # matches after which evidence fades
_SIZE_WEIGHT, _SIZE_SPREAD = 0.5, 0.3  # llr of width and height; how other objects' vary, in sizes
_JUMP_SPREAD = 0.5  # how far an object jumps from one frame to the next, in sizes


class MotionNoise:
    """Which hypothesis of noise and acceleration is true of a video, for each coordinate."""

    def __init__(self) -> None:
        self._evidence = np.zeros((len(NOISE), 4))
        self.chosen: IntArray = np.zeros(4, np.int64)
        self._choose()

    def learn(self, surprise: FloatArray, variance: FloatArray) -> None:
        """Take in sure matches.

        Args:
            surprise: (N, K, 4) of boxes under each hypothesis, pixels.
            variance: (N, K, 4) of it, as expected.
        """
        if not len(surprise):
            return
        told = student(surprise**2 / variance, np.log(variance), 1).sum(axis=0, dtype=np.float64)
        told -= told.mean(axis=0)
        self._evidence *= max(0.0, 1 - len(surprise) / _MEMORY)
        self._evidence += told
        self._choose()

    def _choose(self) -> None:
        self.chosen = (self._evidence + _PRIOR).argmax(axis=0)

    def state(self) -> State:
        """What `restore` needs."""
        return {"evidence": self._evidence}

    def restore(self, state: State) -> None:
        """Go on from a `state()`."""
        self._evidence = state["evidence"]
        self._choose()


def student(squares: Floats, log_det: Floats, dim: int) -> Floats:
    """Log density of Student's t, less a constant, of squared distances in standard deviations.

    Args:
        squares: of the distance, of any shape.
        log_det: log determinant of the covariance.
        dim: of the space.
    """
    density: Floats = -0.5 * ((_TAIL + dim) * np.log1p(squares / _TAIL) + log_det)
    return density


@dataclass(frozen=True, slots=True, eq=False)
class BoxFilters(Rows):
    """For each track, hypothesis and coordinate (centre x, centre y, width, height) a filter.

    The coordinates are independent, so a covariance is three numbers and no matrix is inverted.
    """

    ids: IntArray  # (M,) from 1
    means: FloatArray  # (M, K, 4) cx, cy, w, h in pixels
    velocities: FloatArray  # (M, K, 4) pixels per second
    variances: FloatArray  # (M, K, 4) of the means
    covariances: FloatArray  # (M, K, 4) of mean and velocity
    velocity_variances: FloatArray  # (M, K, 4)
    seen: FloatArray  # (M,) seconds, when last seen
    hits: IntArray  # (M,) how often seen

    @staticmethod
    def start(ids: IntArray, boxes: FloatArray, time: float) -> BoxFilters:
        """New filters at rest on `boxes`."""
        position = centre_size(boxes)[:, None]
        size = sizes(position)
        means = np.repeat(position, len(NOISE), axis=1)
        return BoxFilters(
            ids=ids,
            means=means,
            velocities=np.zeros_like(means[..., :2]),
            variances=np.broadcast_to((NOISE * size) ** 2, means.shape).copy(),
            covariances=np.zeros_like(means[..., :2]),
            velocity_variances=np.tile((_START_SPEED * size) ** 2, (1, len(NOISE), 2)),
            seen=np.full(len(ids), time, np.float32),
            hits=np.ones(len(ids), np.int64),
        )

    def move(self, matrix: NDArray[np.float64]) -> None:
        """Follow the camera, in place: a similarity took every point of the image elsewhere.

        Args:
            matrix: (2, 3), from points before to points now, in pixels.
        """
        linear, shift = matrix[:, :2], matrix[:, 2]
        scale = np.sqrt(abs(np.linalg.det(linear)))
        self.means[..., :2] = self.means[..., :2] @ linear.T + shift
        self.velocities[:] = self.velocities @ linear.T
        self.means[..., 2:] *= scale
        for name in ("variances", "covariances", "velocity_variances"):
            getattr(self, name)[:] *= scale**2

    def lose(self) -> None:
        """Forget where everything is, in place: the image shows another scene now."""
        self.velocities[:] = 0
        self.covariances[:] = 0
        self.variances[:] = _ANYWHERE

    def predict(self, seconds: float) -> None:
        """Move all filters forward in time, in place (white-noise acceleration)."""
        spread = (ACCELERATION * sizes(self.means)) ** 2
        self.means[..., :2] += seconds * self.velocities
        self.variances[..., 2:] += spread * seconds
        self.variances[..., :2] += (
            2 * seconds * self.covariances
            + seconds**2 * self.velocity_variances
            + spread * seconds**3 / 3
        )
        self.covariances[:] += seconds * self.velocity_variances + spread * seconds**2 / 2
        self.velocity_variances[:] += spread * seconds

    def position(self, noise: MotionNoise) -> FloatArray:
        """(M, 4) where each is expected: centre x, centre y, width, height."""
        return self.means[:, noise.chosen, np.arange(4)]

    def variance(self, noise: MotionNoise) -> FloatArray:
        """(M, 4) of what a box of each is expected to be, the detector's noise with it."""
        own = self.variances[:, noise.chosen, np.arange(4)]
        size = sizes(self.position(noise))
        variance: FloatArray = own + (NOISE[noise.chosen, 0] * size) ** 2
        return variance

    def llr(
        self, measured: FloatArray, noise: MotionNoise, jump_share: float
    ) -> tuple[FloatArray, FloatArray]:
        """(N, M) llr of the motion of each track to each box: as before, or with a jump.

        Args:
            measured: (N, 4) centre x, centre y, width, height of boxes.
            noise: what was learned of it.
            jump_share: how often objects jump, 0 to 1.

        Returns:
            Log densities of the position, per square of the track's size, and of width and height
            relative to those of other objects. A jump ends anywhere near, with any size.
        """
        position, variance = self.position(noise), self.variance(noise)
        size = sizes(position)[:, 0]
        # One coordinate at a time: numpy is slow with sums over so short an axis.
        squares = [(measured[:, None, column] - position[:, column]) ** 2 for column in range(4)]
        x, y, width, height = (square / variance[:, i] for i, square in enumerate(squares))
        volume = np.log(variance[:, 0] * variance[:, 1] * (2 * math.pi / size**2) ** 2)
        smooth = student(x + y, volume, 2)
        volume = np.log(variance[:, 2] * variance[:, 3] / (_SIZE_SPREAD * size) ** 4)
        smooth += _SIZE_WEIGHT * student(width + height, volume, 2)
        wide = _JUMP_SPREAD**2 + variance[:, 0] / size**2
        jumped = -0.5 * (squares[0] + squares[1]) / (size**2 * wide) - np.log(2 * math.pi * wide)
        return smooth + math.log(1 - jump_share), jumped + math.log(jump_share)

    def correct(
        self, rows: IntArray, boxes: FloatArray, time: float, noise: MotionNoise, sure: BoolArray
    ) -> None:
        """Take the boxes into the filters of these rows, in place; sure ones tell of the noise."""
        measured = centre_size(boxes)[:, None]
        total = self.variances[rows] + (NOISE * sizes(measured)) ** 2
        surprise = measured - self.means[rows]
        noise.learn(surprise[sure], total[sure])
        gain = self.variances[rows] / total
        velocity_gain = self.covariances[rows] / total[..., :2]
        self.means[rows] += gain * surprise
        self.velocities[rows] += velocity_gain * surprise[..., :2]
        self.velocity_variances[rows] -= velocity_gain * self.covariances[rows]
        self.covariances[rows] *= 1 - gain[..., :2]
        self.variances[rows] *= 1 - gain
        self.seen[rows] = time
        self.hits[rows] += 1


def sizes(position: FloatArray) -> FloatArray:
    """(..., 1) the geometric mean of width and height of (..., 4) centre x, centre y, w, h."""
    product = np.maximum(position[..., 2:3], 1) * np.maximum(position[..., 3:4], 1)
    size: FloatArray = np.sqrt(product)
    return size


def centre_size(boxes: FloatArray) -> FloatArray:
    """(N, 4) xyxy to (N, 4) centre x, centre y, width, height."""
    size = boxes[:, 2:] - boxes[:, :2]
    return np.concatenate([boxes[:, :2] + size / 2, size], axis=1, dtype=np.float32)


def corners(position: FloatArray) -> FloatArray:
    """(N, 4) centre x, centre y, width, height to (N, 4) xyxy."""
    half = position[:, 2:] / 2
    return np.concatenate(
        [position[:, :2] - half, position[:, :2] + half], axis=1, dtype=np.float32
    )
