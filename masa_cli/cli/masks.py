"""From the options about masks to a plan."""

from __future__ import annotations

from pathlib import Path

from masa_cli.models.sam_variants import SAM_VARIANTS
from masa_cli.segmenters.choice import AUTO, SegmenterPlan, plan_segmenter


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
        from masa_cli.models.adapter import resolve  # noqa: PLC0415 - imports torch

        name, weights = resolve(adapter, folder)
    return plan_segmenter(segmenter or AUTO, folder=folder, adapter=name, weights=weights)
