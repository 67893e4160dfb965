"""Kalman filters for boxes: where every track is expected, and how surely, at any time.

Constant velocity with white-noise acceleration. Time is in seconds and noise in box heights, so
frame rates and sizes need no retuning.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from masa_cli.structures import BoolArray, FloatArray, IntArray, State

R = TypeVar("R", bound="Rows")


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


class Noise(Protocol):
    """Standard deviations in box heights (and seconds); trackers' settings have them."""

    @property
    def position_noise(self) -> float:
        """Of a detector's box."""
        ...

    @property
    def start_speed(self) -> float:
        """Of the unknown speed of a new track, heights per second."""
        ...

    @property
    def acceleration(self) -> float:
        """Of the change of speed within one second."""
        ...


_ANYWHERE = np.float32(1e8)  # variance of a position that is not known at all, square pixels


@dataclass(frozen=True, slots=True, eq=False)
class BoxFilters(Rows):
    """One Kalman filter per track and coordinate (centre x, centre y, width, height).

    The coordinates are independent, so a covariance is three numbers and no matrix is inverted.
    """

    ids: IntArray  # (M,) from 1
    position: FloatArray  # (M, 4) cx, cy, w, h in pixels
    velocity: FloatArray  # (M, 4) pixels per second
    position_variance: FloatArray  # (M, 4)
    covariance: FloatArray  # (M, 4) of position and velocity
    velocity_variance: FloatArray  # (M, 4)
    seen: FloatArray  # (M,) seconds, when last seen
    hits: IntArray  # (M,) how often seen

    @staticmethod
    def start(ids: IntArray, boxes: FloatArray, time: float, noise: Noise) -> BoxFilters:
        """New filters at rest on `boxes`."""
        position = centre_size(boxes)
        height = position[:, 3:4]
        return BoxFilters(
            ids=ids,
            position=position,
            velocity=np.zeros_like(position),
            position_variance=np.tile((noise.position_noise * height) ** 2, (1, 4)),
            covariance=np.zeros_like(position),
            velocity_variance=np.tile((noise.start_speed * height) ** 2, (1, 4)),
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
        self.position[:, :2] = self.position[:, :2] @ linear.T + shift
        self.velocity[:, :2] = self.velocity[:, :2] @ linear.T
        self.position[:, 2:] *= scale
        self.velocity[:, 2:] *= scale
        for name in ("position_variance", "covariance", "velocity_variance"):
            getattr(self, name)[:] *= scale**2

    def lose(self) -> None:
        """Forget where everything is, in place: the image shows another scene now."""
        self.velocity[:] = 0
        self.covariance[:] = 0
        self.position_variance[:] = _ANYWHERE

    def predict(self, seconds: float, noise: Noise) -> None:
        """Move all filters forward in time, in place (white-noise acceleration)."""
        height = np.maximum(self.position[:, 3:4], 1)
        spread = (noise.acceleration * height) ** 2
        self.position[:] += seconds * self.velocity
        self.position[:, 2:] = np.maximum(self.position[:, 2:], 1)  # a size stays positive
        self.position_variance[:] += (
            2 * seconds * self.covariance
            + seconds**2 * self.velocity_variance
            + spread * seconds**3 / 3
        )
        self.covariance[:] += seconds * self.velocity_variance + spread * seconds**2 / 2
        self.velocity_variance[:] += spread * seconds

    def correct(self, rows: IntArray, boxes: FloatArray, time: float, noise: Noise) -> None:
        """Take the boxes into the filters of these rows, in place."""
        measured = centre_size(boxes)
        total = self.position_variance[rows] + (noise.position_noise * measured[:, 3:4]) ** 2
        position_gain = self.position_variance[rows] / total
        velocity_gain = self.covariance[rows] / total
        surprise = measured - self.position[rows]
        self.position[rows] += position_gain * surprise
        self.velocity[rows] += velocity_gain * surprise
        self.velocity_variance[rows] -= velocity_gain * self.covariance[rows]
        self.covariance[rows] *= 1 - position_gain
        self.position_variance[rows] *= 1 - position_gain
        self.seen[rows] = time
        self.hits[rows] += 1


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
