"""How each track looks: the mean of its looks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from masa_cli.hybrid.fisher import Fisher
from masa_cli.hybrid.likeness import of_length_one
from masa_cli.rows import Rows
from masa_cli.structures import FloatArray, IntArray


@dataclass(frozen=True, slots=True, eq=False)
class Looks(Rows):
    """One row per track."""

    mean: FloatArray  # (M, D) running mean, rows of length 1
    projected: FloatArray  # (M, D) the same, projected

    @staticmethod
    def start(looks: FloatArray, fisher: Fisher) -> Looks:
        """Of new tracks, from their first looks."""
        # Arrays of its own: they will be changed in place.
        return Looks(looks.copy(), fisher.project(looks).copy())

    def learn(self, rows: IntArray, looks: FloatArray, fisher: Fisher, momentum: float) -> None:
        """Blend the looks of these rows in, in place.

        Args:
            rows: (N,) each at most once.
            looks: (N, D) rows of length 1.
            fisher: the projection.
            momentum: weight of the new look, 0 to 1.
        """
        share = np.float32(momentum)
        self.mean[rows] = of_length_one((1 - share) * self.mean[rows] + share * looks)
        self.projected[rows] = fisher.project(self.mean[rows])

    def project_again(self, fisher: Fisher) -> None:
        """Follow a new projection, in place."""
        self.projected[:] = fisher.project(self.mean)
