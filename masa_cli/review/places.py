"""Suspicious places: where identities are likely to be wrong, the likeliest first."""

from __future__ import annotations

from dataclasses import dataclass

from masa_cli.formats.tables import TrackTable


@dataclass(frozen=True, slots=True)
class Place:
    """Where something may be wrong.

    Attributes:
        frame: to look at.
        kind: of suspicion.
        text: it in words.
        worth: how suspicious, the more the likelier.
        boxes: of those concerned: frame, x1, y1, x2, y2.
    """

    frame: int
    kind: str
    text: str
    worth: float
    boxes: tuple[tuple[float, ...], ...]


def suspicious_places(table: TrackTable) -> list[Place]:
    """Those of a table of tracks."""
    return []
