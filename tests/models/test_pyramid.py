from fractions import Fraction

import numpy as np
import torch
from torch import nn

from masa_cli.models.frame_features import FrameFeatures
from masa_cli.models.pyramid import Pyramid
from masa_cli.structures import Frame


class Fusion(nn.Module):
    """The wanted levels as they are; remembers what was wanted, and for how many frames."""

    def __init__(self):
        super().__init__()
        self.wanted = []

    def forward(self, maps, levels):
        self.wanted.append((len(maps[0]), sorted(levels)))
        return {level: maps[level] for level in levels}


class Backbone(nn.Module):
    calls = 0

    def forward(self, x):
        self.calls += 1
        return [x, x * 2, x * 3]


def pyramid():
    fusion, backbone = Fusion(), Backbone()

    def prepare(images):
        values = torch.tensor([float(image[0, 0, 0]) for image in images])
        return values.view(-1, 1, 1, 1).expand(-1, 1, 4, 4), (4, 4)

    return Pyramid(FrameFeatures(backbone, prepare), nn.Identity(), fusion), fusion, backbone


def frame(index):
    return Frame(index, Fraction(index), np.full((4, 4, 3), index, np.uint8))


def test_levels_that_are_there_are_not_made_again():
    maps, fusion, backbone = pyramid()
    maps.of([frame(1)], range(3))
    again = maps.of([frame(1)], {0, 2})
    assert fusion.wanted == [(1, [0, 1, 2])]
    assert backbone.calls == 1
    assert again[2].mean() == 3


def test_levels_that_are_not_there_are_made():
    maps, fusion, backbone = pyramid()
    maps.of([frame(1)], {0})
    assert set(maps.of([frame(1)], {0, 1})) == {0, 1}
    assert fusion.wanted == [(1, [0]), (1, [0, 1])]
    assert backbone.calls == 1


def test_some_frames_of_a_run_come_in_their_own_order():
    maps, fusion, _ = pyramid()
    maps.of([frame(index) for index in (3, 4, 5)], {0})
    some = maps.of([frame(5), frame(3)], {0})[0]
    assert some[:, 0, 0, 0].tolist() == [5, 3]
    assert len(fusion.wanted) == 1


def test_frames_before_the_last_run_are_forgotten():
    maps, fusion, _ = pyramid()
    for index in (1, 2, 1):
        maps.of([frame(index)], {0})
    assert len(fusion.wanted) == 3
