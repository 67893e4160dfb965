"""The detector behind its backbone against the official code, from maps to boxes."""

import numpy as np
import pytest
import torch
from torch import nn

from masa_cli.models.checkpoint_file import load_parts
from masa_cli.models.grounding_dino import empty_detector
from masa_cli.models.swin import swin_b
from tests.golden import assert_close, assert_samples_close, golden
from tests.recipe import recipe_input

SIZE = (192, 256)
# [CLS], "car .", "person .", "dog .", [SEP]
SENTENCES = [1, 2, 2, 2, 1]


@pytest.fixture(scope="module")
def file():
    return golden("full/full_gdino")


@pytest.fixture(scope="module")
def networks(published_file):
    networks = {"backbone": swin_b(window=12), "detector": empty_detector((256, 512, 1024), 1e-5)}
    load_parts(published_file("gdino", "detector."), "gdino", networks)
    return nn.ModuleDict(networks).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def seen(networks, file):
    """What goes in and what is in between, by the names of the golden file."""
    detector = networks["detector"]
    maps = networks["backbone"](recipe_input("image/gdino", tuple(file["image_shape"])))
    text = detector.text(file["gd_input_ids"][0].tolist(), SENTENCES)
    projected = detector.project(maps)
    places = detector.places_of(projected, SIZE, SIZE)
    memory, tokens = detector.encode(projected, text, places)
    return {
        "maps": maps,
        "text": text,
        "places": places,
        "gd_neck": projected,
        "gd_memory": memory,
        "gd_memory_text": tokens,
    }


def test_the_text_is_read_as_the_official_code_reads_it(seen, file):
    assert_close(seen["text"].features[None], file["gd_text_feat"])
    assert (~seen["text"].apart).tolist() == file["gd_text_masks"][0].tolist()


def test_the_projected_maps_are_the_official_ones(seen, file):
    for level, x in enumerate(seen["gd_neck"]):
        assert_samples_close(x, file, f"gd_neck_{level}")


@pytest.mark.parametrize("name", ["gd_memory", "gd_memory_text"])
def test_picture_and_text_leave_the_encoder_as_the_official_ones(seen, file, name):
    assert_samples_close(seen[name], file, name)


def test_logits_and_boxes_are_the_official_ones(networks, seen, file):
    logits, boxes = networks["detector"](seen["maps"], seen["text"], padded=SIZE, filled=SIZE)
    # Queries are numbered by how much their cells look like the text. Two whose rank is decided by
    # the last digit of a float may change places, here and there: that is no other result.
    unlike = np.abs(boxes[0].numpy() - file["gd_boxes_last"]).max(axis=1) > 1e-3
    ranks = np.flatnonzero(unlike)
    assert len(ranks) <= 2
    assert np.ptp(ranks) <= 1 if len(ranks) else True
    assert_close(boxes[0][~unlike], file["gd_boxes_last"][~unlike])
    assert_close(logits[0][~unlike], file["gd_logits_last"][~unlike])


@pytest.mark.parametrize("batch", [2])
def test_a_batch_gives_what_each_picture_gives(networks, seen, batch):
    detector, text = networks["detector"], seen["text"]
    images = recipe_input("batch", (batch, 3, 96, 128))
    filled = {"padded": (96, 128), "filled": (90, 119)}
    together = detector(networks["backbone"](images), text, **filled)
    for place in range(batch):
        alone = detector(networks["backbone"](images[place : place + 1]), text, **filled)
        for one, all_ in zip(alone, together, strict=True):
            # Sums in another order, through twelve layers.
            torch.testing.assert_close(one[0], all_[place], rtol=0, atol=1e-3)


def test_building_leaves_torchs_random_numbers_alone():
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    empty_detector((256, 512, 1024), 1e-5)
    assert torch.rand(1) == expected
