"""The published adapters against the official code, on the weights of the recipe."""

import numpy as np
import pytest
import torch

from masa_cli.models.adapter import build_parts
from masa_cli.models.device import choose_placement, ready
from masa_cli.models.heads import box_features, box_levels
from masa_cli.models.object_branch import ObjectFinder
from masa_cli.models.published_weights import load_parts
from masa_cli.models.variants import VARIANTS
from tests.golden import assert_close, assert_samples_close, golden
from tests.recipe import recipe_input

# The recipe's inputs: names, channels and strides of the maps.
_SWIN = [(f"s{place}", 128 * 2 ** (place - 1), 2 ** (place + 1)) for place in (2, 3, 4)]
INPUTS = {
    "r50": [(f"r50/c{place}", 64 * 2**place, 2**place) for place in (2, 3, 4, 5)],
    "gdino": [(f"gdino/{name}", *rest) for name, *rest in _SWIN],
    "detic": [(f"detic/{name}", *rest) for name, *rest in _SWIN],
    "sam-b": [(f"sam_vitb/b{place}", 768, 16) for place in range(4)],
    "sam-h": [(f"sam_vith/b{place}", 1280, 16) for place in range(4)],
}
PICTURE = (64, 96)  # height and width that the maps stand for
BEHIND_BACKBONE = ("masa_adapter.", "track_head.", "rpn_head.", "roi_head.")


@pytest.fixture(scope="module", params=INPUTS)
def case(request, published_file):
    """A variant, its parts behind the backbone, its golden file, and the fused levels."""
    name = request.param
    variant = VARIANTS[name]
    parts = build_parts(variant)
    with torch.device("meta"):
        parts["objects"] = ObjectFinder(variant)
    load_parts(published_file(name, *BEHIND_BACKBONE), name, parts)
    parts = {part: ready(m, *choose_placement("cpu", "float32")) for part, m in parts.items()}
    with torch.inference_mode():
        levels = parts["neck"](taps(name))
        fused = parts["fusion"](levels, range(5))
    return (
        variant,
        parts,
        golden(f"adapter/{name}"),
        levels,
        fused,
        golden(f"adapter/objects_{name}"),
    )


def taps(name):
    height, width = PICTURE
    return [
        recipe_input(input_name, (1, channels, height // stride, width // stride))
        for input_name, channels, stride in INPUTS[name]
    ]


def test_the_neck_is_the_official_one(case):
    _, _, file, levels, _, _ = case
    for level, x in enumerate(levels):
        assert_samples_close(x, file, f"fpn_{level}")


def test_the_fusion_is_the_official_one_block_by_block(case):
    _, parts, file, levels, fused, _ = case
    x = dict(enumerate(levels))
    with torch.inference_mode():
        for number, block in enumerate(parts["fusion"].blocks[:2]):
            x = block(x, range(5))
            for level in range(5):
                assert_close(x[level].mean((2, 3)), file[f"block{number}_mean_{level}"])
    for level in range(5):
        assert_samples_close(fused[level], file, f"fuse_{level}")


def test_boxes_are_read_from_the_official_levels(case):
    variant, _, file, _, _, _ = case
    levels = box_levels(torch.from_numpy(file["boxes"]), len(variant.strides))
    np.testing.assert_array_equal(levels, file["levels"])


def test_box_features_and_embeddings_are_the_official_ones(case):
    variant, parts, file, _, fused, _ = case
    boxes = torch.from_numpy(file["boxes"])
    cells = box_features(fused, variant.strides, [boxes], variant.points)
    assert_samples_close(cells[:6], file, "roi_feats")
    assert_close(cells.mean((2, 3)), file["roi_feats_mean"])
    with torch.inference_mode():
        embeddings = parts["head"].embed(cells, fused, [4, 0, 6])
    assert [len(rows) for rows in embeddings] == [4, 0, 6]
    assert_close(np.concatenate(embeddings), file["embeds"])


@pytest.mark.parametrize("boxes", [[0], [4], [3, 5], [0, 3]])
def test_levels_that_no_box_reads_are_left_out_without_a_change(case, boxes):
    variant, parts, file, levels, fused, _ = case
    chosen = torch.from_numpy(file["boxes"][boxes])
    wanted = box_levels(chosen, len(variant.strides)).unique().tolist()
    given = count_levels(parts["fusion"])
    with torch.inference_mode():
        pruned = parts["fusion"](levels, wanted)
    two = set(wanted)
    one = {level + step for level in wanted for step in (-1, 0, 1)} & set(range(5))
    assert given[1:] == [one, two]
    assert set(pruned) == two
    for level in wanted:
        torch.testing.assert_close(pruned[level], fused[level], rtol=0, atol=0)
    few = box_features(pruned, variant.strides, [chosen], variant.points)
    all_ = box_features(fused, variant.strides, [chosen], variant.points)
    torch.testing.assert_close(few, all_, rtol=0, atol=0)


def count_levels(fusion):
    """A list that gets the set of levels each block computes."""
    given = []
    for block in fusion.blocks:
        block.register_forward_pre_hook(lambda _, inputs: given.append(set(inputs[1])))
    return given


def test_proposals_are_the_official_ones(case):
    _, parts, _, _, fused, file = case
    with torch.inference_mode():
        for level, x in fused.items():
            logits, deltas = parts["objects"].proposals(x)
            assert_close(logits, file[f"rpn_cls_{level}"])
            assert_close(deltas, file[f"rpn_reg_{level}"])
        boxes, scores = parts["objects"].propose(list(fused.values()), PICTURE)
    assert_close(scores, file["proposal_scores"])
    assert_close(boxes, file["proposals"])


def test_boxes_of_objects_are_the_official_ones(case):
    _, parts, _, _, fused, file = case
    maps, objects = list(fused.values()), parts["objects"]
    with torch.inference_mode():
        cells = objects._read(maps, torch.from_numpy(file["proposals"]))
        logits, deltas = objects.boxes(cells)
        boxes, scores = objects(maps, PICTURE)
    assert_close(logits, file["rcnn_cls"])
    assert_close(deltas, file["rcnn_reg"])
    assert_close(scores, file["det_scores"])
    assert_close(boxes, file["det_boxes"])
