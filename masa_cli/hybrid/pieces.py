"""The tracklet that each track is in: it ends where the track is lost from sight, or hidden.

Within a tracklet the identity is sure; between tracklets of one track the second look may decide
otherwise than the tracker did.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from masa_cli.camera import CameraMotion
from masa_cli.hybrid.likeness import of_length_one
from masa_cli.rows import Rows
from masa_cli.structures import BoolArray, FloatArray, IntArray


@dataclass(frozen=True, slots=True, eq=False)
class Ended:
    """Tracklets that are over.

    Attributes:
        numbers: (E,) of them.
        looks: (E, D) the mean of their clear looks, length 1; 0 if none was clear.
    """

    numbers: IntArray
    looks: FloatArray

    def __add__(self, other: Ended) -> Ended:
        return Ended(
            np.concatenate([self.numbers, other.numbers]),
            np.concatenate([self.looks, other.looks]),
        )


@dataclass(frozen=True, slots=True, eq=False)
class Pieces(Rows):
    """One row per track: the tracklet it is in."""

    numbers: IntArray  # (M,) from 1
    hidden: BoolArray  # (M,) whether another box hid it when it was last seen
    place: NDArray[np.float64]  # (M, 2) where its centre was then, pixels; NaN after a cut
    sums: FloatArray  # (M, D) of clear looks

    def lose(self) -> None:
        """Forget all places, in place: the picture shows another scene now."""
        self.place[:] = np.nan

    def move(self, camera: CameraMotion) -> None:
        """Follow the camera, in place."""
        self.place[:] = self.place @ camera.linear.T + camera.shift

    def see(self, rows: IntArray, places: FloatArray, hidden: BoolArray) -> None:
        """Take in where tracks are now, in place.

        Args:
            rows: (N,) of the tracks.
            places: (N, 2) centres of their boxes.
            hidden: (N,) whether another box hides them.
        """
        self.hidden[rows] = hidden
        self.place[rows] = places

    def ended(self, rows: IntArray | BoolArray) -> Ended:
        """The tracklets of these rows."""
        return Ended(self.numbers[rows], of_length_one(self.sums[rows]))

    def begin(self, rows: IntArray, numbers: IntArray) -> None:
        """Begin new tracklets, in place."""
        self.numbers[rows] = numbers
        self.sums[rows] = 0
