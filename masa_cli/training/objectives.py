"""What can be trained for, as data: a recipe names some of these rows, the loop knows none.

A new objective is one module with its settings and its losses, and one row here. Each trains a part
of its own on the maps that all share; an earlier one may leave proposals for a later one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

import torch
from torch import Tensor, nn

from masa_cli.models.adapter import HEADS, build_parts
from masa_cli.models.backbones import build_backbone, load_packaged
from masa_cli.models.heads import GRID, EmbeddingHead
from masa_cli.models.lite_heads import SECOND_PART, OneStage, SecondStage
from masa_cli.models.object_branch import ObjectFinder, ObjectSettings
from masa_cli.models.published_weights import load_parts
from masa_cli.models.variants import Variant, find_variant
from masa_cli.training.detection import (
    DetectionSettings,
    SecondStageLossSettings,
    detection_losses,
    second_stage_losses,
)
from masa_cli.training.matching import MatchingSettings, matching_losses
from masa_cli.training.object_prior import BatchFeatures, ObjectPriorSettings, object_prior_losses
from masa_cli.weights.manifest import find_weights

Losses = Mapping[str, Tensor]


@dataclass(frozen=True, slots=True)
class Objective:
    """One thing to train for.

    Attributes:
        part: name of the part of the network that is trained, as in files of weights.
        build: makes it for a variant and the names of the classes in the data.
        losses: of a batch, weighed, by name; of the part, the features, the settings.
    """

    part: str
    build: Callable[[Variant, tuple[str, ...]], nn.Module]
    losses: Callable[[Any, BatchFeatures, Any], Losses]


OBJECTIVES: Mapping[type, Objective] = MappingProxyType(
    {
        DetectionSettings: Objective("detector", OneStage, detection_losses),
        SecondStageLossSettings: Objective(
            SECOND_PART,
            lambda variant, classes: SecondStage(variant, len(classes)),
            second_stage_losses,
        ),
        ObjectPriorSettings: Objective(
            "objects",
            # As in MASA's training, more candidates are looked at than later.
            lambda variant, classes: ObjectFinder(variant, ObjectSettings(level_proposals=2000)),
            object_prior_losses,
        ),
        MatchingSettings: Objective(
            "head", lambda variant, classes: HEADS[variant.head](variant), matching_losses
        ),
    }
)


# What differs from torch's own beginnings: standard deviations of weights, by their full names.
# Biases beside them are 0. A deformable convolution begins as an ordinary one.
_DEVIATIONS = (
    (r"fusion(\.coarse)?\.blocks\.\d+\.offset", 0.0),
    (r"head\.embedding", 0.01),
    (r"objects\.proposals\.\w+", 0.01),
    (r"objects\.boxes\.score", 0.01),
    (r"objects\.boxes\.deltas", 0.001),
)


def initial_weights(
    variant: str,
    objectives: Sequence[Objective],
    classes: tuple[str, ...],
    *,
    start: Path | None,
    weights_dir: Path | None,
    seed: int,
    identity_init: bool = False,
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
        identity_init: whether neck, fusion and head then begin as the identity, not at random.

    Raises:
        WeightsError: a file is missing, or not the variant's.
    """
    row = find_variant(variant)
    backbone = build_backbone(row.backbone)
    own = build_parts(row, "neck", "fusion")
    with torch.device("meta"):
        parts = own | {each.part: each.build(row, classes) for each in objectives}
    if start is not None:
        load_parts(start, variant, {"backbone": backbone, **parts})
    else:
        if not load_packaged(row.backbone, backbone):
            load_parts(find_weights(variant, weights_dir), variant, {"backbone": backbone})
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            for name, part in parts.items():
                initialise(part.to_empty(device="cpu"), name)
                if identity_init and name in _IDENTITY_INITS:
                    _IDENTITY_INITS[name](part)
    return {"backbone": backbone, **parts}


@torch.no_grad()
def initialise(part: nn.Module, name: str) -> None:
    """Draw the weights of a part that is called that."""
    for inner, module in part.named_modules():
        if callable(reset := getattr(module, "reset_parameters", None)):
            reset()
        for pattern, deviation in _DEVIATIONS:
            if re.fullmatch(pattern, f"{name}.{inner}") and hasattr(module, "weight"):
                nn.init.normal_(module.weight, std=deviation)
                nn.init.zeros_(module.bias)
    if isinstance(part, OneStage | SecondStage):
        part.initialise()


@torch.no_grad()
def _init_maps_as_identity(part: nn.Module) -> None:
    """Neck and fusion: 3x3 convolutions begin as the identity, 1x1 as rotations.

    Then all levels of the pyramid show the same things in the same channels, and a box looks alike
    from whichever it is read. Begun at random, levels have nothing in common: regions found again
    were 58 % behind the fusion, and 82 % with this (tests/benchmarks/first_weights.py).
    """
    for module in part.modules():
        if not isinstance(module, nn.Conv2d):
            continue
        if module.kernel_size == (1, 1):
            nn.init.orthogonal_(module.weight)
        elif module.in_channels == module.out_channels:
            nn.init.dirac_(module.weight)


@torch.no_grad()
def _init_head_as_part_pooling(part: nn.Module) -> None:
    """The head: rows of a box are told apart, columns not, so a mirror image looks alike."""
    head = cast(EmbeddingHead, part)
    for conv in head.convs:
        nn.init.dirac_(conv.conv.weight)  # type: ignore[union-attr, arg-type] # a ConvNorm
    hidden = head.hidden
    rows = torch.randn(hidden.out_features, hidden.in_features // GRID, 1)  # (O, C*7, 1)
    deviation = (2 / hidden.in_features * GRID) ** 0.5 / GRID  # keeps the size of what goes in
    hidden.weight.copy_((rows * deviation).expand(-1, -1, GRID).flatten(1))
    nn.init.zeros_(hidden.bias)
    nn.init.orthogonal_(head.embedding.weight)


_IDENTITY_INITS: Mapping[str, Callable[[nn.Module], None]] = MappingProxyType(
    {
        "neck": _init_maps_as_identity,
        "fusion": _init_maps_as_identity,
        "head": _init_head_as_part_pooling,
    }
)
