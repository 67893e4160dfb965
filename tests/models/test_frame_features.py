from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import nn

from masa_cli.models.frame_features import FrameFeatures
from masa_cli.structures import Frame


class Doubling(nn.Module):
    """Counts the pictures of each call."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def forward(self, x):
        self.calls.append(len(x))
        return [x * 2, x[:, :, ::2, ::2] * 2]


def prepare(images):
    x = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float()
    return nn.functional.pad(x, (0, 2)), tuple(x.shape[2:])


def frame(index):
    return Frame(index, Fraction(index), np.full((4, 6, 3), index, np.uint8))


@pytest.fixture
def network():
    return Doubling()


def values(features):
    return [x[:, 0, 0, 0].tolist() for x in features.maps]


def test_a_frame_is_looked_at_once(network):
    features = FrameFeatures(network, prepare)
    frames = [frame(index) for index in range(3)]
    seen = features.of(frames)
    assert (seen.padded, seen.filled) == ((4, 8), (4, 6))
    for some in (frames, frames[1:], [frames[2], frames[0]]):
        expected = [2.0 * each.index for each in some]
        assert values(features.of(some)) == [expected, expected]
    assert network.calls == [3]


def test_only_what_is_new_is_looked_at(network):
    features = FrameFeatures(network, prepare)
    features.of([frame(0)])
    assert values(features.of([frame(0), frame(1), frame(2)])) == [[0, 2, 4]] * 2
    assert network.calls == [1, 2]


def test_old_frames_are_forgotten(network):
    features = FrameFeatures(network, prepare)
    for index in (0, 1, 0):
        features.of([frame(index)])
    assert network.calls == [1, 1, 1]
