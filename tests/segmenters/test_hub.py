"""Masks by models of transformers, against transformers itself."""

import json
import logging
from fractions import Fraction

import numpy as np
import pytest
import torch
from transformers import AutoImageProcessor, EdgeTamModel, Sam2Model, SamHQModel, SamModel

from masa_cli.errors import WeightsError
from masa_cli.models import SharedNetworks
from masa_cli.segmenters import SEGMENTERS, request_segmenter
from masa_cli.segmenters.hub import _processor
from masa_cli.segmenters.upsampling import WindowSettings
from masa_cli.structures import Frame
from tests.segmenters.test_lite import pixels_of
from tests.tiny_sam import FAMILIES, SIDE, edgetam_model, write_sam

MODELS = {"sam": SamModel, "sam_hq": SamHQModel, "sam2": Sam2Model, "edgetam": EdgeTamModel}
SIZE = (90, 160)
BOXES = np.float32([[10, 5, 70, 60], [100.5, 20, 159, 89], [30, 30, 50, 44], [0, 0, 160, 90]])


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """The folder of each family, made when it is asked for."""
    made = {}

    def folder(family):
        if family not in made:
            made[family] = write_sam(tmp_path_factory.mktemp(family), family)
        return made[family]

    return folder


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("asked the network")

    monkeypatch.setattr("requests.Session.request", refuse)


def frame(index=0, size=SIZE):
    image = np.random.default_rng(index).integers(0, 255, (*size, 3), np.uint8)
    return Frame(index, Fraction(index), image)


def segmenter_of(folder, **options):
    made = request_segmenter(f"hf:{folder}").build(SharedNetworks(device="cpu", **options))
    made._settings = WindowSettings(margin=100, speck_share=0)
    return made


def by_transformers(family, folder, image):
    """(boxes, H, W) logits in the frame, as the library makes them."""
    if family == "edgetam":  # what would be loaded from the folder asks the hub
        model = edgetam_model().eval()
        from safetensors.torch import load_file

        model.load_state_dict(load_file(folder / "model.safetensors"))
    else:
        model = MODELS[family].from_pretrained(folder).eval()
    padded = family in ("sam", "sam_hq")
    process = AutoImageProcessor.from_pretrained(folder, use_fast=not padded)
    given = process(image, return_tensors="pt")
    height, width = (72, 128) if padded else (SIDE, SIDE)
    scale = np.float32([width / image.shape[1], height / image.shape[0]] * 2)
    with torch.inference_mode():
        found = model(
            pixel_values=given["pixel_values"],
            input_boxes=torch.from_numpy(BOXES * scale)[None],
            multimask_output=False,
        ).pred_masks
        sizes = [image.shape[:2]]
        further = [[(72, 128)]] if padded else []
        return process.post_process_masks(found, sizes, *further, binarize=False)[0][:, 0]


@pytest.mark.parametrize("family", FAMILIES)
def test_masks_are_those_of_transformers(family, folders):
    folder = folders(family)
    seen = frame()
    masks = segmenter_of(folder, runtime="torch").segment(seen, BOXES)
    expected = by_transformers(family, folder, seen.image).numpy()
    for mask, logits in zip(masks, expected, strict=True):
        assert 0.02 < (logits > 0).mean() < 0.98  # there is something to tell
        apart = pixels_of(mask) != (logits > 0)
        # Only where the sign hangs on float noise.
        assert not apart[np.abs(logits) > 1e-4].any()


def test_openvino_computes_the_same(folders, caplog):
    caplog.set_level(logging.INFO)
    seen = frame()
    expected = segmenter_of(folders("sam2"), runtime="torch").segment(seen, BOXES)
    masks = segmenter_of(folders("sam2"), runtime="openvino").segment(seen, BOXES)
    assert "converting the encoder of hf:" in caplog.text
    assert "stays in torch" not in caplog.text
    for mask, other in zip(masks, expected, strict=True):
        assert (pixels_of(mask) != pixels_of(other)).mean() < 0.002


def test_the_encoder_looks_once_and_boxes_may_be_many(folders):
    segmenter = segmenter_of(folders("sam2"), runtime="torch")
    looks = []
    segmenter._encoder.register_forward_hook(lambda *_: looks.append(1))
    seen = frame()
    many = segmenter.segment(seen, np.concatenate([BOXES] * 3))
    few = segmenter.segment(seen, BOXES[:2])
    assert looks == [1]
    assert many[:2] == few
    assert len(many) == 12
    segmenter.segment(frame(1, (50, 70)), BOXES[:1])
    assert looks == [1, 1]


def test_boxes_without_area_and_outside_have_no_mask(folders):
    segmenter = segmenter_of(folders("sam2"), runtime="torch")
    boxes = np.float32([[20, 20, 20, 40], [200, 10, 260, 40], [-10, -10, 40, 40]])
    masks = segmenter.segment(frame(), boxes)
    assert masks[:2] == [None, None]
    assert masks[2] is not None
    assert segmenter.segment(frame(), boxes[:0]) == []


def test_a_file_of_the_video_model_is_used_for_images(folders, tmp_path):
    folder = write_sam(tmp_path / "video", "sam2")
    configuration = json.loads((folder / "config.json").read_text())
    configuration |= {"model_type": "sam2_video", "architectures": ["Sam2VideoModel"]}
    (folder / "config.json").write_text(json.dumps(configuration))
    expected = segmenter_of(folders("sam2"), runtime="torch").segment(frame(), BOXES)
    assert segmenter_of(folder, runtime="torch").segment(frame(), BOXES) == expected


def test_a_model_is_found_by_its_name(folders, tmp_path, monkeypatch):
    (tmp_path / "sam2.1-hiera-tiny").symlink_to(folders("sam2"))
    name = "hf:facebook/sam2.1-hiera-tiny"
    request = request_segmenter(name, folder=tmp_path)
    assert request.weights == tmp_path / "sam2.1-hiera-tiny" / "model.safetensors"
    assert str(request) == name
    assert [path.name for path in request.further] == ["config.json", "preprocessor_config.json"]

    monkeypatch.setattr(
        "huggingface_hub.try_to_load_from_cache",
        lambda repository, file, revision: (
            str(folders("sam2") / file)
            if (repository, revision) == ("facebook/sam2.1-hiera-tiny", "v1")
            else None
        ),
    )
    assert request_segmenter(f"{name}@v1").weights.parent == folders("sam2")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda folder: (folder / "model.safetensors").unlink(), "lacks model.safetensors"),
        (lambda folder: (folder / "config.json").write_text("{"), "cannot be read"),
        (
            lambda folder: (folder / "config.json").write_text('{"model_type": "detr"}'),
            'type "detr", which finds no masks for boxes',
        ),
    ],
)
def test_what_is_no_such_model_is_refused_before_it_is_loaded(tmp_path, change, problem):
    folder = write_sam(tmp_path / "model", "sam2")
    change(folder)
    with pytest.raises(WeightsError, match=problem):
        request_segmenter(f"hf:{folder}")


def test_a_model_that_is_not_here_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(WeightsError) as error:
        request_segmenter("hf:facebook/sam2.1-hiera-huge", folder=tmp_path)
    assert error.value.problem == "the model facebook/sam2.1-hiera-huge is not on this machine"
    assert error.value.fix.startswith("masa weights pull hf:facebook/sam2.1-hiera-huge")
    with pytest.raises(WeightsError, match="not on this machine"):
        request_segmenter("hf:", folder=tmp_path)


@pytest.mark.parametrize("squashes", [True, False])
def test_without_a_file_that_says_it_inputs_are_made_as_the_family_does_it(tmp_path, squashes):
    x = _processor(tmp_path, squashes=squashes)(frame().image, return_tensors="pt")["pixel_values"]
    assert x.shape == (1, 3, 1024, 1024)
    assert x[..., -1, :].any() == squashes  # the frame is wide: there is padding below


def test_other_weights_than_the_configuration_says_are_refused(folders, tmp_path):
    folder = write_sam(tmp_path / "mixed", "sam2")
    (folder / "model.safetensors").write_bytes((folders("sam") / "model.safetensors").read_bytes())
    with pytest.raises(WeightsError, match="its weights lack"):
        segmenter_of(folder)
    (folder / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(WeightsError, match="cannot be used"):
        segmenter_of(folder)


def test_the_form_is_told_where_names_are_listed():
    assert SEGMENTERS["hf"].written == "hf:MODEL"
