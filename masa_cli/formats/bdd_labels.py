"""One object in BDD100K's json: its class, its box or mask, and whether it is to be evaluated."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite, nan
from types import MappingProxyType
from typing import NamedTuple, TypeGuard

from masa_cli.errors import SourceError
from masa_cli.formats.bdd_masks import Rle, read_rle
from masa_cli.formats.text_file import shortened

HELP = "see https://doc.bdd100k.com/format.html"

CLASSES = ("pedestrian", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle")

# Other names of the classes; and of what is near a class, but none of it.
_ALIASES: Mapping[str, str] = MappingProxyType(
    {
        "person": "pedestrian",
        "bike": "bicycle",
        "motor": "motorcycle",
        "van": "car",
        "caravan": "car",
    }
)
_DISTRACTORS: Mapping[str, str] = MappingProxyType(
    {"other person": "pedestrian", "other vehicle": "car", "trailer": "truck"}
)
_LABELS = MappingProxyType(
    {name: CLASSES.index(name) for name in CLASSES}
    | {name: CLASSES.index(owner) for name, owner in (*_ALIASES.items(), *_DISTRACTORS.items())}
)
_CORNERS = ("x1", "y1", "x2", "y2")


class BddLabel(NamedTuple):
    """One object.

    Attributes:
        id: as written.
        label: index into CLASSES.
        box: x1, y1, x2, y2 in pixels; NaN where the mask was read.
        score: 1 where the file has none.
        is_crowd: a group; nothing in it is told apart.
        is_ignored: marked to be ignored, or near the class but none of it.
        rle: None where the box was read.
    """

    id: str
    label: int
    box: tuple[float, ...]
    score: float
    is_crowd: bool
    is_ignored: bool
    rle: Rle | None


def read_label(entry: object, where: str, *, masks: bool) -> BddLabel:
    """Read one entry of "labels".

    Raises:
        SourceError: something is missing, not known or no number; it starts with `where`.
    """
    if not isinstance(entry, dict) or not isinstance(entry.get("id"), str | int):
        raise SourceError(
            f'{where}: expected a label with an "id", got {shortened(str(entry))}', fix=HELP
        )
    where = f'{where} id "{entry["id"]}"'
    category = entry.get("category")
    if not isinstance(category, str) or category not in _LABELS:
        raise SourceError(
            f'{where}: "category" is {category!r}, expected one of {", ".join(CLASSES)}',
            fix="leave out what is of none of these classes, or rename it",
        )
    attributes = entry.get("attributes") or {}
    if not isinstance(attributes, dict):
        raise SourceError(f'{where}: "attributes" is no object', fix=HELP)
    score = entry.get("score", 1.0)
    if not _is_number(score):
        raise SourceError(f'{where}: "score" is {score!r}, expected a finite number', fix=HELP)
    return BddLabel(
        str(entry["id"]),
        _LABELS[category],
        (nan,) * 4 if masks else _box(entry.get("box2d"), where),
        score,
        bool(attributes.get("crowd")),
        bool(attributes.get("ignored")) or category in _DISTRACTORS,
        read_rle(entry.get("rle"), where) if masks else None,
    )


def _box(entry: object, where: str) -> tuple[float, ...]:
    if not isinstance(entry, dict):
        raise SourceError(f'{where}: no "box2d"', fix=HELP)
    corners = [entry.get(corner) for corner in _CORNERS]
    box = tuple(corner for corner in corners if _is_number(corner))
    if len(box) < len(_CORNERS):
        raise SourceError(
            f'{where}: "box2d" is {shortened(str(entry))}, expected finite x1, y1, x2, y2', fix=HELP
        )
    x1, y1, x2, y2 = box
    if x2 < x1 or y2 < y1:
        raise SourceError(
            f'{where}: "box2d" ends before it starts: {shortened(str(entry))}',
            fix="x1, y1 is the upper left corner, x2, y2 the lower right one",
        )
    return box


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)
