"""From --model to a search for everything, and what goes with it."""

from __future__ import annotations

import logging
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from masa_cli.checkpoints import find_row, look_for
from masa_cli.detectors.class_search import MODEL as LITE
from masa_cli.detectors.everything import USUAL_OVERLAP, Everything, ObjectChoice, Proposals
from masa_cli.errors import SettingsError, WeightsError
from masa_cli.models.adapter import resolve
from masa_cli.models.sam_variants import SAM_VARIANTS
from masa_cli.models.trained_file import classes_of, has_part, usual_changes
from masa_cli.models.variants import VARIANTS
from masa_cli.segmenters.choice import GRABCUT, SegmenterPlan, masks_in
from masa_cli.trackers import HYBRID
from masa_cli.usual import UsualChanges

logger = logging.getLogger(__name__)

SAMS = tuple(name for name in SAM_VARIANTS if name in VARIANTS)
NAMES = (*SAMS, LITE)
_LITE_SCORE = 0.1  # of boxes of lite below which most are not worth a mask

# The scores of objects of any class are lower than those of a detector's: MASA's demo takes 0.1 for
# the beginning of a track.
_OBJECT_SCORES: UsualChanges = MappingProxyType(
    {HYBRID: ("birth_score=0.1", "confident_score=0.1", "continue_score=0.02")}
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
    usual: UsualChanges


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
    names = f"use one of: {', '.join(NAMES)}; or the file of one"
    wanted = wanted or _suitable(folder, proposals)
    if wanted not in NAMES and not Path(wanted).suffix:
        raise SettingsError(f'--model: "{wanted}" cannot find everything', fix=names)
    model, weights = resolve(wanted, folder)
    if model not in NAMES or weights is None:
        raise SettingsError(
            f"--model: {wanted} holds the weights of {model}, which cannot find everything",
            fix=names,
        )
    if model == LITE:
        _check_lite(weights, proposals)
        search = Everything(model, weights, proposals, given.complete(_LITE_SCORE, proposals))
        return EverythingPlan(search, _outlines(weights), usual_changes(weights))
    search = Everything(model, weights, proposals, choice)
    return EverythingPlan(search, SegmenterPlan(model, weights), _OBJECT_SCORES)


def _suitable(folder: Path | None, proposals: Proposals) -> str:
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
