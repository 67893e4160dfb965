"""Text becomes values: "memory_frames=30" changes a frozen dataclass, "1:30" is a time."""

from __future__ import annotations

import csv
import logging
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass, replace
from fractions import Fraction
from typing import Any, TypeVar

from masa_cli.errors import SettingsError, UsageError

logger = logging.getLogger(__name__)

Settings = TypeVar("Settings", bound=Any)

# Frames per second, where neither the user nor a file tells it.
DEFAULT_FRAME_RATE = Fraction(30)


def with_changes(settings: Settings, changes: Iterable[str]) -> Settings:
    """A copy of `settings` with "name=value" applied.

    Args:
        settings: a dataclass of bool, int and float fields, or of other such dataclasses, whose
            fields are named "field.name". Where it has a class variable `former_names`, names of
            its fields by their former ones, these are accepted with a warning.
        changes: in order.

    Raises:
        SettingsError: for an unknown name, a value of another type, or one the settings refuse.
    """
    current = values_of(settings)
    for change in changes:
        former, equals, text = (part.strip() for part in change.partition("="))
        name = _current(settings, former)
        if name != former and name in current:
            logger.warning("%s is now %s; the old name goes in 0.3", former, name)
        if not equals or name not in current:
            known = ", ".join(f"{name}={value}" for name, value in current.items())
            raise SettingsError(f'no setting to change in "{change}"', fix=f"use one of: {known}")
        current[name] = _parse(change, text, type(current[name]))
    try:
        return _rebuilt(settings, current)
    except ValueError as error:
        raise SettingsError(
            f"settings that cannot work: {error}", fix="choose other values"
        ) from None


def current_names(settings: Settings, changes: Iterable[str]) -> tuple[str, ...]:
    """The same changes, former names replaced: for those that a file remembers, without a warning.

    Args:
        settings: what they would be applied to, see `with_changes`.
        changes: "name=value" texts.
    """
    parts = [change.partition("=") for change in changes]
    return tuple(f"{_current(settings, name)}{equals}{text}" for name, equals, text in parts)


def values_of(settings: Any) -> dict[str, bool | int | float]:  # noqa: ANN401 - any dataclass
    """All values by their names, as `with_changes` takes them."""
    values: dict[str, bool | int | float] = {}
    for field in fields(settings):
        value = getattr(settings, field.name)
        inner = values_of(value) if is_dataclass(value) else {"": value}
        values |= {f"{field.name}.{name}".rstrip("."): each for name, each in inner.items()}
    return values


def _current(settings: Any, name: str) -> str:  # noqa: ANN401 - any dataclass
    """The name that a setting has now; that of an unknown one as it is."""
    first, dot, rest = name.partition(".")
    first = getattr(settings, "former_names", {}).get(first, first)
    inner = getattr(settings, first, None) if dot else None
    return f"{first}{dot}{_current(inner, rest) if is_dataclass(inner) else rest}"


def _rebuilt(settings: Settings, values: Mapping[str, bool | int | float]) -> Settings:
    """A copy with these values."""
    own = {}
    for field in fields(settings):
        value = getattr(settings, field.name)
        prefix = f"{field.name}."
        own[field.name] = (
            _rebuilt(
                value, {n[len(prefix) :]: v for n, v in values.items() if n.startswith(prefix)}
            )
            if is_dataclass(value)
            else values[field.name]
        )
    return replace(settings, **own)


def _parse(change: str, text: str, kind: type) -> bool | int | float:
    """The value of one change, in the type of the field."""
    if kind is bool and text.lower() in ("true", "false"):
        return text.lower() == "true"
    if kind in (int, float):
        try:
            return int(text) if kind is int else float(text)
        except ValueError:
            pass
    raise SettingsError(
        f'"{change}": "{text}" is no {"true or false" if kind is bool else kind.__name__}',
        fix=f"give {change.partition('=')[0]} a value of that kind",
    )


def parse_names(text: str) -> list[str]:
    """The names in `car, "bus, red"`: between commas; one that has a comma is in double quotes."""
    names = next(csv.reader([text], skipinitialspace=True), [])
    return [name.strip() for name in names if name.strip()]


def parse_ids(text: str | None, option: str) -> tuple[int, ...]:
    """3,7 as numbers, none twice; none of None; UsageError for anything else."""
    if text is None:
        return ()
    try:
        return tuple(dict.fromkeys(int(part) for part in text.split(",")))
    except ValueError:
        raise UsageError(
            f'{option} expects ids, got "{text}"', fix="write numbers between commas: 3,7"
        ) from None


def in_quotes(names: Iterable[str]) -> str:
    """Names as `parse_names` reads them, quoted where they need it."""
    return ", ".join('"' + name.replace('"', '""') + '"' if "," in name else name for name in names)


def parse_frame_rate(text: str | None) -> Fraction | None:
    """25, 29.97 or 30000/1001 as an exact fraction; SettingsError for anything else."""
    if text is None:
        return None
    try:
        frame_rate = Fraction(text)
    except (ValueError, ZeroDivisionError):
        frame_rate = Fraction(0)
    if frame_rate <= 0:
        raise SettingsError(
            f'--fps expects frames per second above 0, got "{text}"',
            fix="write a number such as 25, 29.97 or 30000/1001",
        )
    return frame_rate


def parse_size(text: str | None, option: str = "--size") -> tuple[int, int] | None:
    """1920x1080 as width and height; UsageError for anything else."""
    if text is None:
        return None
    width, _, height = text.lower().partition("x")
    numbers = [
        int(part) if part.isascii() and part.isdecimal() and len(part) < 6 else 0
        for part in (width, height)
    ]
    if not all(numbers):
        raise UsageError(
            f'{option} expects width x height in pixels, got "{text}"', fix="write it as 1920x1080"
        )
    return numbers[0], numbers[1]


def parse_time(text: str | None, option: str) -> Fraction | None:
    """Seconds in 90, 1:30 or 0:01:30.5; UsageError for anything else."""
    if text is None:
        return None
    seconds = Fraction(0)
    parts = text.split(":")
    try:
        for place, part in enumerate(parts):
            number = Fraction(part)
            if len(parts) > 3 or number < 0 or (place and number >= 60) or "/" in part:
                raise ValueError
            seconds = 60 * seconds + number
    except (ValueError, ZeroDivisionError):
        raise UsageError(
            f'{option} expects a time, got "{text}"',
            fix="write it in seconds (90.5), or as minutes or hours: 1:30, 0:01:30.5",
        ) from None
    return seconds
