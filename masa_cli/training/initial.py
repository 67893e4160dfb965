"""The weights that training begins with."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from masa_cli.checkpoints import find_weights
from masa_cli.models.backbones import build_backbone, load_packaged
from masa_cli.models.checkpoint_file import load_parts
from masa_cli.models.network import build_parts
from masa_cli.models.one_stage import OneStage
from masa_cli.models.variants import find_variant
from masa_cli.training.objectives import Objective

# What differs from torch's own beginnings: standard deviations of weights, by their full names.
# Biases beside them are 0. A deformable convolution begins as an ordinary one.
_DEVIATIONS = (
    (r"fusion(\.coarse)?\.blocks\.\d+\.offset", 0.0),
    (r"head\.embedding", 0.01),
    (r"objects\.proposals\.\w+", 0.01),
    (r"objects\.boxes\.score", 0.01),
    (r"objects\.boxes\.deltas", 0.001),
)


def first_weights(
    variant: str,
    objectives: Sequence[Objective],
    classes: tuple[str, ...],
    *,
    start: Path | None,
    weights_dir: Path | None,
    seed: int,
) -> dict[str, nn.Module]:
    """All parts of a network, ready to be trained.

    Args:
        variant: a name in `variants.VARIANTS`.
        objectives: what is trained for; their parts come after "backbone", "neck", "fusion".
        classes: of the data.
        start: a file to go on from, published or trained; None: the backbone is that of the
            package or published file it comes in, all else begins at random.
        weights_dir: folder of weights, where the user named one.
        seed: of what begins at random.

    Raises:
        WeightsError: a file is missing, or not the variant's.
    """
    row = find_variant(variant)
    backbone = build_backbone(row.backbone)
    own = build_parts(row)
    with torch.device("meta"):
        parts = {"neck": own["neck"], "fusion": own["fusion"]} | {
            objective.part: objective.build(row, classes) for objective in objectives
        }
    if start is not None:
        load_parts(start, variant, {"backbone": backbone, **parts})
    else:
        if not load_packaged(row.backbone, backbone):
            load_parts(find_weights(variant, weights_dir), variant, {"backbone": backbone})
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            for name, part in parts.items():
                begin(part.to_empty(device="cpu"), name)
    return {"backbone": backbone, **parts}


@torch.no_grad()
def begin(part: nn.Module, name: str) -> None:
    """Draw the weights of a part that is called that."""
    for inner, module in part.named_modules():
        if not isinstance(reset := getattr(module, "reset_parameters", None), type(None)):
            reset()
        for pattern, deviation in _DEVIATIONS:
            if re.fullmatch(pattern, f"{name}.{inner}") and hasattr(module, "weight"):
                nn.init.normal_(module.weight, std=deviation)
                nn.init.zeros_(module.bias)
    if isinstance(part, OneStage):
        part.begin()
