"""Embedding heads: what RoIAlign reads in a box in, its embedding out.

MASA's track head (spec 6), and part-based pooling, which needs little or no training.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from masa_cli.models.neck import WIDTH, ConvNorm
from masa_cli.models.operators import roi_align
from masa_cli.structures import FloatArray, State

GRID = 7  # cells per side
# Frames count alike until there are so many; then the oldest fade. A frame moves the mean by 1/n at
# most, so embeddings a tracker remembers from a second ago are still centred alike; yet a change of
# light is followed within a minute.
MAX_FRAMES = 1000
_FINEST_SIDE = 56  # boxes of less than twice that side, in pixels, are read from the finest level


class EmbeddingHead(nn.Module):
    """Convolutions and two layers.

    Args:
        channels: of the maps.
        num_convs: convolutions.
        hidden: numbers between the two layers.
        unit_length: whether embeddings have length 1; in the published networks they have any.
    """

    def __init__(
        self,
        channels: int = WIDTH,
        num_convs: int = 4,
        hidden: int = 1024,
        *,
        unit_length: bool = False,
    ) -> None:
        super().__init__()
        self.dim = 256
        self._unit_length = unit_length
        self.convs = nn.ModuleList(
            ConvNorm(channels, channels, 3, nn.GroupNorm(32, channels)) for _ in range(num_convs)
        )
        self.hidden = nn.Linear(channels * GRID * GRID, hidden)
        self.embedding = nn.Linear(hidden, self.dim)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, 7, 7) to (N, 256)."""
        for conv in self.convs:
            x = F.relu(conv(x))
        x = F.relu(self.hidden(x.flatten(1)))  # (N, hidden)
        y: Tensor = self.embedding(x)
        return F.normalize(y.float(), dim=1) if self._unit_length else y

    def embed(
        self, cells: Tensor, maps: Mapping[int, Tensor], counts: Sequence[int]
    ) -> list[FloatArray]:
        """(N, 256) float32 for each frame, of (sum of N, C, 7, 7) cells and N for each frame."""
        embeddings = self(cells.to(self.embedding.weight.dtype)).float().cpu().numpy()
        return np.split(embeddings, np.cumsum(counts)[:-1])

    def state(self) -> State:
        """Nothing: every frame stands for itself."""
        return {}

    def restore(self, state: State) -> None:
        """Nothing to go on from."""


class PartPooling(nn.Module):
    """Part-based pooling: horizontal stripes of boxes, less the running mean of frames, normalised.

    The mean is remembered (`RunningMean`), so frames must come in order; how they are split into
    calls changes nothing beyond float noise.

    Args:
        channels: of the map.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.dim = channels * GRID
        self._mean = RunningMean(channels)

    def embed(
        self, cells: Tensor, maps: Mapping[int, Tensor], counts: Sequence[int]
    ) -> list[FloatArray]:
        """Embeddings of the boxes of each of B frames.

        Args:
            cells: (sum of N, C, 7, 7) what the boxes show.
            maps: level 0 is the (B, C, H, W) map they were read from.
            counts: N for each frame.

        Returns:
            (N, dim) float32 for each frame, rows of length 1 (of 0 for a box that is exactly
            like the mean of everything).
        """
        return [_unit_rows(self._weighted(rows)) for rows in self.parts(cells, maps, counts)]

    def parts(
        self, cells: Tensor, maps: Mapping[int, Tensor], counts: Sequence[int]
    ) -> list[NDArray[np.float64]]:
        """(N, C, 7) centred parts of the boxes of each frame; arguments as for `embed`."""
        parts = cells.mean(dim=3).cpu().numpy()  # (sum of N, C, 7)
        means = maps[0].float().contiguous().mean(dim=(2, 3)).cpu().numpy()  # (B, C)
        per_frame = np.split(parts, np.cumsum(counts)[:-1])
        return [self.centred(mean, rows) for mean, rows in zip(means, per_frame, strict=True)]

    def centred(self, frame: FloatArray, parts: FloatArray) -> NDArray[np.float64]:
        """(N, C, 7) parts minus the mean of all frames up to theirs, whose own is (C,)."""
        return parts - self._mean.after(frame)[:, None]

    def _weighted(self, parts: NDArray[np.float64]) -> NDArray[np.float64]:
        """(N, C, 7) centred parts as they are compared."""
        return parts

    def state(self) -> State:
        """What `restore` needs."""
        return self._mean.state()

    def restore(self, state: State) -> None:
        """Go on from a `state()`."""
        self._mean.restore(state)


class WhitenedPartPooling(PartPooling):
    """PartPooling whose channels count by how little they change while an object stays the same.

    Args:
        channels: of the map.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        # (C, C) the inverse square root of the covariance of such changes, the same for all
        # parts; symmetric.
        self.white = nn.Parameter(
            torch.zeros(channels, channels).fill_diagonal_(1), requires_grad=False
        )

    def _weighted(self, parts: NDArray[np.float64]) -> NDArray[np.float64]:
        white = self.white.detach().float().cpu().numpy().astype(np.float64)
        weighed: NDArray[np.float64] = np.einsum("dc,ncs->nds", white, parts)
        return weighed


class RunningMean:
    """Running mean over frames of a vector, by which embeddings are centred.

    What all cells of a frame have in common says nothing about who is who, but makes every two
    embeddings alike. The mean is over whole frames, not over boxes: of a video with one object it
    would become that object, and nothing but noise would be left; in crowds it did no better
    (tests/benchmarks/embedding_choice.py). So no made-up first value is needed: a box, even alone,
    is not the frame.

    In float64: steps of a thousandth of a small difference would be lost in float32.
    """

    def __init__(self, dim: int) -> None:
        self._mean: NDArray[np.float64] = np.zeros(dim)
        self._num_frames = 0

    def after(self, frame: NDArray[np.float32]) -> NDArray[np.float64]:
        """Take in one frame's (dim,) vector; the mean including it."""
        self._num_frames = min(self._num_frames + 1, MAX_FRAMES)
        self._mean = self._mean + (frame - self._mean) / self._num_frames
        return self._mean

    def state(self) -> State:
        """What `restore` needs."""
        return {"mean": self._mean, "num_frames": np.array(self._num_frames)}

    def restore(self, state: State) -> None:
        """Go on from a `state()`."""
        self._mean = np.array(state["mean"], np.float64)
        self._num_frames = int(state["num_frames"])


def box_features(
    maps: Mapping[int, Tensor],
    strides: Sequence[int],
    boxes: Sequence[Tensor],
    points: int,
    *,
    grid: int = GRID,
    finest: float = _FINEST_SIDE,
) -> Tensor:
    """RoIAlign, aligned to half pixels, averaging.

    Args:
        maps: by level (B, C, H, W); only levels that a box is read from are needed.
        strides: pixels per cell of each level.
        boxes: for each of the B images (N, 4) xyxy in its pixels.
        points: read per side of a cell of the grid; 0: one per cell of the map it spans.
        grid: cells per side.
        finest: see `box_levels`.

    Returns:
        (sum of N, C, grid, grid) float32, in the order of the boxes; zeros for a box without area.
    """
    counts = torch.tensor([len(rows) for rows in boxes])
    owners = torch.arange(len(boxes)).repeat_interleave(counts)
    rows = torch.cat(list(boxes))
    rois = torch.cat([owners[:, None].to(rows), rows], dim=1)  # (N, 5): image, box
    levels = box_levels(rows, len(strides), finest)
    x = next(iter(maps.values()))
    cells = torch.empty((len(rois), x.shape[1], grid, grid), device=x.device)
    for level in sorted(set(levels.tolist())):
        here = levels == level
        x = maps[level].float().contiguous()  # RoIAlign knows float32 on every device
        cells[here] = roi_align(x, rois[here], grid, 1 / strides[level], points)
    return cells


def box_levels(boxes: Tensor, num_levels: int, finest: float = _FINEST_SIDE) -> Tensor:
    """(N,) the level each box is read from: coarser by one with every doubling of its side.

    Args:
        boxes: (N, 4) xyxy in pixels of the network input.
        num_levels: the coarsest is the last.
        finest: boxes of less than twice that side, in pixels, are read from the finest level.
    """
    sides = ((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])).sqrt()
    return (sides / finest + 1e-6).log2().floor().clamp(0, num_levels - 1).long()


def _unit_rows(vectors: NDArray[np.float64]) -> FloatArray:
    """(N, ...) arrays as (N, dim) float32 rows of length 1; zeros stay zeros."""
    rows = vectors.reshape(len(vectors), -1)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    units: FloatArray = (rows / np.maximum(lengths, 1e-12)).astype(np.float32)
    return units
