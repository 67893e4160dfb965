"""The deformable convolution against torchvision's, an independent implementation."""

import pytest
import torch
from torchvision.ops import deform_conv2d

from masa_cli.models.neck import deformable_conv


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(
    ("batch", "size", "spread"), [(1, (40, 50), 3), (2, (7, 5), 30), (3, (1, 1), 1), (1, (1, 9), 0)]
)
def test_it_is_torchvisions(stride, batch, size, spread):
    """Offsets that leave the map by far, maps of one cell, and more cells than fit a chunk."""
    generator = torch.Generator().manual_seed(0)
    out = [-(-side // stride) for side in size]
    x = torch.randn(batch, 8, *size, generator=generator)
    offsets = torch.randn(batch, 18, *out, generator=generator) * spread
    masks = torch.rand(batch, 9, *out, generator=generator)
    weight = torch.randn(6, 8, 3, 3, generator=generator)
    ours = deformable_conv(x, offsets, masks, weight, stride=stride)
    expected = deform_conv2d(x, offsets, weight, stride=stride, padding=1, mask=masks)
    # Sums of 72 products of about 1, in another order.
    torch.testing.assert_close(ours, expected, rtol=0, atol=2e-5)


def test_points_on_the_edge_of_the_map_count_as_in_torchvision():
    x, weight = torch.ones(1, 1, 4, 4), torch.ones(1, 1, 3, 3)
    for shift in (-1.0, -0.5, 0.0, 0.5, 1.0, 3.0, 4.0):
        offsets, masks = torch.full((1, 18, 4, 4), shift), torch.ones(1, 9, 4, 4)
        ours = deformable_conv(x, offsets, masks, weight, stride=1)
        torch.testing.assert_close(ours, deform_conv2d(x, offsets, weight, padding=1, mask=masks))


def test_it_learns_as_torchvisions_does():
    generator = torch.Generator().manual_seed(1)
    shapes = [(2, 4, 6, 5), (2, 18, 6, 5), (2, 9, 6, 5), (3, 4, 3, 3)]
    inputs = [torch.randn(shape, generator=generator, requires_grad=True) for shape in shapes]
    x, offsets, masks, weight = inputs
    ours = deformable_conv(x, offsets, masks, weight, stride=1)
    theirs = deform_conv2d(x, offsets, weight, padding=1, mask=masks)
    pull = torch.randn(ours.shape, generator=generator)
    for one, other in zip(
        torch.autograd.grad((ours * pull).sum(), inputs),
        torch.autograd.grad((theirs * pull).sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
