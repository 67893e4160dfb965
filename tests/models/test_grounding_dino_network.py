"""The detector behind its backbone against the official code, from maps to boxes."""

import numpy as np
import pytest
import torch
from groundingdino.util.misc import nested_tensor_from_tensor_list
from torch import nn

from masa_cli.detectors.prompt import to_captions
from masa_cli.models import runtime
from masa_cli.models.grounding_dino_network import empty_detector
from masa_cli.models.published_weights import load_parts
from masa_cli.models.runtime import Converted
from masa_cli.models.swin import swin_b, swin_t
from tests.golden import assert_close, assert_samples_close, golden
from tests.groundingdino_py import build, published
from tests.recipe import recipe_input
from tests.vocabulary import write_vocabulary

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
    places = detector.positions_of(projected, SIZE, SIZE)
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
    logits, boxes = networks["detector"](seen["maps"], seen["text"], padded=SIZE, unpadded=SIZE)
    # Queries are numbered by how much their cells look like the text. Two whose rank is decided by
    # the last digit of a float may change places, here and there: that is no other result.
    unlike = np.abs(boxes[0].numpy() - file["gd_boxes_last"]).max(axis=1) > 1e-3
    ranks = np.flatnonzero(unlike)
    assert len(ranks) <= 2
    assert np.ptp(ranks) <= 1 if len(ranks) else True
    assert_close(boxes[0][~unlike], file["gd_boxes_last"][~unlike])
    assert_close(logits[0][~unlike], file["gd_logits_last"][~unlike])


def test_openvino_encodes_as_the_official_code_does(networks, seen, file, tmp_path, monkeypatch):
    """The first, an inner and the last step, of maps of any size; the bounds are those of torch."""
    pytest.importorskip("openvino", reason="OpenVINO is not installed")
    monkeypatch.setattr(runtime, "cache_folder", lambda: tmp_path)
    detector, converted = networks["detector"], []

    def convert(step, part, example):
        if part[:6] not in ("step 0", "step 3", "step 6"):
            return step
        converted.append(Converted(step, part, example, "float32"))
        return converted[-1]

    monkeypatch.setattr(detector, "_steps", [])
    detector.convert_with(convert)
    memory, tokens = detector.encode(seen["gd_neck"], seen["text"], seen["places"])
    assert_samples_close(memory, file, "gd_memory")
    assert_samples_close(tokens, file, "gd_memory_text")
    maps = [x[:, :, 1:, 2:] for x in seen["gd_neck"][:-1]] + [seen["gd_neck"][-1]]
    places = detector.positions_of(maps, (184, 240), (160, 200))
    found = detector.encode(maps, seen["text"], places)
    detector._steps = []
    for one, other in zip(found, detector.encode(maps, seen["text"], places), strict=True):
        # Sums in another order, through six layers, of numbers up to 10.
        torch.testing.assert_close(one, other, rtol=0, atol=1e-4)
    assert len(converted) == len(list(tmp_path.iterdir())) == 3
    assert not any(step._in_torch for step in converted)


@pytest.mark.parametrize("batch", [2])
def test_a_batch_gives_what_each_picture_gives(networks, seen, batch):
    detector, text = networks["detector"], seen["text"]
    images = recipe_input("batch", (batch, 3, 96, 128))
    sizes = {"padded": (96, 128), "unpadded": (90, 119)}
    together = detector(networks["backbone"](images), text, **sizes)
    for place in range(batch):
        alone = detector(networks["backbone"](images[place : place + 1]), text, **sizes)
        for one, all_ in zip(alone, together, strict=True):
            # Sums in another order, through twelve layers.
            torch.testing.assert_close(one[0], all_[place], rtol=0, atol=1e-3)


def test_building_leaves_torchs_random_numbers_alone():
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    empty_detector((256, 512, 1024), 1e-5)
    assert torch.rand(1) == expected


LEAST_SIDE = 1e-3  # as groundingdino-py has it


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory):
    return write_vocabulary(tmp_path_factory.mktemp("words") / "vocab.txt")


@pytest.fixture(scope="module")
def model(vocabulary):
    return build("gdino-swint", vocabulary)


@pytest.fixture(scope="module")
def swint_networks(model, tmp_path_factory):
    file = tmp_path_factory.mktemp("gdino") / "groundingdino_swint_ogc.pth"
    torch.save(published(model), file)
    detector = empty_detector((192, 384, 768), LEAST_SIDE)
    swint_networks = {"backbone": swin_t(), "detector": detector}
    load_parts(file, "gdino-swint", swint_networks)
    file.unlink()
    return nn.ModuleDict(swint_networks).eval().requires_grad_(False)


@pytest.mark.parametrize("sizes", [[(200, 264)], [(200, 230), (137, 264)]])
def test_boxes_and_logits_are_those_of_groundingdino_py(model, swint_networks, vocabulary, sizes):
    """Pictures of several sizes make one batch there, each with padding of its own."""
    images = [recipe_input(f"swint/{size}", (3, *size)) for size in sizes]
    batch = nested_tensor_from_tensor_list(images)
    phrases = ["person", "a car", "dog"]
    theirs = model(batch, captions=[". ".join(phrases) + "."] * len(images))
    (caption,) = to_captions(phrases, vocabulary)
    text = swint_networks["detector"].text(caption.ids, caption.sentences)
    padded = tuple(batch.tensors.shape[2:])
    for place, size in enumerate(sizes):
        maps = swint_networks["backbone"](batch.tensors[place : place + 1])
        logits, boxes = swint_networks["detector"](maps, text, padded=padded, unpadded=size)
        assert_close(boxes[0], theirs["pred_boxes"][place])
        assert_close(logits[0], theirs["pred_logits"][place, :, : len(caption.ids)])
