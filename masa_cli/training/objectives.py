"""What can be trained for, as data: a recipe names some of these rows, the loop knows none.

A new objective is one module with its settings and its losses, and one row here. Each trains a part
of its own on the maps that all share; an earlier one may leave proposals for a later one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from torch import Tensor, nn

from masa_cli.models.network import HEADS
from masa_cli.models.objects import ObjectFinder, ObjectSettings
from masa_cli.models.one_stage import OneStage
from masa_cli.models.variants import Variant
from masa_cli.training.detection import DetectionSettings, detection_losses
from masa_cli.training.matching import MatchingSettings, matching_losses
from masa_cli.training.object_prior import ObjectPriorSettings, object_prior_losses
from masa_cli.training.seen import Seen

Losses = Mapping[str, Tensor]


@dataclass(frozen=True, slots=True)
class Objective:
    """One thing to train for.

    Attributes:
        part: name of the part of the network that is trained, as in files of weights.
        build: makes it for a variant and the names of the classes in the data.
        losses: of a batch, weighed, by name; of the part, what is seen, the settings.
    """

    part: str
    build: Callable[[Variant, tuple[str, ...]], nn.Module]
    losses: Callable[[Any, Seen, Any], Losses]


OBJECTIVES: Mapping[type, Objective] = MappingProxyType(
    {
        DetectionSettings: Objective("detector", OneStage, detection_losses),
        ObjectPriorSettings: Objective(
            "objects",
            # As in MASA's training, more places are looked at than later.
            lambda variant, classes: ObjectFinder(variant, ObjectSettings(level_proposals=2000)),
            object_prior_losses,
        ),
        MatchingSettings: Objective(
            "head", lambda variant, classes: HEADS[variant.head](variant), matching_losses
        ),
    }
)
