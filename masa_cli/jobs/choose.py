"""How a prompt is looked for: with which detector, which adapter, and which usual settings."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from masa_cli.detectors.prompt import Prompt, load_vocabulary
from masa_cli.detectors.request import (
    EVERYTHING,
    USUAL_OVERLAP,
    Choice,
    ClassChoice,
    ClassSearch,
    Everything,
    ObjectChoice,
    Proposals,
    TextSearch,
    plan_class_search,
    plan_search,
)
from masa_cli.detectors.request import MODEL as LITE
from masa_cli.errors import SettingsError, WeightsError
from masa_cli.models.adapter import resolve
from masa_cli.models.trained_weights import classes_of, default_changes, has_part
from masa_cli.models.variants import SAM_VARIANTS, VARIANTS
from masa_cli.tracking import SettingsChanges, find_tracker
from masa_cli.weights.manifest import find_row, find_weights, look_for, look_for_packaged

AUTO, GRABCUT, LEARNED = "auto", "grabcut", "lite"
SEGMENTER_NAMES = (AUTO, LEARNED, GRABCUT, *SAM_VARIANTS)
_SUFFIX = ".safetensors"  # of files of the learned one

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SegmenterPlan:
    """A segmenter whose file is there.

    Attributes:
        name: "grabcut", "lite", or a row of `SAM_VARIANTS`.
        weights: of `lite`, or of Segment Anything.
    """

    name: str
    weights: Path | None = None

    def __str__(self) -> str:
        sam = SAM_VARIANTS.get(self.name)
        return f"{sam.summary} ({self.weights})" if sam else self.name


def plan_segmenter(
    wanted: str, *, folder: Path | None = None, adapter: str = "", weights: Path | None = None
) -> SegmenterPlan:
    """The segmenter of that name.

    Args:
        wanted: one of `NAMES`, or the path of a file with Segment Anything, or `lite`'s masks,
            inside.
        folder: of weights, where the user named one.
        adapter: the variant that makes the embeddings; what its file has for masks is preferred,
            for then one network looks at the frame for both.
        weights: of that adapter.

    Raises:
        SettingsError: there is no such segmenter.
        WeightsError: its weights are not on this machine, or the file is another one.
    """
    if wanted == AUTO:
        plan = _best(folder, adapter, weights)
        logger.info("masks by %s", plan)
        return plan
    if wanted == GRABCUT:
        return SegmenterPlan(GRABCUT)
    if wanted == LEARNED:
        if own := _learned(adapter, weights):
            return own
        raise WeightsError(
            "the masks of lite are not in this installation",
            fix="install masa again, or use --segmenter grabcut",
        )
    if wanted in SAM_VARIANTS:
        return SegmenterPlan(wanted, find_weights(wanted, folder))
    file = Path(wanted)
    if not file.suffix and len(file.parts) == 1:
        raise SettingsError(
            f'unknown segmenter "{wanted}"',
            fix=f"use one of: {', '.join(SEGMENTER_NAMES)}; or a file with Segment Anything inside",
        )
    from masa_cli.models.published_weights import recognise_file

    name = recognise_file(file)
    if name == LEARNED:
        if own := masks_in(file):
            return own
        raise SettingsError(
            f"{file} was not trained to outline objects", fix="add masks with weights/masks.py"
        )
    if name not in SAM_VARIANTS:
        raise SettingsError(
            f"{file} holds the weights of {name}, in which there is no Segment Anything",
            fix=f"give a file of one of: {', '.join(SAM_VARIANTS)}",
        )
    return SegmenterPlan(name, file)


def _best(folder: Path | None, adapter: str, weights: Path | None) -> SegmenterPlan:
    if adapter in SAM_VARIANTS and weights:
        return SegmenterPlan(adapter, weights)
    for name in SAM_VARIANTS:
        if found := look_for(find_row(name), folder):
            return SegmenterPlan(name, found)
    return _learned(adapter, weights) or SegmenterPlan(GRABCUT)


def _learned(adapter: str, weights: Path | None) -> SegmenterPlan | None:
    """The masks of `lite` in the adapter's own file, or else in the one that comes with masa."""
    own = weights if adapter == LEARNED else None
    files = (own, look_for_packaged(LEARNED + _SUFFIX))
    return next((plan for file in files if file and (plan := masks_in(file))), None)


def masks_in(file: Path) -> SegmenterPlan | None:
    """The masks of `lite` in a file of weights that masa wrote, if they are there."""
    from masa_cli.models.lite_heads import PART
    from masa_cli.models.trained_weights import describe_trained, has_part

    is_own = describe_trained(file).variant == LEARNED and has_part(file, PART)
    return SegmenterPlan(LEARNED, file) if is_own else None


SAMS = tuple(name for name in SAM_VARIANTS if name in VARIANTS)
CLASS_AGNOSTIC_MODELS = (*SAMS, LITE)
_LITE_SCORE = 0.1  # of boxes of lite below which most are not worth a mask

# The scores of objects of any class are lower than those of a detector's: MASA's demo takes 0.1 for
# the beginning of a track.
_OBJECT_SCORES: SettingsChanges = MappingProxyType(
    {"hybrid": ("birth_score=0.1", "confident_score=0.1", "continue_score=0.02")}
)


class ChoiceGiven(NamedTuple):
    """What the user says of which objects are given on, see `ObjectChoice`; None: as is usual."""

    min_score: float | None
    max_overlap: float | None
    max_objects: int
    min_area: float

    def complete(self, usual_score: float, proposals: Proposals) -> ObjectChoice:
        """The choice, with what is usual for a model and for what its objects come from."""
        return ObjectChoice(
            usual_score if self.min_score is None else self.min_score,
            USUAL_OVERLAP[proposals] if self.max_overlap is None else self.max_overlap,
            self.max_objects,
            self.min_area,
        )


class EverythingPlan(NamedTuple):
    """How everything is looked for, and what goes with it.

    Attributes:
        search: for the detector.
        outlines: what makes the masks of what is found.
        usual: changes to the settings of associations that such boxes need.
    """

    search: Everything
    outlines: SegmenterPlan
    usual: SettingsChanges


def plan_everything(
    wanted: str | None, folder: Path | None, proposals: Proposals, given: ChoiceGiven
) -> EverythingPlan:
    """The plan, whose file is there.

    Args:
        wanted: of the user: name or file of a model.
        folder: of weights, where the user named one.
        proposals: where objects come from.
        given: which objects are given on.

    Raises:
        SettingsError: there is no such model, or it cannot find everything.
        WeightsError: its weights are not on this machine, or the file is none of these models.
    """
    choice = given.complete(ObjectChoice().min_score, proposals)
    names = f"use one of: {', '.join(CLASS_AGNOSTIC_MODELS)}; or the file of one"
    wanted = wanted or _suitable_model(folder, proposals)
    if wanted not in CLASS_AGNOSTIC_MODELS and not Path(wanted).suffix:
        raise SettingsError(f'--model: "{wanted}" cannot find everything', fix=names)
    model, weights = resolve(wanted, folder)
    if model not in CLASS_AGNOSTIC_MODELS or weights is None:
        raise SettingsError(
            f"--model: {wanted} holds the weights of {model}, which cannot find everything",
            fix=names,
        )
    if model == LITE:
        _check_lite(weights, proposals)
        search = Everything(model, weights, proposals, given.complete(_LITE_SCORE, proposals))
        return EverythingPlan(search, _outlines(weights), default_changes(weights))
    search = Everything(model, weights, proposals, choice)
    return EverythingPlan(search, SegmenterPlan(model, weights), _OBJECT_SCORES)


def _suitable_model(folder: Path | None, proposals: Proposals) -> str:
    """The model that is here; says which it is where that is not the best."""
    found = next((name for name in SAMS if look_for(find_row(name), folder)), None)
    if found or proposals == "grid":
        return found or SAMS[0]
    logger.info(
        "objects by %s; masks are finer and more is found with %s: masa weights pull %s",
        LITE,
        SAMS[0],
        SAMS[0],
    )
    return LITE


def _outlines(weights: Path) -> SegmenterPlan:
    """The masks in a file of `lite`; says so where there are none."""
    if own := masks_in(weights):
        return own
    logger.info("%s has no masks of its own: masks by %s", weights, GRABCUT)
    return SegmenterPlan(GRABCUT)


def _check_lite(weights: Path, proposals: Proposals) -> None:
    classes_of(weights)  # complains of a file that was not trained to find anything
    if not has_part(weights, "head"):
        raise WeightsError(
            f"{weights} was trained to find objects, not to tell them apart",
            fix=f"give a file with both, or use --model {LITE}",
        )
    if proposals == "grid":
        raise SettingsError(
            f"--proposals grid asks Segment Anything, but there is none in {LITE}",
            fix=f"leave it out, or use --model {SAMS[0]}",
        )


def plan_masks(segmenter: str | None, folder: Path | None, adapter: str) -> SegmenterPlan:
    """The segmenter for --masks; the one inside the adapter's file is preferred.

    Args:
        segmenter: of the user.
        folder: of weights, where the user named one.
        adapter: name or file.

    Raises:
        SettingsError, WeightsError: see `plan_segmenter` and `adapter.resolve`.
    """
    name, weights = adapter, None
    if adapter in SAM_VARIANTS or Path(adapter).suffix:
        from masa_cli.models.adapter import resolve

        name, weights = resolve(adapter, folder)
    return plan_segmenter(segmenter or AUTO, folder=folder, adapter=name, weights=weights)


AUTO_DETECTOR, TEXT, CLASSES = "auto", "gdino", "lite"


class Backend(NamedTuple):
    """A detector and why it was taken."""

    name: str
    reason: str


def choose_backend(
    *, has_text: bool, has_classes: bool, has_accelerator: bool, unknown: Sequence[str]
) -> Backend:
    """The detector for a prompt: the one that reads any words is slow without an accelerator.

    Args:
        has_text: whether the weights of the one that reads any words are on this machine.
        has_classes: whether those of the one with fixed classes are.
        has_accelerator: whether this machine has something faster than its processor.
        unknown: words of the prompt that stand for none of those classes.
    """
    if has_text and has_accelerator:
        return Backend(TEXT, "its weights and an accelerator are here")
    if has_text and unknown:
        return Backend(TEXT, f'{CLASSES} does not know "{unknown[0]}"')
    if has_classes:
        reason = "fast without an accelerator" if has_text else "it needs no download"
        return Backend(CLASSES, reason)
    return Backend(TEXT, f"there are no weights of {CLASSES}")


PROMPT, BY_CLASSES = "prompt", "classes"  # what finds the boxes
_TRAINED = ".safetensors"

# Grounding-DINO's scores are lower than other detectors': its authors take 0.35 for a find. These
# settings come before the user's own.
_USUAL_CHANGES: SettingsChanges = MappingProxyType(
    {
        "hybrid": ("birth_score=0.35", "confident_score=0.3"),
        "motion": ("birth_score=0.4", "confident_score=0.3"),
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
    usual: SettingsChanges


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
    if model == AUTO_DETECTOR:
        model = _suitable_detector(prompt, folder)
    if model == CLASSES or model.endswith(_TRAINED):
        return _class_plan(prompt, model, given)
    choice = replace(EVERYTHING if find_tracker(association).takes_all_boxes else Choice(), **given)
    search = plan_search(prompt, model, choice, folder)
    files = search.weights, search.vocabulary
    return PromptPlan(search, model, files, choice, "gdino", PROMPT, _USUAL_CHANGES)


def _class_plan(prompt: Prompt, model: str, given: Mapping[str, float]) -> PromptPlan:
    from masa_cli.models.trained_weights import classes_of, default_changes, has_part

    file = Path(model) if model.endswith(_TRAINED) else look_for_packaged(model + _TRAINED)
    if file is None:
        raise WeightsError(
            f"the weights of {model} do not come with this installation",
            fix="use --detector gdino, or a file that masa train run --recipe lite-detector wrote",
        )
    classes_of(file)  # an error before anything is loaded, if it has no detector
    choice = ClassChoice(**given)
    search = plan_class_search(prompt, load_vocabulary(), file, choice)
    adapter = model if has_part(file, "head") else "raw"  # some are trained to detect alone
    return PromptPlan(search, model, (file,), choice, adapter, BY_CLASSES, default_changes(file))


def _suitable_detector(prompt: Prompt, folder: Path | None) -> str:
    """The detector that suits prompt and machine; says which it is, and why."""
    has_text = look_for(find_row(TEXT), folder) is not None
    backend = choose_backend(
        has_text=has_text,
        has_classes=look_for_packaged(CLASSES + _TRAINED) is not None,
        has_accelerator=has_text and _has_accelerator(),
        unknown=load_vocabulary().unknown(prompt.classes),
    )
    logger.info("detector %s: %s", backend.name, backend.reason)
    return backend.name


def _has_accelerator() -> bool:
    from masa_cli.models.device import choose_device

    return choose_device("auto").type != "cpu"
