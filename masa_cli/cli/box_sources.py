"""Where the boxes of a run come from: a file of detections, or a prompt."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

from masa_cli.association import PRESETS
from masa_cli.checkpoints.manifest import find_row
from masa_cli.checkpoints.packaged import look_for_packaged
from masa_cli.checkpoints.places import look_for
from masa_cli.cli.inputs import open_inputs, parse_frame_rate, warn_of_oddities
from masa_cli.detectors import Detector
from masa_cli.detectors.backend import CLASSES as CLASS_MODEL
from masa_cli.detectors.backend import TEXT as TEXT_MODEL
from masa_cli.detectors.backend import choose_backend
from masa_cli.detectors.class_search import ClassChoice, ClassSearch, plan_class_search
from masa_cli.detectors.from_file import FromFile
from masa_cli.detectors.prompt import PROMPT_RULES, Prompt, parse_prompt, read_prompt
from masa_cli.detectors.text_search import EVERYTHING, Choice, TextSearch, plan_search
from masa_cli.detectors.vocabulary import load_vocabulary
from masa_cli.errors import UsageError, WeightsError
from masa_cli.formats.detection_table import DetectionTable
from masa_cli.formats.detections import DetectionFormat, read_detections
from masa_cli.sources import Source, open_source
from masa_cli.trackers import HYBRID, MOTION

logger = logging.getLogger(__name__)

TRAINED_SUFFIX = ".safetensors"
_PACKAGED = f"{CLASS_MODEL}{TRAINED_SUFFIX}"

# Grounding-DINO's scores are lower than other detectors': its authors take 0.35 for a find. These
# settings come before the user's own.
_TEXT_SCORES = MappingProxyType(
    {
        HYBRID: ("birth_score=0.35", "confident_score=0.3"),
        MOTION: ("birth_score=0.4", "confident_score=0.3"),
    }
)


@dataclass(frozen=True, slots=True)
class BoxSource:
    """Frames and what finds boxes in them.

    Attributes:
        frames: with pictures, if there are any.
        origin: where the pictures are.
        detector: or the plan of one.
        inputs: files that are read.
        facts: what the boxes depend on, by name, for --resume.
        adapter: the one to use unless the user chooses.
        changes: to the settings of the association, before the user's.
        table: the detections, where they are read from a file.
    """

    frames: Source
    origin: Path | None
    detector: Detector | TextSearch | ClassSearch
    inputs: tuple[Path, ...]
    facts: tuple[tuple[str, str], ...]
    adapter: str
    changes: tuple[str, ...] = ()
    table: DetectionTable | None = None


def check_one_given(dets: Path | None, prompt: str | None, prompt_file: Path | None) -> None:
    """Raise UsageError unless exactly one says where boxes come from."""
    given = [option for option in (dets, prompt, prompt_file) if option is not None]
    if not given:
        raise UsageError(
            "nothing says which objects to track",
            fix=f"give boxes with --dets FILE, or name them with --prompt: {PROMPT_RULES}",
        )
    if len(given) > 1:
        raise UsageError(
            "--dets, --prompt and --prompt-file exclude each other", fix="give one of them"
        )


def from_file(
    source: Path | None,
    dets: Path,
    *,
    format: DetectionFormat,
    images: Path | None,
    min_score: float | None,
    fps: str | None,
) -> BoxSource:
    """Boxes from a file of detections; arguments are the user's options.

    Raises:
        SourceError, SettingsError: see `read_detections` and `open_inputs`.
    """
    least = -math.inf if min_score is None else min_score
    table, _ = read_detections(dets, format=format, images=images).scored(least)
    warn_of_oddities(dets, table)
    inputs = open_inputs(source, dets, table, fps)
    return BoxSource(
        frames=inputs.frames,
        origin=inputs.origin,
        detector=FromFile(inputs.table),
        inputs=tuple(path for path in (dets, images) if path),
        facts=(("--min-score", str(least)), ("--dets-format", format)),
        adapter="raw",
        table=inputs.table,
    )


def from_prompt(
    source: Path | None,
    prompt: str | None,
    prompt_file: Path | None,
    *,
    model: str,
    min_score: float | None,
    max_overlap: float | None,
    weights_dir: Path | None,
    association: str,
    fps: str | None,
) -> BoxSource:
    """Boxes that a detector finds; arguments are the user's options, `prompt` or its file.

    Raises:
        UsageError: the prompt is empty or malformed, or there is no video.
        MasaError: the video, a file of weights or the prompt's file cannot be read.
    """
    wanted = read_prompt(prompt_file) if prompt_file else parse_prompt(prompt or "")
    if source is None:
        raise UsageError(
            "a prompt is looked for in pictures, but no video is given",
            fix="give a video or a folder of frames: masa track VIDEO --prompt ...",
        )
    if model == "auto":
        model = _choose(wanted, weights_dir)
    plan = _class_plan if _is_class_model(model) else _text_plan
    choice = {"min_score": min_score, "max_overlap": max_overlap}
    given = {name: value for name, value in choice.items() if value is not None}
    planned = plan(wanted, model, given, weights_dir, association)
    return BoxSource(
        frames=open_source(source, frame_rate=parse_frame_rate(fps)),
        origin=source,
        detector=planned.search,
        inputs=tuple(path for path in (*planned.files, prompt_file) if path),
        facts=(("--prompt", str(wanted)), ("--detector", model), ("boxes", str(planned.choice))),
        adapter=planned.adapter,
        changes=planned.changes,
    )


@dataclass(frozen=True, slots=True)
class _Plan:
    """How a prompt is looked for, and what goes with it."""

    search: TextSearch | ClassSearch
    files: tuple[Path, ...]
    choice: Choice | ClassChoice
    adapter: str
    changes: tuple[str, ...] = ()


def _text_plan(
    prompt: Prompt, model: str, given: Mapping[str, float], folder: Path | None, association: str
) -> _Plan:
    choice = replace(EVERYTHING if association in PRESETS else Choice(), **given)
    search = plan_search(prompt, model, choice, folder)
    changes = _TEXT_SCORES.get(association, ())
    return _Plan(search, (search.weights, search.vocabulary), choice, "gdino", changes)


def _class_plan(
    prompt: Prompt, model: str, given: Mapping[str, float], folder: Path | None, association: str
) -> _Plan:
    del folder, association
    choice = ClassChoice(**given)
    file = Path(model) if model != CLASS_MODEL else look_for_packaged(_PACKAGED)
    if file is None:
        raise WeightsError(
            f"the weights of {model} do not come with this installation",
            fix="use --detector gdino, or a file that masa train run --recipe lite-detector wrote",
        )
    search = plan_class_search(prompt, load_vocabulary(), file, choice)
    return _Plan(search, (file,), choice, str(file))


def _is_class_model(model: str) -> bool:
    return model == CLASS_MODEL or model.endswith(TRAINED_SUFFIX)


def _choose(prompt: Prompt, folder: Path | None) -> str:
    """The detector that suits the prompt and this machine; says which it is, and why."""
    from masa_cli.models.device import choose_device  # noqa: PLC0415 - imports torch

    has_classes = look_for_packaged(_PACKAGED) is not None
    backend = choose_backend(
        load_vocabulary().unknown(prompt.classes),
        has_text=look_for(find_row(TEXT_MODEL), folder) is not None,
        has_classes=has_classes,
        has_accelerator=has_classes and choose_device("auto").type != "cpu",
    )
    logger.info("detector %s: %s", backend.name, backend.reason)
    return backend.name
