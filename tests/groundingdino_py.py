"""groundingdino-py's own model, for comparison: without a hub, on weights that its names tell."""

import warnings
from unittest import mock

import torch
from transformers import BertConfig, BertModel, BertTokenizerFast

from tests.recipe import recipe_weight

with warnings.catch_warnings():
    warnings.simplefilter("ignore", FutureWarning)
    from groundingdino.models import build_model
    from groundingdino.models.GroundingDINO import groundingdino
    from groundingdino.util.slconfig import SLConfig

CONFIGURATIONS = {
    "gdino-swint": "GroundingDINO_SwinT_OGC.py",
    "gdino-swinb": "GroundingDINO_SwinB_cfg.py",
}


def build(name, vocabulary):
    """The model of that name, with recipe weights; what is there twice has one value."""
    folder = groundingdino.__file__.partition("models")[0]
    arguments = SLConfig.fromfile(f"{folder}config/{CONFIGURATIONS[name]}")
    arguments.device = "cpu"
    tokenizer = BertTokenizerFast(vocab_file=str(vocabulary))
    with mock.patch.multiple(
        groundingdino.get_tokenlizer,
        get_tokenlizer=lambda _: tokenizer,
        get_pretrained_language_model=lambda _: BertModel(BertConfig()),
    ):
        model = build_model(arguments).eval().requires_grad_(False)
    with torch.no_grad():
        for own, parameter in model.named_parameters():
            # The recipe keeps logits small by this norm; its name there begins with "detector.".
            published = own.replace("transformer.decoder.norm.", "detector.decoder.norm.")
            parameter.copy_(recipe_weight(published, tuple(parameter.shape)))
    return model


def published(model):
    """What the published file of such a model holds."""
    return {"model": {f"module.{name}": tensor for name, tensor in model.state_dict().items()}}
