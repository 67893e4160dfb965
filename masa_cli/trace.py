"""What the second look needs to know of a frame, beyond the tracks that a live run shows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from masa_cli.structures import FloatArray, IntArray, Tracks


@dataclass(frozen=True, slots=True, eq=False)
class Trace:
    """The tracklets behind the tracks of one frame.

    A tracklet is a stretch of a track in which it was never lost from sight and never hidden by
    another: within it, the identity is sure. Tracklets are numbered from 1.

    Attributes:
        tracklets: (N,) the tracklet of each row of the frame's tracks.
        tentative: boxes that may turn out to be a track; their ids are tracklets.
        ended: (E,) tracklets that go on no further.
        looks: (E, D) float32, the mean of their clear looks, length 1; 0 if none was clear.
        camera: (2, 3) float64, from points of the frame before to points of this one.
        is_cut: this frame shows another scene than the one before.
    """

    tracklets: IntArray
    tentative: Tracks
    ended: IntArray
    looks: FloatArray
    camera: NDArray[np.float64]
    is_cut: bool = False

    def __post_init__(self) -> None:
        if self.looks.ndim != 2 or len(self.looks) != len(self.ended):
            raise ValueError(f"looks must be ({len(self.ended)}, D), got {self.looks.shape}")
        if self.camera.shape != (2, 3):
            raise ValueError(f"camera must be (2, 3), got {self.camera.shape}")
