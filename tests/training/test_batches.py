import os

import numpy as np
import pytest
import torch

from masa_cli.errors import SourceError
from masa_cli.training.augmentations import AugmentationSettings
from masa_cli.training.batches import Batch, read_batches
from masa_cli.training.pairs import PairMaker

VIEWS = AugmentationSettings(size=64, mix_chance=0)


class Deadly:
    """Ends the process that asks it for a pair, as the kernel does when memory runs out."""

    def make(self, number):
        os._exit(1)


def test_batches_come_in_the_order_of_their_numbers(scenes):
    maker = PairMaker(scenes, VIEWS, 0)
    first, second = read_batches(maker, [range(2), range(2, 3)], workers=0, pinned=False)
    assert (len(first), len(second)) == (2, 1)
    assert first.images.shape == (4, 64, 64, 3)
    third = maker.make(2)
    np.testing.assert_array_equal(second.images[0], third.key.image)
    np.testing.assert_array_equal(second.images[1], third.reference.image)
    assert second.seeds == (third.seed,)
    assert torch.equal(second.keys[0].boxes, torch.from_numpy(third.key.boxes))


def test_a_batch_names_the_images_that_could_not_be_read(scenes, tmp_path):
    maker = PairMaker(scenes, VIEWS, 0)
    pair = maker.make(0)
    object.__setattr__(pair, "broken", ("x.jpg cannot be read",))
    assert Batch.of([pair, maker.make(1)]).broken == ("x.jpg cannot be read",)


def test_a_worker_that_dies_ends_the_run_with_an_error():
    with pytest.raises(SourceError, match="a process that makes views died"):
        next(read_batches(Deadly(), [range(1)], workers=1, pinned=False))
