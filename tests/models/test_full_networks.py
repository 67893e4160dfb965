"""Whole variants, from the picture to the embedding, against the official code.

The picture is noise, already "normalised"; the weights are those of the recipe.
"""

import json
import os
from fractions import Fraction

import numpy as np
import pytest
import torch

from masa_cli.models.adapter import build_adapter
from masa_cli.models.device import choose_placement, ready
from masa_cli.models.object_branch import ObjectFinder
from masa_cli.models.published_weights import load_parts
from masa_cli.models.sam import build_sam_features, build_sam_masks, image_embedding
from masa_cli.models.variants import VARIANTS
from masa_cli.structures import Detections, Frame
from masa_cli.tracking.masa import MasaSettings, MasaTracker
from tests.golden import assert_close, assert_samples_close, golden
from tests.recipe import recipe_input
from tests.tracking.frames import update

PARTS = {
    "r50": ("",),
    "gdino": ("detector.backbone.", "masa_adapter.", "track_head.", "rpn_head.", "roi_head."),
    "sam-b": ("",),
}
GOLDEN = {"r50": "full_r50", "gdino": "full_gdino", "sam-b": "full_sam_vitb"}
IMAGE = {"r50": "r50", "gdino": "gdino", "sam-b": "sam_vitb"}
SLOW = pytest.mark.skipif(
    "MASA_SLOW_TESTS" not in os.environ, reason="takes minutes; set MASA_SLOW_TESTS to run it"
)


@pytest.mark.parametrize("name", ["r50", "gdino", pytest.param("sam-b", marks=SLOW)])
def test_a_picture_of_noise_becomes_the_official_embeddings(name, published_file):
    file, variant = golden(f"full/{GOLDEN[name]}"), VARIANTS[name]
    weights = published_file(name, *PARTS[name])
    adapter = build_adapter(name, weights=weights, device="cpu")
    shape = tuple(int(side) for side in file["image_shape"])
    x, size = recipe_input(f"image/{IMAGE[name]}", shape), shape[2:]
    with torch.inference_mode():
        maps = adapter._pyramid.features.network(x)
        levels = adapter._pyramid._neck(maps)
        fused = adapter._pyramid._fusion(levels, range(5))
    for number, y in enumerate(maps):
        assert_samples_close(y, file, f"backbone_{number}")
    for level in range(5):
        assert_samples_close(levels[level], file, f"fpn_{level}")
        assert_samples_close(fused[level], file, f"fuse_{level}")

    boxes = file["boxes"]
    adapter._pyramid.features._prepare = lambda images: (x, size)
    blank = Frame(0, Fraction(0), np.zeros((*size, 3), np.uint8))
    assert_close(adapter.embed([blank], [boxes])[0], file["embeds"])

    with torch.device("meta"):
        objects = ObjectFinder(variant)
    load_parts(weights, name, {"objects": objects})
    ready(objects, *choose_placement("cpu", "float32"))
    with torch.inference_mode():
        proposals, scores = objects.propose(list(fused.values()), size)
        found, found_scores = objects(list(fused.values()), size)
    assert_close(scores[:200], file["proposal_scores"])
    # Two of SAM-B's scores differ by 1e-7, so their boxes may change places.
    apart = np.abs(np.asarray(proposals)[:, None] - file["proposals"]).max(axis=2).min(axis=0)
    assert apart.max() <= 2e-4 * file["proposals"].max()
    assert_close(found_scores, file["det_scores"])
    assert_close(found, file["det_boxes"])


def test_frames_become_the_embeddings_and_identities_of_the_official_demo(published_file):
    file = golden("full/e2e_r50")
    adapter = build_adapter("r50", weights=published_file("r50", ""), device="cpu")
    settings = json.loads(str(file["meta_json"]))["tracker"]
    tracker = MasaTracker(
        MasaSettings(
            birth_score=settings["init_score_thr"],
            continue_score=settings["obj_score_thr"],
            max_distance=settings["max_distance"],
            frame_rate=settings["fps"],
        )
    )
    for index in range(4):
        image = np.ascontiguousarray(file[f"f{index}/frame_bgr"][..., ::-1])
        frame = Frame(index, Fraction(index, 30), image)
        rows = file[f"f{index}/det"]
        found = Detections(rows[:, :4], rows[:, 4], file[f"f{index}/labels"])
        embeddings = adapter.embed([frame], [found.boxes])[0]
        assert_close(embeddings, file[f"f{index}/embeds"])
        tracks = update(tracker, index, 0.0, found, embeddings)
        np.testing.assert_array_equal(tracks.ids, file[f"f{index}/out_ids"] + 1)
        np.testing.assert_allclose(tracks.boxes, file[f"f{index}/out_boxes"], rtol=1e-6)


@SLOW
def test_boxes_become_the_official_masks_of_sam(published_file):
    file, name = golden("full/full_sam_vitb"), "sam-b"
    weights = published_file(name, "")
    features = build_sam_features(name, weights=weights, device="cpu")
    masks = build_sam_masks(name, weights, torch.device("cpu"))
    x = recipe_input("image/sam_vitb", tuple(int(side) for side in file["image_shape"]))
    features._prepare = lambda images: (x, x.shape[2:])
    blank = Frame(0, Fraction(0), np.zeros((1024, 1024, 3), np.uint8))
    boxes = torch.from_numpy(file["sam_boxes"])
    embedding = image_embedding(features, features.of([blank]))
    with torch.inference_mode():
        logits, quality = masks(embedding, boxes)
        sparse, _ = masks.prompt_encoder(points=None, boxes=boxes, masks=None)
        positions = masks.prompt_encoder.get_dense_pe()
    assert_samples_close(embedding, file, "sam_image_embedding")
    assert_samples_close(sparse, file, "sam_sparse")
    assert_samples_close(positions, file, "sam_dense_pe")
    assert_samples_close(logits[:, None], file, "sam_lowres")
    assert_close(quality[:, None], file["sam_iou"])
