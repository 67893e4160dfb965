"""From --sam to a search for everything."""

from __future__ import annotations

from pathlib import Path

from masa_cli.checkpoints import find_row, look_for
from masa_cli.detectors.everything import Everything, ObjectChoice, Proposals
from masa_cli.errors import SettingsError
from masa_cli.models.adapter import resolve
from masa_cli.models.sam_variants import SAM_VARIANTS
from masa_cli.models.variants import VARIANTS

NAMES = tuple(name for name in SAM_VARIANTS if name in VARIANTS)


def plan_everything(
    sam: str | None, folder: Path | None, proposals: Proposals, choice: ObjectChoice
) -> Everything:
    """The search, whose file is there.

    Args:
        sam: of the user: name or file.
        folder: of weights, where the user named one.
        proposals: where objects come from.
        choice: which objects are given on.

    Raises:
        SettingsError: there is no such adapter, or no Segment Anything in it.
        WeightsError: its weights are not on this machine, or the file is none of MASA's.
    """
    found = (name for name in NAMES if look_for(find_row(name), folder))
    wanted = sam or next(found, NAMES[0])
    names = f"use one of: {', '.join(NAMES)}; or the file of one"
    if wanted not in NAMES and not Path(wanted).suffix:
        raise SettingsError(f'--sam: there is no Segment Anything in "{wanted}"', fix=names)
    model, weights = resolve(wanted, folder)
    if model not in NAMES or weights is None:
        raise SettingsError(
            f"--sam: {wanted} holds the weights of {model}, which lacks MASA's adapter for Segment "
            "Anything",
            fix=names,
        )
    return Everything(model, weights, proposals, choice)
