"""A file of `lite` as it is before the first step of training: all looks a little like anything."""

import torch

from masa_cli.detectors.prompt import load_vocabulary
from masa_cli.models.heads import WhitenedPartPooling
from masa_cli.models.lite_heads import PART, SECOND_PART, MaskHead, SecondStage
from masa_cli.models.trained_weights import ADAPTER_KEY, ASSOCIATION_KEY, CLASSES_KEY, save_trained
from masa_cli.models.variants import find_variant
from masa_cli.training.objectives import OBJECTIVES, initial_weights
from masa_cli.training.recipe import find_recipe

# As version 0.1.0 wrote it, of which the packaged file is.
HEAD = {"head": "white-stripes", "reads": "backbone", "temperature": 0.05}
# Untrained scores are 0.01 everywhere.
ALL = ["birth_score=0", "confirm_hits=1", "confident_score=0", "continue_score=0"]


def write_lite(
    file,
    *,
    recipe="lite-detector",
    with_head=True,
    with_masks=False,
    with_second=False,
    usual=None,
):
    recipe = find_recipe("lite", recipe)
    settings = recipe.objectives.values()
    classes = load_vocabulary().classes
    objectives = [OBJECTIVES[type(each)] for each in settings]
    parts = initial_weights(
        recipe.variant, objectives, classes, start=None, weights_dir=None, seed=0
    )
    about = {CLASSES_KEY: list(classes)} if "detector" in parts else {}
    if with_head and "detector" in parts:
        parts["head"] = WhitenedPartPooling(32)
        parts["head"].white.data = torch.diag(torch.linspace(0.5, 1.5, 32))
        about |= {ADAPTER_KEY: HEAD, ASSOCIATION_KEY: {"hybrid": ALL} if usual is None else usual}
    if with_masks:
        parts[PART] = MaskHead(find_variant("lite"))
    if with_second:
        torch.manual_seed(0)
        parts[SECOND_PART] = SecondStage(find_variant("lite"), len(classes))
    save_trained(file, recipe.variant, parts, about)
    return file
