"""Which segmenter, and with which weights: all that is settled before anything is loaded."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from masa_cli.checkpoints import find_row, find_weights, look_for
from masa_cli.checkpoints.packaged import look_for_packaged
from masa_cli.errors import SettingsError, WeightsError
from masa_cli.models.sam_variants import SAM_VARIANTS

AUTO, GRABCUT, LEARNED = "auto", "grabcut", "lite"
NAMES = (AUTO, LEARNED, GRABCUT, *SAM_VARIANTS)
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
            fix=f"use one of: {', '.join(NAMES)}; or a file with Segment Anything inside",
        )
    from masa_cli.models.checkpoint_file import recognise_file  # noqa: PLC0415 - imports torch

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
    from masa_cli.models.mask_head import PART  # noqa: PLC0415 - imports torch
    from masa_cli.models.trained_file import describe_trained, has_part  # noqa: PLC0415

    is_own = describe_trained(file).variant == LEARNED and has_part(file, PART)
    return SegmenterPlan(LEARNED, file) if is_own else None
