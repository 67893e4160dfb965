"""The small detector against groundingdino-py's own model, with and without padding."""

import pytest
import torch
from groundingdino.util.misc import nested_tensor_from_tensor_list
from torch import nn

from masa_cli.detectors.tokens import to_captions
from masa_cli.models.checkpoint_file import load_parts
from masa_cli.models.grounding_dino import empty_detector
from masa_cli.models.swin import swin_t
from tests.golden import assert_close
from tests.groundingdino_py import build, published
from tests.recipe import recipe_input
from tests.vocabulary import write_vocabulary

LEAST_SIDE = 1e-3  # as groundingdino-py has it


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory):
    return write_vocabulary(tmp_path_factory.mktemp("words") / "vocab.txt")


@pytest.fixture(scope="module")
def model(vocabulary):
    return build("gdino-swint", vocabulary)


@pytest.fixture(scope="module")
def networks(model, tmp_path_factory):
    file = tmp_path_factory.mktemp("gdino") / "groundingdino_swint_ogc.pth"
    torch.save(published(model), file)
    detector = empty_detector((192, 384, 768), LEAST_SIDE)
    networks = {"backbone": swin_t(), "detector": detector}
    load_parts(file, "gdino-swint", networks)
    file.unlink()
    return nn.ModuleDict(networks).eval().requires_grad_(False)


@pytest.mark.parametrize("sizes", [[(200, 264)], [(200, 230), (137, 264)]])
def test_boxes_and_logits_are_those_of_groundingdino_py(model, networks, vocabulary, sizes):
    """Pictures of several sizes make one batch there, each with padding of its own."""
    images = [recipe_input(f"swint/{size}", (3, *size)) for size in sizes]
    batch = nested_tensor_from_tensor_list(images)
    phrases = ["person", "a car", "dog"]
    theirs = model(batch, captions=[". ".join(phrases) + "."] * len(images))
    (caption,) = to_captions(phrases, vocabulary)
    text = networks["detector"].text(caption.ids, caption.sentences)
    padded = tuple(batch.tensors.shape[2:])
    for place, size in enumerate(sizes):
        maps = networks["backbone"](batch.tensors[place : place + 1])
        logits, boxes = networks["detector"](maps, text, padded=padded, filled=size)
        assert_close(boxes[0], theirs["pred_boxes"][place])
        assert_close(logits[0], theirs["pred_logits"][place, :, : len(caption.ids)])
