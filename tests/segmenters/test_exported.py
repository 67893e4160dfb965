"""Masks by exported encoders and decoders, against what they were exported from."""

import logging
import warnings
from fractions import Fraction

import numpy as np
import pytest
import torch
from segment_anything import SamPredictor
from segment_anything.modeling import (
    ImageEncoderViT,
    MaskDecoder,
    PromptEncoder,
    Sam,
    TwoWayTransformer,
)
from segment_anything.utils.onnx import SamOnnxModel
from torch import nn

from masa_cli.errors import SettingsError, WeightsError
from masa_cli.models import SharedNetworks
from masa_cli.segmenters import request_segmenter
from masa_cli.segmenters.exported import understood
from masa_cli.segmenters.upsampling import WindowSettings
from masa_cli.structures import Frame
from tests.segmenters.test_lite import pixels_of
from tests.tiny_sam import SIDE, sam2_model

SIZE = (72, 128)  # so that nothing is resized, which each does in its own way
BOXES = np.float32([[10, 5, 70, 60], [60.5, 20, 127, 70], [30, 30, 50, 44]])


def tiny_sam():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        sam = Sam(
            ImageEncoderViT(
                img_size=SIDE,
                embed_dim=32,
                depth=2,
                num_heads=2,
                out_chans=32,
                window_size=4,
                global_attn_indexes=(1,),
                use_rel_pos=True,
            ),
            PromptEncoder(32, (8, 8), (SIDE, SIDE), 8),
            MaskDecoder(
                transformer_dim=32,
                transformer=TwoWayTransformer(2, 32, num_heads=2, mlp_dim=64),
                iou_head_hidden_dim=32,
            ),
        )
        return sharpened(sam.eval())


def sharpened(model):
    """With weights that give masks parts inside and parts outside."""
    for name, weight in model.named_parameters():
        if "weight" in name and weight.ndim > 1:
            weight.data.normal_(std=weight[0].numel() ** -0.5)
    return model


def export(model, file, inputs, outputs, dynamic=None):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model,
            tuple(inputs.values()),
            str(file),
            opset_version=17,
            input_names=list(inputs),
            output_names=outputs,
            dynamic_axes=dynamic,
            dynamo=False,
        )
    return file


class RawImages(nn.Module):
    """An encoder that takes bytes (H, W, 3), as some exports do."""

    def __init__(self, sam):
        super().__init__()
        self.sam = sam

    def forward(self, image):
        x = self.sam.preprocess(image.permute(2, 0, 1))
        return self.sam.image_encoder(x[None])


@pytest.fixture(scope="module")
def exports(tmp_path_factory):
    """A small Segment Anything, and its files."""
    folder, sam = tmp_path_factory.mktemp("exported"), tiny_sam()
    export(
        sam.image_encoder,
        folder / "encoder.onnx",
        {"image": torch.rand(1, 3, SIDE, SIDE)},
        ["image_embeddings"],
    )
    export(RawImages(sam), folder / "raw.onnx", {"input_image": torch.rand(*SIZE, 3)}, ["embed"])
    inputs = {
        "image_embeddings": torch.rand(1, 32, 8, 8),
        "point_coords": torch.rand(1, 5, 2) * 100,
        "point_labels": torch.randint(0, 4, (1, 5)).float(),
        "mask_input": torch.rand(1, 1, 32, 32),
        "has_mask_input": torch.ones(1),
        "orig_im_size": torch.tensor([90.0, 160]),
    }
    dynamic = {"point_coords": {1: "n"}, "point_labels": {1: "n"}}
    outputs = ["masks", "iou_predictions", "low_res_masks"]
    for single in (True, False):
        model = SamOnnxModel(sam, return_single_mask=single)
        file = folder / f"decoder_{'one' if single else 'four'}.onnx"
        export(model, file, inputs, outputs, dynamic)

    class Large(SamOnnxModel):
        """Gives no small masks."""

        def forward(self, *args):
            return super().forward(*args)[:2]

    export(Large(sam, True), folder / "decoder_large.onnx", inputs, outputs[:2], dynamic)
    return folder, sam


def frame(index=0, size=SIZE):
    image = np.random.default_rng(index).integers(0, 255, (*size, 3), np.uint8)
    return Frame(index, Fraction(index), image)


def segmenter_of(*files):
    wanted = ",".join(map(str, files))
    made = request_segmenter(wanted).build(SharedNetworks(device="cpu"))
    made._settings = WindowSettings(margin=100, speck_share=0)
    return made


def by_sam(sam, image, boxes, multimask):
    """(N, H, W) logits, as segment-anything makes them."""
    predictor = SamPredictor(sam)
    predictor.transform.target_length = SIDE
    predictor.set_image(image)
    masks, quality, _ = predictor.predict_torch(
        None, None, torch.from_numpy(boxes), multimask_output=multimask, return_logits=True
    )
    best = quality.argmax(1) if multimask else torch.zeros(len(boxes), dtype=torch.long)
    return masks[torch.arange(len(boxes)), best].numpy()


def assert_same(masks, logits):
    for mask, own in zip(masks, logits, strict=True):
        assert 0.005 < (own > 0).mean() < 0.995  # there is something to tell
        apart = pixels_of(mask) != (own > 0)
        assert not apart[np.abs(own) > 0.01 * np.abs(own).max()].any()


@pytest.mark.parametrize("encoder", ["encoder.onnx", "raw.onnx"])
@pytest.mark.parametrize("decoder", ["one", "four", "large"])
def test_masks_are_those_of_segment_anything(exports, encoder, decoder):
    folder, sam = exports
    seen = frame()
    made = segmenter_of(folder / encoder, folder / f"decoder_{decoder}.onnx")
    # For a box, the official export that gives one mask takes the best of three.
    expected = by_sam(sam, seen.image, BOXES, multimask=decoder != "four")
    assert_same(made.segment(seen, BOXES), expected)


def test_other_sizes_are_fitted_to_the_encoder(exports):
    folder, _ = exports
    large = Frame(0, Fraction(0), np.repeat(np.repeat(frame().image, 2, 0), 2, 1))
    files = folder / "encoder.onnx", folder / "decoder_four.onnx"
    masks = segmenter_of(*files).segment(large, BOXES * 2)
    halves = [pixels_of(mask)[::2, ::2] for mask in masks]
    expected = [pixels_of(mask) for mask in segmenter_of(*files).segment(frame(), BOXES)]
    for half, other in zip(halves, expected, strict=True):
        assert (half == other).mean() > 0.93


class Encoder2(nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, pixel_values):
        return tuple(self.model.get_image_embeddings(pixel_values))


class Decoder2(nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, points, labels, *maps):
        found = self.model(
            image_embeddings=list(maps),
            input_points=points,
            input_labels=labels,
            multimask_output=True,
        )
        return found.iou_scores, found.pred_masks, found.object_score_logits


@pytest.fixture(scope="module")
def exports_of_sam2(tmp_path_factory):
    """A small SAM 2, and its files as transformers' exporters name things."""
    folder = tmp_path_factory.mktemp("exported2")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        model = sharpened(sam2_model().eval())
    maps = [f"image_embeddings.{level}" for level in range(3)]
    x = torch.rand(1, 3, SIDE, SIDE)
    export(Encoder2(model), folder / "vision_encoder.onnx", {"pixel_values": x}, maps)
    inputs = {
        "input_points": torch.rand(1, 3, 2, 2) * 100,
        "input_labels": torch.ones(1, 3, 2, dtype=torch.int64),
    } | dict(zip(maps, Encoder2(model)(x), strict=True))
    outputs = ["iou_scores", "pred_masks", "object_score_logits"]
    dynamic = {"input_points": {1: "n", 2: "k"}, "input_labels": {1: "n", 2: "k"}}
    decoder = folder / "prompt_encoder_mask_decoder.onnx"
    export(Decoder2(model), decoder, inputs, outputs, dynamic)
    return folder, model


def test_masks_are_those_of_sam_2(exports_of_sam2):
    folder, model = exports_of_sam2
    files = folder / "vision_encoder.onnx", folder / "prompt_encoder_mask_decoder.onnx"
    # A square, which is not resized; five boxes are more than fit one call.
    seen, boxes = frame(size=(SIDE, SIDE)), np.concatenate([BOXES, BOXES[:2] + 1])
    x = seen.image.astype(np.float32) / 255
    x = (x - np.float32([0.485, 0.456, 0.406])) / np.float32([0.229, 0.224, 0.225])
    with torch.inference_mode():
        found = model(
            pixel_values=torch.from_numpy(x).permute(2, 0, 1)[None],
            input_points=torch.from_numpy(boxes).view(1, -1, 2, 2),
            input_labels=torch.tensor([[[2, 3]] * len(boxes)]),
            multimask_output=True,
        )
        best = found.iou_scores[0].argmax(1)
        small = found.pred_masks[0, torch.arange(len(boxes)), best]
        logits = nn.functional.interpolate(small[None], (SIDE, SIDE), mode="bilinear")[0]
    assert_same(segmenter_of(*files).segment(seen, boxes), logits.numpy())


def test_what_the_files_are_is_told(exports, exports_of_sam2, caplog):
    caplog.set_level(logging.INFO)
    one = understood(exports[0] / "encoder.onnx", exports[0] / "decoder_one.onnx")
    assert (one.side, one.prompt_side, one.squashes) == (SIDE, SIDE, False)
    assert not one.takes_several
    assert not one.in_frame
    folder = exports_of_sam2[0]
    two = understood(folder / "vision_encoder.onnx", folder / "prompt_encoder_mask_decoder.onnx")
    assert two.squashes
    assert two.takes_several
    assert dict(two.maps) == {f"image_embeddings.{level}": level for level in range(3)}
    assert "SAM 2, input 128 x 128" in caplog.text


def test_boxes_without_area_have_no_mask_and_a_frame_is_encoded_once(exports):
    folder, _ = exports
    made = segmenter_of(folder / "encoder.onnx", folder / "decoder_one.onnx")
    looks, encoder = [], made._encoder
    made._encoder = lambda inputs: looks.append(1) or encoder(inputs)
    boxes = np.float32([[20, 20, 20, 40], [200, 10, 260, 40], [-10, -10, 40, 40]])
    masks = made.segment(frame(), boxes)
    assert [mask is None for mask in masks] == [True, True, False]
    assert made.segment(frame(), boxes[:0]) == []
    made.segment(frame(), boxes)
    assert looks == [1]


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        (("encoder.onnx", "none.onnx"), "none.onnx is not a file"),
        (("decoder_one.onnx", "encoder.onnx"), "takes no image alone, as an encoder does: image_"),
        (("encoder.onnx", "encoder.onnx"), "takes no points, as a decoder does: image"),
        (("encoder.onnx", "broken.onnx"), "broken.onnx cannot be read"),
        (("other.onnx", "decoder_one.onnx"), "asks for other maps than other.onnx gives"),
    ],
)
def test_files_that_do_not_fit_are_refused_by_name(exports, files, problem):
    folder, _ = exports
    (folder / "broken.onnx").write_bytes(b"broken")
    if not (folder / "other.onnx").exists():
        export(nn.Conv2d(3, 3, 3), folder / "other.onnx", {"x": torch.rand(1, 3, 64, 64)}, ["y"])
    with pytest.raises(WeightsError) as error:
        request_segmenter(",".join(str(folder / name) for name in files))
    assert problem in error.value.problem


@pytest.mark.parametrize("wanted", ["a.onnx", "a.onnx,b.onnx,c.onnx"])
def test_two_files_are_wanted(wanted):
    with pytest.raises(SettingsError, match="expected two files of ONNX"):
        request_segmenter(wanted)
