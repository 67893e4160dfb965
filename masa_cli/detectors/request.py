"""Which detector suits what is asked, and a request for it whose files are all there. No torch."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from masa_cli.detectors import (
    DEFAULT_PROPOSALS,
    DETECTORS,
    OWN_WEIGHTS,
    WORDS,
    BoxSettings,
    DetectorRequest,
    DetectorRow,
    ModelOptions,
    Proposals,
    detectors_taking,
)
from masa_cli.detectors.plug_in import installed_plug_ins
from masa_cli.detectors.prompt import Prompt, load_vocabulary, nothing_wanted
from masa_cli.errors import SettingsError, WeightsError
from masa_cli.tracking import DEFAULT, find_tracker
from masa_cli.weights.manifest import find_row, find_weights, look_for, look_for_packaged

AUTO = "auto"
OBJECT = "object"  # the one class of what is class-agnostic
_PACKAGED_SUFFIX = ".safetensors"
_NO_OPTIONS = ModelOptions()

logger = logging.getLogger(__name__)


def request_prompt(
    prompt: Prompt | None,
    wanted: str = AUTO,
    settings: Mapping[str, Any] | None = None,
    *,
    folder: Path | None = None,
    association: str = DEFAULT,
    options: ModelOptions = _NO_OPTIONS,
) -> DetectorRequest:
    """The request for a detector of what a prompt says.

    Args:
        prompt: what to look for; None: all that a detector with classes of its own finds.
        wanted: name of a detector, file of one, "prefix:model", or "auto".
        settings: of the post-processing that the user gave, by name.
        folder: of weights, where the user named one.
        association: name of a tracker; some take the boxes unfiltered.
        options: what the user says of the model.

    Raises:
        MasaError: there is no such detector, it does not know the words, or a file is missing.
    """
    if prompt is None and wanted == AUTO:
        raise nothing_wanted()
    rows = detectors_taking(*WORDS)
    row, model, weights = _named_by(wanted, rows, prompt, folder)
    if prompt is None and "classes" not in row.takes:
        raise nothing_wanted()
    _check_options(row, options)
    asked = dict(settings or {})
    return _request(
        row,
        prompt,
        weights,
        replace(settings_for(row, association), **asked),
        folder,
        model=model,
        options=options,
        asked=asked,
    )


def _named_by(
    wanted: str, rows: Sequence[DetectorRow], prompt: Prompt | None, folder: Path | None
) -> tuple[DetectorRow, str, Path | None]:
    """The row that is wanted, which of its models, and the file of its weights."""
    if wanted == AUTO:
        return _suitable(prompt, rows, folder) if prompt else rows[0], "", None
    for row in rows:
        if row.prefix and wanted.startswith(row.prefix):
            return row, wanted.removeprefix(row.prefix), None
        if row.suffix and wanted.lower().endswith(row.suffix):
            return row, "", Path(wanted)
        if row.name == wanted and not row.form:
            return row, "", None
    if ":" in wanted or wanted in installed_plug_ins():
        return DETECTORS["plug-in"], wanted, None
    known = ", ".join(row.written for row in rows)
    if wanted.lower().endswith((".pt", ".pth")):
        raise SettingsError(
            f"{wanted} can be read only by the program that wrote it",
            fix="export it to ONNX with that program, and give the .onnx file: --detector",
        )
    raise SettingsError(f'unknown detector "{wanted}"', fix=f"use one of: {known}")


def _check_options(row: DetectorRow, options: ModelOptions) -> None:
    """Raise SettingsError for what the model of this row is not asked."""
    takes = {"onnx": ("--names", "--onnx-layout"), "torchvision": ("--names",)}.get(row.name, ())
    given = {"--names": options.names, "--onnx-layout": options.layout}
    unfit = [option for option, each in given.items() if each is not None and option not in takes]
    for option in unfit:
        raise SettingsError(
            f"{option} tells of an exported detector, but {row.written} is none",
            fix=f"leave out {option}, or give the file: --detector FILE.onnx",
        )


def request_objects(
    wanted: str | None,
    settings: Mapping[str, Any] | None = None,
    *,
    proposals: Proposals = DEFAULT_PROPOSALS,
    folder: Path | None = None,
) -> DetectorRequest:
    """The request for a class-agnostic detector.

    Args:
        wanted: name of a model, or a file of its weights; None: the best that is here.
        settings: of the post-processing that the user gave, by name.
        proposals: where objects come from, see `DetectorRow`.
        folder: of weights, where the user named one.

    Raises:
        SettingsError: there is no such model, or it is not class-agnostic.
        WeightsError: its weights are not on this machine, or the file is none of these models.
    """
    rows = detectors_taking("nothing")
    weights = None
    if wanted is None:
        row = _suitable_for_objects([each for each in rows if each.proposals == proposals], folder)
    elif known := _named(wanted, rows, proposals):
        row = known
    else:
        row, weights = _of_file(wanted, rows, proposals)
    return _request(row, None, weights, replace(row.settings, **settings or {}), folder)


def settings_for(row: DetectorRow, association: str) -> BoxSettings:
    """The default post-processing of a detector for a tracker."""
    takes_all = find_tracker(association).takes_all_boxes
    return row.unfiltered if row.unfiltered and takes_all else row.settings


def with_meanings(request: DetectorRequest) -> DetectorRequest:
    """The request with what a file of weights says of itself, and the classes of each phrase.

    Raises:
        SettingsError: a phrase stands for no class.
        WeightsError: the file cannot be read, or was not trained for this.
    """
    from masa_cli.models.trained_weights import classes_of, default_changes, has_part

    weights = request.weights
    if weights is None:
        raise ValueError(f"{request.row.name} was requested without its weights")
    classes_of(weights)  # complains of a file that was not trained to find anything
    meanings = _meanings(request) if request.prompt else ()
    has_embeddings = has_part(weights, "head")  # some are trained to detect alone
    if not (request.prompt or has_embeddings):
        raise WeightsError(
            f"{weights} was trained to find objects, not to tell them apart",
            fix=f"give a file with both, or use --model {request.row.name}",
        )
    return replace(
        request,
        queries=meanings,
        adapter=request.adapter if has_embeddings else "raw",
        changes=default_changes(weights, of_objects=request.prompt is None),
    )


def _meanings(request: DetectorRequest) -> tuple[tuple[str, ...], ...]:
    """For each phrase the names of the detector's classes; raises SettingsError for others."""
    vocabulary = load_vocabulary()
    if unknown := vocabulary.unknown(request.classes):
        suggestions = (vocabulary.suggestion(phrase) for phrase in unknown)
        any_words = next(iter(detectors_taking("words")))
        raise SettingsError(
            f"{request.row.name} does not know "
            + ", ".join(f'"{phrase}"' for phrase in unknown)
            + "".join(suggestions),
            fix="use other words, or get a detector that knows any: masa weights pull "
            + " ".join((any_words.weights, *any_words.files)),
        )
    return tuple(vocabulary.meaning(phrase) for phrase in request.classes)


def _request(
    row: DetectorRow,
    prompt: Prompt | None,
    weights: Path | None,
    settings: BoxSettings,
    folder: Path | None,
    *,
    model: str = "",
    options: ModelOptions = _NO_OPTIONS,
    asked: Mapping[str, Any] | None = None,
) -> DetectorRequest:
    if row.weights and weights is None:
        weights = _find(row, folder)
    further = tuple(find_weights(name, folder) for name in row.files)
    request = DetectorRequest(
        row,
        classes=prompt.classes if prompt else (OBJECT,),
        settings=settings,
        prompt=prompt,
        weights=weights,
        files=(*((weights,) if weights else ()), *further),
        adapter=str(weights) if row.adapter == OWN_WEIGHTS else row.adapter,
        changes=row.changes,
        has_masks=row.has_masks and prompt is None,
        model=model,
        options=options,
        asked=asked or {},
        folder=folder,
    )
    prepared: DetectorRequest = resolve_name(row.prepare)(request) if row.prepare else request
    return prepared


def _find(row: DetectorRow, folder: Path | None) -> Path:
    """The file of a row's weights; raises WeightsError where it is missing."""
    if not row.packaged:
        return find_weights(row.weights, folder)
    if found := look_for_packaged(row.weights + _PACKAGED_SUFFIX):
        return found
    others = [each.name for each in detectors_taking(*row.takes, "words") if each.automatic]
    raise WeightsError(
        f"the weights of {row.name} do not come with this installation",
        fix=f"use another detector, such as {others[0]}, or a file that masa train run --recipe "
        "lite-detector wrote",
    )


def _is_here(row: DetectorRow, folder: Path | None) -> bool:
    if not row.weights:
        return True
    if row.packaged:
        return look_for_packaged(row.weights + _PACKAGED_SUFFIX) is not None
    return look_for(find_row(row.weights), folder) is not None


def _named(wanted: str, rows: Sequence[DetectorRow], proposals: Proposals) -> DetectorRow | None:
    """The row of a model by its name, or by that of its weights; None if that is none of them."""
    own = [row for row in rows if wanted in (row.name, row.weights)]
    if not own:
        return None
    fitting = [row for row in own if wanted == row.name or row.proposals == proposals]
    return next((row for row in fitting if row.proposals == proposals), None) or _refuse(
        wanted, rows, proposals
    )


def _refuse(wanted: str, rows: Sequence[DetectorRow], proposals: Proposals) -> DetectorRow:
    fitting = [row.weights for row in rows if row.proposals == proposals]
    raise SettingsError(
        f"--proposals {proposals} asks Segment Anything, but there is none in {wanted}",
        fix=f"leave it out, or use --model {', '.join(fitting)}",
    )


def _of_file(
    wanted: str, rows: Sequence[DetectorRow], proposals: Proposals
) -> tuple[DetectorRow, Path]:
    names = dict.fromkeys(row.weights or row.name for row in rows)
    fix = f"use one of: {', '.join(names)}; or the file of one"
    file = Path(wanted)
    if not file.suffix:
        raise SettingsError(f'--model: "{wanted}" is no class-agnostic detector', fix=fix)
    from masa_cli.models.published_weights import recognise_file

    model = recognise_file(file)
    if row := _named(model, [row for row in rows if row.weights], proposals):
        return row, file
    raise SettingsError(
        f"--model: {wanted} holds the weights of {model}, which is no class-agnostic detector",
        fix=fix,
    )


def _suitable_for_objects(rows: Sequence[DetectorRow], folder: Path | None) -> DetectorRow:
    """The best model that is here; says which it is where that is not the best of all."""
    row = next((row for row in rows if row.automatic and _is_here(row, folder)), rows[0])
    if row.packaged:
        logger.info(
            "objects by %s; masks are finer and more is found with %s: masa weights pull %s",
            row.name,
            rows[0].name,
            rows[0].weights,
        )
    return row


@dataclass(frozen=True, slots=True)
class Candidate:
    """A detector that may be chosen for a prompt."""

    row: DetectorRow
    is_here: bool  # whether its weights are on this machine
    is_fast: bool  # on this machine
    unknown: tuple[str, ...] = ()  # words of the prompt that it does not know


def choose_detector(candidates: Sequence[Candidate]) -> tuple[DetectorRow, str]:
    """The one to use, and why: one that reads any words is slow without an accelerator.

    What is here, knows all words and is fast comes before what is here and knows all words, that
    before what is here at all; among equals the first.
    """

    def rank(each: Candidate) -> tuple[bool, ...]:
        knows = each.is_here and not each.unknown
        return not (knows and each.is_fast), not knows, not each.is_here

    chosen = min(candidates, key=rank)
    others = [each for each in candidates if each is not chosen]
    if chosen.is_here and chosen.row.needs_accelerator and chosen.is_fast:
        return chosen.row, "its weights and an accelerator are here"
    if chosen.row.packaged and chosen.is_here:
        has_slow = any(each.is_here for each in others)
        return chosen.row, "fast without an accelerator" if has_slow else "it needs no download"
    for each in others:
        if each.is_here and each.unknown:
            return chosen.row, f'{each.row.name} does not know "{each.unknown[0]}"'
        if each.row.packaged and not each.is_here:
            return chosen.row, f"there are no weights of {each.row.name}"
    return chosen.row, "it is here" if chosen.is_here else "there is no other"


def _suitable(prompt: Prompt, rows: Sequence[DetectorRow], folder: Path | None) -> DetectorRow:
    """The detector that suits prompt and machine; says which it is, and why."""
    candidates = []
    for row in rows:
        if row.automatic:
            is_here = _is_here(row, folder)
            is_fast = not row.needs_accelerator or (is_here and _has_accelerator())
            unknown = () if "words" in row.takes else load_vocabulary().unknown(prompt.classes)
            candidates.append(Candidate(row, is_here, is_fast, tuple(unknown)))
    row, reason = choose_detector(candidates)
    logger.info("detector %s: %s", row.name, reason)
    return row


def _has_accelerator() -> bool:
    from masa_cli.models.device import choose_device

    return choose_device("auto").type != "cpu"
