"""Deformable attention against grid_sample, as the paper defines it."""

import pytest
import torch
import torch.nn.functional as F

from masa_cli.models.grounding_dino_layers import Table

SIZES = ((6, 9), (3, 5), (1, 1))
HEADS, DIM, POINTS = 2, 4, 3


def by_grid_sample(values, points, weights):
    """Points in 0..1 of each map; one map and one head at a time."""
    batch, queries = points.shape[:2]
    result = torch.zeros(batch, queries, HEADS, DIM)
    start = 0
    for level, (height, width) in enumerate(SIZES):
        part = values[:, start : start + height * width].view(batch, height, width, HEADS, DIM)
        start += height * width
        for head in range(HEADS):
            grid = points[:, :, :, head, level].movedim(2, -1) * 2 - 1  # (B, Q, P, 2)
            read = F.grid_sample(part[:, :, :, head].movedim(-1, 1), grid, align_corners=False)
            result[:, :, head] += torch.einsum("bdqp,bqp->bqd", read, weights[:, :, head, level])
    return result.flatten(2)


@pytest.mark.parametrize(("batch", "queries"), [(1, 7), (2, 7), (1, 1), (1, 4100)])
def test_it_reads_what_grid_sample_reads(batch, queries):
    generator = torch.Generator().manual_seed(queries)
    cells = sum(height * width for height, width in SIZES)
    values = torch.randn(batch, cells, HEADS * DIM, generator=generator)
    shape = (batch, queries, 2, HEADS, len(SIZES), POINTS)
    points = torch.rand(shape, generator=generator) * 1.6 - 0.3  # some outside
    weights = torch.rand(batch, queries, HEADS, len(SIZES), POINTS, generator=generator)
    expected = by_grid_sample(values, points, weights)
    table = Table(SIZES, HEADS, torch.device("cpu"))
    in_cells = points * table.size.view(2, 1, -1, 1) + 0.5
    # Both sum up to 36 products of a few units in float32.
    torch.testing.assert_close(
        table.read(table.fill(values), in_cells, weights), expected, rtol=0, atol=1e-5
    )


def test_points_far_outside_read_nothing():
    table = Table(SIZES, HEADS, torch.device("cpu"))
    cells = sum(height * width for height, width in SIZES)
    filled = table.fill(torch.ones(1, cells, HEADS * DIM))
    for place in (-1e6, 1e6):
        points = torch.full((1, 1, 2, HEADS, len(SIZES), POINTS), place)
        weights = torch.ones(1, 1, HEADS, len(SIZES), POINTS)
        assert not table.read(filled, points, weights).any()
