"""How a prompt is looked for: with which detector, which adapter, and which usual settings."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

from masa_cli.association import PRESETS
from masa_cli.checkpoints.manifest import find_row
from masa_cli.checkpoints.packaged import look_for_packaged
from masa_cli.checkpoints.places import look_for
from masa_cli.detectors.backend import AUTO, choose_backend
from masa_cli.detectors.backend import CLASSES as CLASS_MODEL
from masa_cli.detectors.backend import TEXT as TEXT_MODEL
from masa_cli.detectors.class_search import ClassChoice, ClassSearch, plan_class_search
from masa_cli.detectors.prompt import Prompt
from masa_cli.detectors.text_search import EVERYTHING, Choice, TextSearch, plan_search
from masa_cli.detectors.vocabulary import load_vocabulary
from masa_cli.errors import WeightsError
from masa_cli.trackers import HYBRID, MOTION
from masa_cli.usual import UsualChanges

logger = logging.getLogger(__name__)

PROMPT, BY_CLASSES = "prompt", "classes"  # what finds the boxes
_TRAINED = ".safetensors"

# Grounding-DINO's scores are lower than other detectors': its authors take 0.35 for a find. These
# settings come before the user's own.
_USUAL_CHANGES: UsualChanges = MappingProxyType(
    {
        HYBRID: ("birth_score=0.35", "confident_score=0.3"),
        MOTION: ("birth_score=0.4", "confident_score=0.3"),
    }
)


@dataclass(frozen=True, slots=True)
class PromptPlan:
    """How a prompt is looked for, and what goes with it.

    Attributes:
        search: for the detector.
        model: its name, or its file.
        files: that it reads.
        choice: which boxes are given on.
        adapter: the one to use unless the user chooses.
        found_by: what finds the boxes.
        usual: changes to the settings of associations that such boxes need.
    """

    search: TextSearch | ClassSearch
    model: str
    files: tuple[Path, ...]
    choice: Choice | ClassChoice
    adapter: str
    found_by: str
    usual: UsualChanges


def plan_prompt(
    prompt: Prompt, model: str, given: Mapping[str, float], folder: Path | None, association: str
) -> PromptPlan:
    """The plan for a prompt.

    Args:
        prompt: what to look for.
        model: name of a detector, file of a trained one, or "auto".
        given: settings of the choice that the user gave.
        folder: of weights, where the user named one.
        association: name of the tracker's preset.

    Raises:
        MasaError: there is no such detector, it does not know the words, or a file is missing.
    """
    if model == AUTO:
        model = _suitable(prompt, folder)
    if model == CLASS_MODEL or model.endswith(_TRAINED):
        return _class_plan(prompt, model, given)
    choice = replace(EVERYTHING if association in PRESETS else Choice(), **given)
    search = plan_search(prompt, model, choice, folder)
    files = search.weights, search.vocabulary
    return PromptPlan(search, model, files, choice, "gdino", PROMPT, _USUAL_CHANGES)


def _class_plan(prompt: Prompt, model: str, given: Mapping[str, float]) -> PromptPlan:
    from masa_cli.models.trained_file import has_part, usual_changes  # noqa: PLC0415 - imports torch

    file = Path(model) if model.endswith(_TRAINED) else look_for_packaged(model + _TRAINED)
    if file is None:
        raise WeightsError(
            f"the weights of {model} do not come with this installation",
            fix="use --detector gdino, or a file that masa train run --recipe lite-detector wrote",
        )
    choice = ClassChoice(**given)
    search = plan_class_search(prompt, load_vocabulary(), file, choice)
    adapter = model if has_part(file, "head") else "raw"  # some are trained to detect alone
    return PromptPlan(search, model, (file,), choice, adapter, BY_CLASSES, usual_changes(file))


def _suitable(prompt: Prompt, folder: Path | None) -> str:
    """The detector that suits prompt and machine; says which it is, and why."""
    has_text = look_for(find_row(TEXT_MODEL), folder) is not None
    backend = choose_backend(
        has_text=has_text,
        has_classes=look_for_packaged(CLASS_MODEL + _TRAINED) is not None,
        has_accelerator=has_text and _has_accelerator(),
        unknown=load_vocabulary().unknown(prompt.classes),
    )
    logger.info("detector %s: %s", backend.name, backend.reason)
    return backend.name


def _has_accelerator() -> bool:
    from masa_cli.models.device import choose_device  # noqa: PLC0415 - imports torch

    return choose_device("auto").type != "cpu"
