"""Small detectors of transformers' families, with random weights, as transformers saves them."""

import json

import torch
import transformers as hf

VOCABULARY = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", "red", "hat", "dog", "a", "man")
NAMES = {0: "cat", 1: "person", 2: "traffic_light", 3: "N/A"}
_NAMED = {"id2label": NAMES, "label2id": {name: number for number, name in NAMES.items()}}
_RESNET = {
    "embedding_size": 8,
    "hidden_sizes": [8, 16, 32, 32],
    "depths": [1, 1, 1, 1],
    "out_features": ["stage2", "stage3", "stage4"],
}
_DETR = {
    "d_model": 32,
    "encoder_layers": 1,
    "decoder_layers": 2,
    "encoder_ffn_dim": 16,
    "decoder_ffn_dim": 16,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "num_queries": 7,
}
_TEXT = {"hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 2}
_SWIN = {"embed_dim": 8, "depths": [1, 1, 1, 1], "num_heads": [1, 1, 2, 2], "window_size": 4}


def resnet(*stages):
    return hf.ResNetConfig(**_RESNET | {"out_features": list(stages)})


def detr():
    config = hf.DetrConfig(
        **_DETR,
        **_NAMED,
        use_timm_backbone=False,
        use_pretrained_backbone=False,
        backbone_config=resnet("stage4"),
        backbone=None,
    )
    size = {"shortest_edge": 96, "longest_edge": 160}
    return hf.DetrForObjectDetection(config), hf.DetrImageProcessor(size=size)


def deformable_detr():
    config = hf.DeformableDetrConfig(
        **_DETR,
        **_NAMED,
        use_timm_backbone=False,
        use_pretrained_backbone=False,
        backbone_config=resnet("stage2", "stage3", "stage4"),
        backbone=None,
        num_feature_levels=4,
    )
    size = {"shortest_edge": 96, "longest_edge": 160}
    return hf.DeformableDetrForObjectDetection(config), hf.DeformableDetrImageProcessor(size=size)


def yolos():
    config = hf.YolosConfig(
        **_NAMED,
        **_TEXT,
        num_hidden_layers=2,
        image_size=[96, 160],
        patch_size=16,
        num_detection_tokens=7,
    )
    size = {"shortest_edge": 96, "longest_edge": 160}
    return hf.YolosForObjectDetection(config), hf.YolosImageProcessor(size=size)


def _rt_detr_settings(**further):
    backbone = hf.RTDetrResNetConfig(
        embedding_size=8,
        hidden_sizes=[8, 16, 32, 32],
        depths=[1, 1, 1, 1],
        out_features=["stage2", "stage3", "stage4"],
    )
    return {
        **_NAMED,
        "backbone_config": backbone,
        "encoder_hidden_dim": 16,
        "encoder_in_channels": [16, 32, 32],
        "feat_strides": [8, 16, 32],
        "encoder_ffn_dim": 16,
        "encoder_attention_heads": 2,
        "d_model": 16,
        "decoder_in_channels": [16, 16, 16],
        "decoder_ffn_dim": 16,
        "decoder_layers": 2,
        "decoder_attention_heads": 2,
        "decoder_n_points": 2,
        "num_queries": 7,
        "num_denoising": 0,
        **further,
    }


def _square():
    return hf.RTDetrImageProcessor(size={"height": 96, "width": 96})


def rt_detr():
    return hf.RTDetrForObjectDetection(hf.RTDetrConfig(**_rt_detr_settings())), _square()


def rt_detr_v2():
    return hf.RTDetrV2ForObjectDetection(hf.RTDetrV2Config(**_rt_detr_settings())), _square()


def d_fine():
    backbone = hf.HGNetV2Config(
        stem_channels=[3, 8, 8],
        hidden_sizes=[16, 16, 32, 32],
        stage_in_channels=[8, 16, 16, 32],
        stage_mid_channels=[8, 8, 8, 8],
        stage_out_channels=[16, 16, 32, 32],
        stage_num_blocks=[1, 1, 1, 1],
        stage_numb_of_layers=[1, 1, 1, 1],
        stage_downsample=[False, True, True, True],
        stage_light_block=[False, False, True, True],
        stage_kernel_size=[3, 3, 3, 3],
        out_features=["stage2", "stage3", "stage4"],
    )
    settings = _rt_detr_settings(
        backbone_config=backbone, decoder_n_points=[2, 2, 2], encoder_in_channels=[16, 32, 32]
    )
    return hf.DFineForObjectDetection(hf.DFineConfig(**settings)), _square()


def owl(version):
    kinds = {
        "owlvit": (hf.OwlViTConfig, hf.OwlViTForObjectDetection, hf.OwlViTImageProcessor),
        "owlv2": (hf.Owlv2Config, hf.Owlv2ForObjectDetection, hf.Owlv2ImageProcessor),
    }
    config, model, images = kinds[version]
    text = _TEXT | {"num_hidden_layers": 2, "vocab_size": 600, "max_position_embeddings": 16}
    vision = _TEXT | {"num_hidden_layers": 2, "image_size": 64, "patch_size": 16}
    made = config.from_text_vision_configs(text, vision)
    made.projection_dim = 16
    return model(made), images(size={"height": 64, "width": 64})


def grounding_dino(version="grounding-dino"):
    kinds = {
        "grounding-dino": (hf.GroundingDinoConfig, hf.GroundingDinoForObjectDetection),
        "mm-grounding-dino": (hf.MMGroundingDinoConfig, hf.MMGroundingDinoForObjectDetection),
    }
    config, model = kinds[version]
    text = hf.BertConfig(
        **_TEXT, num_hidden_layers=1, vocab_size=len(VOCABULARY), max_position_embeddings=64
    )
    made = config(
        **_DETR,
        backbone_config=hf.SwinConfig(
            **_SWIN, image_size=96, out_features=["stage2", "stage3", "stage4"]
        ),
        text_config=text,
        max_text_len=32,
        num_feature_levels=4,
        use_pretrained_backbone=False,
    )
    size = {"shortest_edge": 96, "longest_edge": 160}
    return model(made), hf.GroundingDinoImageProcessor(size=size)


def omdet():
    text = {**_TEXT, "num_hidden_layers": 1, "vocab_size": 600, "model_type": "clip_text_model"}
    text |= {"hidden_size": 24, "projection_dim": 24}
    made = hf.OmDetTurboConfig(
        text_config=text | {"max_position_embeddings": 77},
        backbone_config=hf.SwinConfig(
            **_SWIN, image_size=96, out_features=["stage2", "stage3", "stage4"]
        ),
        use_timm_backbone=False,
        backbone=None,
        backbone_feat_channels=[16, 32, 64],
        apply_layernorm_after_vision_backbone=False,
        image_size=96,
        encoder_hidden_dim=16,
        decoder_hidden_dim=16,
        encoder_in_channels=[16, 32, 64],
        vision_features_channels=[16, 16, 16],
        class_embed_dim=24,
        text_projection_in_dim=24,
        text_projection_out_dim=24,
        num_queries=7,
        encoder_dim_feedforward=16,
        decoder_dim_feedforward=16,
        encoder_attention_heads=2,
        decoder_num_heads=2,
        decoder_num_layers=2,
        task_encoder_hidden_dim=16,
        num_projection_layers=1,
    )
    images = hf.DetrImageProcessor(size={"height": 96, "width": 96})
    return hf.OmDetTurboForObjectDetection(made), images


CLOSED = {
    "detr": detr,
    "deformable_detr": deformable_detr,
    "yolos": yolos,
    "rt_detr": rt_detr,
    "rt_detr_v2": rt_detr_v2,
    "d_fine": d_fine,
}
OPEN = {
    "owlvit": lambda: owl("owlvit"),
    "owlv2": lambda: owl("owlv2"),
    "grounding-dino": grounding_dino,
    "mm-grounding-dino": lambda: grounding_dino("mm-grounding-dino"),
    "omdet-turbo": omdet,
}


def write(kind, folder):
    """A whole model with random weights, as `save_pretrained` writes it; the folder."""
    torch.manual_seed(2 if kind == "detr" else 0)  # with which it finds any of its classes
    folder.mkdir(parents=True)
    model, images = (CLOSED | OPEN)[kind]()
    model.eval().save_pretrained(folder)
    if kind in CLOSED:
        images.save_pretrained(folder)
    elif kind in ("grounding-dino", "mm-grounding-dino"):
        hf.GroundingDinoProcessor(images, bert_tokenizer(folder)).save_pretrained(folder)
    else:
        kinds = {"owlvit": hf.OwlViTProcessor, "owlv2": hf.Owlv2Processor}
        processor = kinds.get(kind, hf.OmDetTurboProcessor)
        length = 77 if kind == "omdet-turbo" else 16
        processor(images, clip_tokenizer(folder, length)).save_pretrained(folder)
    return folder


def bert_tokenizer(folder):
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY))
    return hf.BertTokenizerFast(str(folder / "vocab.txt"))


def clip_tokenizer(folder, length):
    """Every letter is a token."""
    from transformers.models.clip.tokenization_clip import bytes_to_unicode

    letters = list(bytes_to_unicode().values())
    words = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    numbers = {word: number for number, word in enumerate(words)}
    (folder / "vocab.json").write_text(json.dumps(numbers))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    files = str(folder / "vocab.json"), str(folder / "merges.txt")
    return hf.CLIPTokenizerFast(*files, model_max_length=length)
