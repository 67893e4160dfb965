"""Which segmenter, and with which weights: all that is settled before anything is loaded."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from masa_cli.checkpoints import find_row, find_weights, look_for
from masa_cli.errors import SettingsError
from masa_cli.models.sam_variants import SAM_VARIANTS

AUTO, GRABCUT = "auto", "grabcut"
NAMES = (AUTO, GRABCUT, *SAM_VARIANTS)

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SegmenterPlan:
    """A segmenter whose file is there.

    Attributes:
        name: "grabcut", or a row of `SAM_VARIANTS`.
        weights: of Segment Anything.
    """

    name: str
    weights: Path | None = None

    def __str__(self) -> str:
        return f"{SAM_VARIANTS[self.name].summary} ({self.weights})" if self.weights else self.name


def plan_segmenter(
    wanted: str, *, folder: Path | None = None, adapter: str = "", weights: Path | None = None
) -> SegmenterPlan:
    """The segmenter of that name.

    Args:
        wanted: one of `NAMES`, or the path of a file with Segment Anything inside.
        folder: of weights, where the user named one.
        adapter: the variant that makes the embeddings; "auto" takes the Segment Anything inside
            it, if there is one, for then its encoder runs once for both.
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
    return SegmenterPlan(GRABCUT)
