"""Heads that read horizontal stripes of a box: untouched (of `raw`), or whitened (of `lite`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from masa_cli.models.roi import GRID
from masa_cli.models.scene_mean import SceneMean
from masa_cli.structures import FloatArray, State


class Stripes(nn.Module):
    """Stripes of boxes, centred by the mean of the frames seen so far, of length 1.

    The mean is remembered (`SceneMean`), so frames must come in order; how they are split into
    calls changes nothing beyond float noise.

    Args:
        channels: of the map.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.dim = channels * GRID
        self._scene = SceneMean(channels)

    def describe(
        self, cells: Tensor, maps: Mapping[int, Tensor], counts: Sequence[int]
    ) -> list[FloatArray]:
        """Embeddings of the boxes of each of B frames.

        Args:
            cells: (sum of N, C, 7, 7) what the boxes show.
            maps: level 0 is the (B, C, H, W) map they were read from.
            counts: N for each frame.

        Returns:
            (N, dim) float32 for each frame, rows of length 1 (of 0 for a box that looks exactly
            like the mean of everything).
        """
        return [_unit_rows(self._weighed(rows)) for rows in self.stripes(cells, maps, counts)]

    def stripes(
        self, cells: Tensor, maps: Mapping[int, Tensor], counts: Sequence[int]
    ) -> list[NDArray[np.float64]]:
        """(N, C, 7) centred stripes of the boxes of each frame; arguments as for `describe`."""
        stripes = cells.mean(dim=3).cpu().numpy()  # (sum of N, C, 7)
        means = maps[0].float().contiguous().mean(dim=(2, 3)).cpu().numpy()  # (B, C)
        per_frame = np.split(stripes, np.cumsum(counts)[:-1])
        return [self.centred(mean, rows) for mean, rows in zip(means, per_frame, strict=True)]

    def centred(self, frame: FloatArray, stripes: FloatArray) -> NDArray[np.float64]:
        """(N, C, 7) stripes minus the mean of all frames up to theirs, whose own is (C,)."""
        return stripes - self._scene.after(frame)[:, None]

    def _weighed(self, stripes: NDArray[np.float64]) -> NDArray[np.float64]:
        """(N, C, 7) centred stripes as they are compared."""
        return stripes

    def state(self) -> State:
        """What `restore` needs."""
        return self._scene.state()

    def restore(self, state: State) -> None:
        """Go on from a `state()`."""
        self._scene.restore(state)


class WhiteStripes(Stripes):
    """Stripes whose channels count by how little they change while an object stays the same.

    Args:
        channels: of the map.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        # (C, C) the inverse square root of the covariance of such changes, the same for all
        # stripes; symmetric.
        self.white = nn.Parameter(torch.eye(channels), requires_grad=False)

    def _weighed(self, stripes: NDArray[np.float64]) -> NDArray[np.float64]:
        white = self.white.detach().float().cpu().numpy().astype(np.float64)
        weighed: NDArray[np.float64] = np.einsum("dc,ncs->nds", white, stripes)
        return weighed


def _unit_rows(vectors: NDArray[np.float64]) -> FloatArray:
    """(N, ...) arrays as (N, dim) float32 rows of length 1; zeros stay zeros."""
    rows = vectors.reshape(len(vectors), -1)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    units: FloatArray = (rows / np.maximum(lengths, 1e-12)).astype(np.float32)
    return units
