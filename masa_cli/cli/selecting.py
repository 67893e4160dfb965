"""From the user's options to what is wanted of the boxes."""

from __future__ import annotations

import math
from pathlib import Path

from masa_cli.cli.values import parse_names
from masa_cli.errors import UsageError
from masa_cli.formats.polygons import read_polygons
from masa_cli.selection import Placement, Selection


def build_selection(
    classes: str, roi: Path | None, ignore: Path | None, placement: Placement, min_area: float
) -> Selection:
    """Arguments are the user's options.

    Raises:
        UsageError: a score of a class is none.
        SourceError: a file of regions cannot be read.
    """
    return Selection(
        least_scores=parse_classes(classes),
        min_area=min_area,
        inside=read_polygons(roi) if roi else None,
        outside=read_polygons(ignore) if ignore else (),
        placement=placement,
    )


def parse_classes(text: str) -> dict[str, float]:
    """The least score of each class in "car, person:0.6"; none where nothing is said."""
    least: dict[str, float] = {}
    for part in parse_names(text):
        name, colon, number = part.rpartition(":")
        if not colon:
            name, number = part, "-inf"
        try:
            score = float(number)
        except ValueError:
            score = math.nan
        if math.isnan(score) or not name.strip():
            raise UsageError(
                f'--classes: "{part}" is no class, and no class with its least score',
                fix="write names with or without a score: car,person:0.6",
            )
        least[name.strip()] = score
    return least
