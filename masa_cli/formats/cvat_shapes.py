"""Shapes of CVAT's tracks as boxes: the box around each, and what is between two keyframes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from masa_cli.formats.tables import LARGEST, check_gap
from masa_cli.structures import FloatArray

_CORNERS = ("xtl", "ytl", "xbr", "ybr")


@dataclass(frozen=True, slots=True)
class Keyframe:
    """A keyframe of a track: where it is, or that it is not."""

    frame: int
    box: tuple[float, ...]
    score: float
    is_outside: bool
    is_interpolated: bool
    angle: float = 0.0  # degrees by which the box is turned around its centre, clockwise


def shown(path: Path, id_: int, keyframes: list[Keyframe]) -> Iterator[tuple[list[Keyframe], bool]]:
    """What a track shows, in pieces, each with whether it is interpolated."""
    keyframes = sorted(keyframes, key=lambda keyframe: keyframe.frame)
    following = (*keyframes[1:], None) if keyframes else ()
    for before, after in zip(keyframes, following, strict=True):
        if before.is_outside:
            continue
        yield [before], before.is_interpolated
        if after is None or after.frame <= before.frame + 1:
            continue
        # A box stays where it is until the frame in which it is outside.
        goal = before if after.is_outside else after
        check_gap(path, id_, before.frame, after.frame)
        filled = np.arange(before.frame + 1, after.frame)
        shares = ((filled - before.frame) / (after.frame - before.frame))[:, None]
        boxes = (1 - shares) * np.array(before.box) + shares * np.array(goal.box)
        # The shorter way round.
        angles = before.angle + shares[:, 0] * ((goal.angle - before.angle + 180) % 360 - 180)
        between = [
            Keyframe(frame, tuple(box), before.score, False, True, angle)
            for frame, box, angle in zip(
                filled.tolist(), boxes.tolist(), angles.tolist(), strict=True
            )
        ]
        yield between, True


def upright(keyframes: list[Keyframe]) -> FloatArray:
    """(N, 4) float32: the upright box around each, which may be turned."""
    boxes = np.array([keyframe.box for keyframe in keyframes], np.float64).reshape(-1, 4)
    angles = np.radians([keyframe.angle for keyframe in keyframes])
    if not angles.any():
        return boxes.astype(np.float32)
    cosine, sine = np.abs(np.cos(angles)), np.abs(np.sin(angles))
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    width, height = (boxes[:, 2:] - boxes[:, :2]).T
    turned = (width * cosine + height * sine, width * sine + height * cosine)
    half = np.stack(turned, axis=1) / 2
    return np.concatenate([centre - half, centre + half], axis=1).astype(np.float32)


def _corners_of_box(box: Any) -> tuple[float, ...]:  # noqa: ANN401 - defusedxml has no types
    return tuple(number_in(box.get(name), name) for name in _CORNERS)


def _corners_of_polygon(polygon: Any) -> tuple[float, ...]:  # noqa: ANN401 - no types
    points = (polygon.get("points") or "").replace(";", ",").split(",")
    if len(points) % 2:
        raise ValueError(f'expected x,y;x,y of a polygon, got "{polygon.get("points")}"')
    numbers = [number_in(each, "point") for each in points]
    across, down = numbers[::2], numbers[1::2]
    return min(across), min(down), max(across), max(down)


def _corners_of_ellipse(ellipse: Any) -> tuple[float, ...]:  # noqa: ANN401 - no types
    across, down, rx, ry = (number_in(ellipse.get(key), key) for key in ("cx", "cy", "rx", "ry"))
    return across - rx, down - ry, across + rx, down + ry


def _corners_of_cuboid(cuboid: Any) -> tuple[float, ...]:  # noqa: ANN401 - no types
    across, down = (
        [
            number_in(text, name)
            for name, text in cuboid.items()
            if re.fullmatch(f"{axis}[tb][lr][12]", name)
        ]
        for axis in "xy"
    )
    if not (across and down):
        raise ValueError("a cuboid without corners")
    return min(across), min(down), max(across), max(down)


def _corners_of_mask(mask: Any) -> tuple[float, ...]:  # noqa: ANN401 - no types
    names = ("left", "top", "width", "height")
    left, top, width, height = (number_in(mask.get(name), name) for name in names)
    return left, top, left + width, top + height


# Shapes that have a box, and how it is read. That of a turned ellipse is turned with it.
CORNERS_OF: Mapping[str, Callable[[Any], tuple[float, ...]]] = MappingProxyType(
    {
        "box": _corners_of_box,
        "polygon": _corners_of_polygon,
        "ellipse": _corners_of_ellipse,
        "mask": _corners_of_mask,
        "cuboid": _corners_of_cuboid,
    }
)


def whole(element: Any, name: str, maximum: int) -> int:  # noqa: ANN401 - defusedxml has no types
    """The whole number from 0 that an attribute is; ValueError for anything else."""
    text = element.get(name) or ""
    if not (text.isascii() and text.isdecimal()) or len(text) > 19 or int(text) > maximum:
        raise ValueError(
            f'expected a whole {name} of a {element.tag} up to {maximum}, got "{text[:40]}"'
        )
    return int(text)


def number_in(text: str | None, name: str) -> float:
    """The finite number that a text is, which `name` calls; ValueError for anything else."""
    try:
        number = float(text or "")
    except ValueError:
        number = float("nan")
    if not abs(number) < LARGEST:
        raise ValueError(f'expected a finite {name} of a shape, got "{str(text)[:40]}"')
    return number
