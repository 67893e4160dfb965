"""The recipe of each variant, a row each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from masa_cli.errors import SettingsError
from masa_cli.models.variants import VARIANTS, find_variant
from masa_cli.training.contrast import ContrastSettings
from masa_cli.training.detection import DetectionSettings
from masa_cli.training.matching import MatchingSettings
from masa_cli.training.object_prior import ObjectPriorSettings
from masa_cli.training.recipe import OptimiserSettings, Recipe, RunSettings
from masa_cli.training.views import ViewSettings

_OBJECTIVES = MappingProxyType({"objects": ObjectPriorSettings(), "matching": MatchingSettings()})
_MASA = Recipe(_OBJECTIVES)
# For two CPU cores: small views, small batches, and objects that stay large enough to be seen. Dot
# products of embeddings of any length, as MASA has them, need thousands of steps before they begin
# to tell objects apart; cosines over a temperature, and AdamW, some dozens.
_LITE_MATCHING = MatchingSettings(
    draw=replace(MatchingSettings().draw, num_samples=256, positive_share=0.8),
    contrast=ContrastSettings(weight=1.0, temperature=VARIANTS["lite"].temperature),
    copies=3,
)
_LITE = Recipe(
    MappingProxyType(
        {
            "objects": ObjectPriorSettings(
                boxes=replace(ObjectPriorSettings().boxes, num_samples=128)
            ),
            "matching": _LITE_MATCHING,
        }
    ),
    views=ViewSettings(
        size=320,
        min_scale=0.8,
        max_scale=1.25,
        mix_chance=0.0,
        min_resize=0.6,
        max_resize=1.8,
        min_side=8.0,
        clips=True,
        min_visible=0.3,
    ),
    optimiser=OptimiserSettings(
        adam=True, lr=5e-4, lr_batch=8, weight_decay=0.01, warm_up_steps=50, cosine=True
    ),
    run=RunSettings(steps=3000, batch=8, part=8, save_every=50, validate_every=100, held_out=0.05),
    lets_through=True,
)

# The detector of `lite`, from boxes with classes. No view is turned or sheared: the box around a
# turned box is larger than the object, and the detector would learn to draw loose ones.
_LITE_DETECTOR = replace(
    _LITE,
    objectives=MappingProxyType({"detection": DetectionSettings()}),
    views=replace(_LITE.views, mosaic_chance=0.3, max_resize=2.5, max_rotation=0.0, max_shear=0.0),
    optimiser=OptimiserSettings(
        adam=True,
        lr=1e-3,
        lr_batch=8,
        weight_decay=0.05,
        warm_up_steps=100,
        cosine=True,
        backbone_lr=0.3,
        average=0.998,
    ),
)

RECIPES: Mapping[str, Recipe] = MappingProxyType(
    {
        "lite": _LITE,
        "lite-detector": _LITE_DETECTOR,
        "r50": replace(
            _MASA,
            objectives=MappingProxyType(
                {**_OBJECTIVES, "objects": ObjectPriorSettings(smooth=0.0)}
            ),
        ),
        "gdino": _MASA,
        "detic": _MASA,
        "sam-b": _MASA,
        "sam-h": _MASA,
    }
)


def find_recipe(variant: str, name: str | None = None) -> Recipe:
    """A recipe for a variant: its own, or another by its name, which begins with the variant's.

    Raises:
        SettingsError: there is no such variant, it has nothing to learn, or no such recipe.
    """
    if not find_variant(variant).trained:
        raise SettingsError(
            f'adapter "{variant}" has no weights to learn',
            fix=f"use one of: {', '.join(name for name, row in VARIANTS.items() if row.trained)}",
        )
    own = [each for each in RECIPES if each == variant or each.startswith(f"{variant}-detector")]
    if name is not None and name not in own:
        raise SettingsError(
            f'there is no recipe "{name}" for adapter "{variant}"',
            fix=f"use one of: {', '.join(own)}",
        )
    return RECIPES[name or variant]
