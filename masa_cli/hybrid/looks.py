"""How each track looks: its mean, and a few distinct recent looks."""

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
    gallery: FloatArray  # (M, K, D) distinct looks, newest first; 0 where there is none yet

    @staticmethod
    def start(looks: FloatArray, fisher: Fisher, gallery_size: int) -> Looks:
        """Of new tracks, from their first looks."""
        gallery = np.zeros((len(looks), gallery_size, looks.shape[1]), np.float32)
        gallery[:, :1] = looks[:, None]
        # Arrays of its own: they will be changed in place.
        return Looks(looks.copy(), fisher.project(looks).copy(), gallery)

    def cosines(self, projected: FloatArray, fisher: Fisher, gallery_weight: float) -> FloatArray:
        """(N, M) between projected looks (N, D) and tracks: of the mean and the best of the rest.

        Args:
            projected: rows of length 1.
            fisher: the projection.
            gallery_weight: of the gallery's best match, 0 to 1; the mean has the rest.
        """
        mean: FloatArray = projected @ self.projected.T
        size, dim = self.gallery.shape[1:]
        if not (size and mean.size):
            return mean
        others = fisher.project(self.gallery.reshape(-1, dim))
        best = (projected @ others.T).reshape(*mean.shape, size).max(axis=2)
        weight = np.float32(gallery_weight)
        mixed: FloatArray = (1 - weight) * mean + weight * np.maximum(best, mean)
        return mixed

    def learn(
        self, rows: IntArray, looks: FloatArray, fisher: Fisher, momentum: float, distinct: float
    ) -> None:
        """Blend the looks of these rows in, in place.

        Args:
            rows: (N,) each at most once.
            looks: (N, D) rows of length 1.
            fisher: the projection.
            momentum: weight of the new look, 0 to 1.
            distinct: cosine with the gallery below which a look is a new one for it.
        """
        share = np.float32(momentum)
        self.mean[rows] = of_length_one((1 - share) * self.mean[rows] + share * looks)
        self.projected[rows] = fisher.project(self.mean[rows])
        if not self.gallery.shape[1]:
            return
        known = (self.gallery[rows] @ looks[:, :, None])[:, :, 0].max(axis=1, initial=-1)
        new = known < distinct
        self.gallery[rows[new], 1:] = self.gallery[rows[new], :-1]
        self.gallery[rows[new], 0] = looks[new]

    def project_again(self, fisher: Fisher) -> None:
        """Follow a new projection, in place."""
        self.projected[:] = fisher.project(self.mean)
