"""Small models of the families that find masks for boxes, as transformers saves them."""

import json

import torch
from safetensors.torch import save_file
from transformers import (
    EdgeTamConfig,
    EdgeTamModel,
    Sam2Config,
    Sam2ImageProcessorFast,
    Sam2Model,
    SamConfig,
    SamHQConfig,
    SamHQModel,
    SamImageProcessor,
    SamModel,
)
from transformers.models.edgetam import configuration_edgetam as edgetam
from transformers.models.sam import configuration_sam as sam
from transformers.models.sam2 import configuration_sam2 as sam2
from transformers.models.sam_hq import configuration_sam_hq as sam_hq

SIDE = 128  # pixels of the input
_PROMPTS = {"hidden_size": 32, "image_size": SIDE, "patch_size": 16, "mask_input_channels": 8}
_DECODER = {
    "hidden_size": 32,
    "mlp_dim": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "iou_head_hidden_dim": 32,
}
_MAPS = [[32, 32], [16, 16], [8, 8]]


def sam2_model():
    trunk = sam2.Sam2HieraDetConfig(
        hidden_size=16,
        num_attention_heads=1,
        image_size=[SIDE, SIDE],
        blocks_per_stage=[1, 2, 2, 1],
        embed_dim_per_stage=[16, 32, 64, 128],
        num_attention_heads_per_stage=[1, 1, 2, 2],
        window_size_per_stage=[8, 4, 4, 4],
        global_attention_blocks=[4],
        window_positional_embedding_background_size=[4, 4],
    )
    vision = sam2.Sam2VisionConfig(
        backbone_config=trunk,
        backbone_channel_list=[128, 64, 32, 16],
        backbone_feature_sizes=_MAPS,
        fpn_hidden_size=32,
    )
    prompts, decoder = (
        sam2.Sam2PromptEncoderConfig(**_PROMPTS),
        sam2.Sam2MaskDecoderConfig(**_DECODER),
    )
    return Sam2Model(
        Sam2Config(vision_config=vision, prompt_encoder_config=prompts, mask_decoder_config=decoder)
    )


def edgetam_model():
    vision = edgetam.EdgeTamVisionConfig(
        backbone_config={
            "model_type": "timm_wrapper",
            "architecture": "repvit_m1",
            "do_pooling": True,
            "model_args": {"in_chans": 3, "features_only": True, "out_indices": [0, 1, 2, 3]},
        },
        backbone_channel_list=[384, 192, 96, 48],
        backbone_feature_sizes=_MAPS,
        fpn_hidden_size=32,
    )
    prompts = edgetam.EdgeTamPromptEncoderConfig(**_PROMPTS)
    decoder = edgetam.EdgeTamMaskDecoderConfig(**_DECODER)
    return EdgeTamModel(
        EdgeTamConfig(
            vision_config=vision, prompt_encoder_config=prompts, mask_decoder_config=decoder
        )
    )


def _vit(kind):
    return kind(
        hidden_size=32,
        output_channels=32,
        num_hidden_layers=4,
        num_attention_heads=2,
        image_size=SIDE,
        patch_size=16,
        window_size=4,
        global_attn_indexes=[1, 3],
        num_pos_feats=16,
        mlp_dim=64,
    )


def sam_model():
    return SamModel(
        SamConfig(
            vision_config=_vit(sam.SamVisionConfig),
            prompt_encoder_config=sam.SamPromptEncoderConfig(**_PROMPTS, image_embedding_size=8),
            mask_decoder_config=sam.SamMaskDecoderConfig(**_DECODER),
        )
    )


def sam_hq_model():
    return SamHQModel(
        SamHQConfig(
            vision_config=_vit(sam_hq.SamHQVisionConfig),
            prompt_encoder_config=sam_hq.SamHQPromptEncoderConfig(
                **_PROMPTS, image_embedding_size=8
            ),
            mask_decoder_config=sam_hq.SamHQMaskDecoderConfig(**_DECODER, vit_dim=32),
        )
    )


def _squashed():
    return Sam2ImageProcessorFast(size={"height": SIDE, "width": SIDE})


def _padded():
    return SamImageProcessor(size={"longest_edge": SIDE}, pad_size={"height": SIDE, "width": SIDE})


FAMILIES = {
    "sam": (sam_model, _padded),
    "sam_hq": (sam_hq_model, _padded),
    "sam2": (sam2_model, _squashed),
    "edgetam": (edgetam_model, _squashed),
}


def write_sam(folder, family):
    """The folder, with a model and its image processor."""
    build, process = FAMILIES[family]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = build().eval()
        for name, weight in model.named_parameters():
            # Enough that masks have parts inside and parts outside.
            if "weight" in name and weight.ndim > 1 and "timm" not in name:
                weight.data.normal_(std=weight[0].numel() ** -0.5)
    # Not `save_pretrained`: to save EdgeTAM, that asks the hub for its defaults.
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(model.config.to_dict(), default=str))
    save_file({k: v.clone() for k, v in model.state_dict().items()}, folder / "model.safetensors")
    process().save_pretrained(folder)
    return folder
