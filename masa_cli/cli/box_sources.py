"""Where the boxes of a run come from: a file of detections, or a prompt."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from masa_cli.cli.inputs import Opening, open_inputs, warn_of_oddities
from masa_cli.cli.prompt_plans import plan_prompt
from masa_cli.detectors import Detector
from masa_cli.detectors.class_search import ClassSearch
from masa_cli.detectors.from_file import FromFile
from masa_cli.detectors.of_excerpt import OfExcerpt
from masa_cli.detectors.prompt import PROMPT_RULES, parse_prompt, read_prompt
from masa_cli.detectors.text_search import TextSearch
from masa_cli.errors import UsageError
from masa_cli.formats.detection_table import DetectionTable
from masa_cli.formats.detections import DetectionFormat, read_detections
from masa_cli.sources import Source, is_live
from masa_cli.sources.excerpt import Excerpt
from masa_cli.usual import UsualChanges, as_fact

_USUAL_OPENING = Opening()


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
        found_by: what finds the boxes: "file", "prompt" (a text detector) or "classes".
        usual: changes to the settings of associations, before the user's.
        table: the detections, where they are read from a file.
    """

    frames: Source
    origin: Path | None
    detector: Detector | TextSearch | ClassSearch
    inputs: tuple[Path, ...]
    facts: tuple[tuple[str, str], ...]
    adapter: str
    found_by: str
    usual: UsualChanges = field(default_factory=dict)
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
    source: str | None,
    dets: Path,
    *,
    format: DetectionFormat,
    images: Path | None,
    min_score: float | None,
    opening: Opening = _USUAL_OPENING,
    part: Callable[[Source], Source] = lambda whole: whole,
) -> BoxSource:
    """Boxes from a file of detections; arguments are the user's options, and `part` cuts frames.

    Raises:
        SourceError, SettingsError: see `read_detections` and `open_inputs`.
    """
    least = -math.inf if min_score is None else min_score
    table, _ = read_detections(dets, format=format, images=images).scored(least)
    warn_of_oddities(dets, table)
    inputs = open_inputs(source, dets, table, opening)
    frames, detector = part(inputs.frames), FromFile(inputs.table)
    is_part = isinstance(frames, Excerpt)
    return BoxSource(
        frames=frames,
        origin=inputs.origin,
        detector=OfExcerpt(detector, frames) if isinstance(frames, Excerpt) else detector,
        inputs=tuple(path for path in (dets, images) if path),
        facts=(("--min-score", str(least)), ("--dets-format", format)),
        adapter="raw",
        found_by="file",
        table=None if is_part else inputs.table,  # of which only a part is used
    )


def from_prompt(
    source: str | None,
    prompt: str | None,
    prompt_file: Path | None,
    *,
    model: str,
    min_score: float | None,
    max_overlap: float | None,
    weights_dir: Path | None,
    association: str,
    opening: Opening = _USUAL_OPENING,
    part: Callable[[Source], Source] = lambda whole: whole,
) -> BoxSource:
    """Boxes that a detector finds; arguments are the user's options, and `part` cuts frames.

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
    frames = part(opening.open(source))
    choice = {"min_score": min_score, "max_overlap": max_overlap}
    given = {name: value for name, value in choice.items() if value is not None}
    plan = plan_prompt(wanted, model, given, weights_dir, association)  # says what it takes
    return BoxSource(
        frames=frames,
        origin=None if is_live(frames) else Path(source),
        detector=plan.search,
        inputs=tuple(path for path in (*plan.files, prompt_file) if path),
        facts=(
            ("--prompt", str(wanted)),
            ("--detector", plan.model),
            ("boxes", str(plan.choice)),
            as_fact(plan.usual),
        ),
        adapter=plan.adapter,
        found_by=plan.found_by,
        usual=plan.usual,
    )
