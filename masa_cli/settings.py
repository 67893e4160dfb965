"""Settings are frozen dataclasses; here is how text like "memory_frames=30" changes one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields, replace
from typing import Any, TypeVar

from masa_cli.errors import SettingsError

Settings = TypeVar("Settings", bound=Any)


def with_changes(settings: Settings, changes: Iterable[str]) -> Settings:
    """A copy of `settings` (a dataclass of bool, int and float fields) with "name=value" applied.

    Raises:
        SettingsError: for an unknown name, a value of another type, or one the settings refuse.
    """
    current = {field.name: getattr(settings, field.name) for field in fields(settings)}
    values: dict[str, bool | int | float] = {}
    for change in changes:
        name, equals, text = (part.strip() for part in change.partition("="))
        if not equals or name not in current:
            known = ", ".join(f"{name}={value}" for name, value in current.items())
            raise SettingsError(f'no setting to change in "{change}"', fix=f"use one of: {known}")
        values[name] = _parse(change, text, type(current[name]))
    try:
        return replace(settings, **values)
    except ValueError as error:
        raise SettingsError(
            f"settings that cannot work: {error}", fix="choose other values"
        ) from None


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
