"""Presets: an association and changes to its settings in a file, which `--association FILE` takes.

The file is TOML, to be read and edited by people. `masa tune` writes such files.
"""

from __future__ import annotations

import logging
import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from masa_cli.errors import MasaError, SettingsError, SourceError
from masa_cli.formats.files import PartFile, explained
from masa_cli.settings import with_changes
from masa_cli.tracking import PRESET_ENDING, find_tracker
from masa_cli.tracking.linking import LinkingSettings

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

KIND = "masa preset 1"
OF_LINKING = "linking."  # how the names of settings of the offline refinement begin
_FORMER = "relink."  # how they began in 0.1
_TABLES = {"kind", "association", "settings", "provenance"}

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Preset:
    """An association whose settings are other ones than its own.

    Attributes:
        association: a name of TRACKERS.
        settings: those that differ from the defaults, by name; "linking." begins the names of those
            of the offline refinement.
        provenance: where they come from, for people; values are text, numbers or true and false.
        notes: lines of comment.
    """

    association: str
    settings: Mapping[str, bool | int | float] = field(default_factory=dict)
    provenance: Mapping[str, str | bool | int | float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def changes(self) -> tuple[str, ...]:
        """The settings as "name=value" texts."""
        return tuple(change_of(name, value) for name, value in self.settings.items())

    @property
    def tracker_changes(self) -> tuple[str, ...]:
        """Those of the tracker alone."""
        return tuple(each for each in self.changes if not each.startswith(OF_LINKING))


def is_of_linking(change: str) -> bool:
    """Whether a change is to the settings of the offline refinement."""
    if change.startswith(_FORMER):
        logger.warning("--set %s... is now %s...; the old name goes in 0.3", _FORMER, OF_LINKING)
    return change.startswith((OF_LINKING, _FORMER))


def change_of(name: str, value: bool | int | float) -> str:
    """One setting as `with_changes` takes it."""
    return f"{name}={str(value).lower() if isinstance(value, bool) else repr(value)}"


def preset_for(association: str | Path) -> Preset:
    """That of a file, or one without changes for a name of TRACKERS.

    Raises:
        SourceError: there is no such file, or it is no preset.
        SettingsError: its settings are not those of its association.
    """
    if str(association).endswith(PRESET_ENDING):
        return read_preset(Path(association))
    return Preset(str(association))


def read_preset(path: Path) -> Preset:
    """The preset in a file, checked.

    Raises:
        SourceError: there is no such file, or it is no preset.
        SettingsError: its settings are not those of its association, or cannot work.
    """
    with explained(path):
        text = path.read_text(encoding="utf-8-sig")
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _wrong(path, f"is no TOML: {error}") from None
    if tables.get("kind") != KIND:
        raise _wrong(path, f'is no preset of an association: it lacks the line kind = "{KIND}"')
    if strange := sorted(tables.keys() - _TABLES):
        raise _wrong(path, f"has {strange[0]}, which a preset has not")
    association, settings = tables.get("association"), tables.get("settings", {})
    if not isinstance(association, str):
        raise _wrong(path, f"should name an association, got {association!r}")
    preset = Preset(association, _numbers(path, settings), tables.get("provenance", {}))
    try:
        check_preset(preset)
    except MasaError as error:
        raise SettingsError(f"{path}: {error.problem}", fix=error.fix) from None
    return preset


def check_preset(preset: Preset) -> None:
    """Raise SettingsError for an association or settings that there are not, or cannot work."""
    row = find_tracker(preset.association)
    with_changes(row.settings(), preset.tracker_changes)
    linking = [each for each in preset.changes if each.startswith(OF_LINKING)]
    if linking and not row.is_refinable:
        raise SettingsError(
            f'no setting to change in "{linking[0]}": {preset.association} is not refined offline',
            fix="take it out",
        )
    with_changes(LinkingSettings(), [each.removeprefix(OF_LINKING) for each in linking])


def write_preset(path: Path, preset: Preset) -> None:
    """Write it whole or not at all; OutputError if that is impossible."""
    lines = [f"# {note}".rstrip() for note in preset.notes]
    lines += [f"kind = {_toml(KIND)}", f"association = {_toml(preset.association)}"]
    for title, table in ("settings", preset.settings), ("provenance", preset.provenance):
        lines += ["", f"[{title}]"]
        lines += [f"{_key(name)} = {_toml(value)}" for name, value in table.items()]
    with PartFile(path) as file:
        file.write("".join(f"{line}\n" for line in lines).encode())


def _numbers(path: Path, settings: object) -> dict[str, bool | int | float]:
    """The settings, by names with dots; SourceError for what is none."""
    if not isinstance(settings, dict):
        raise _wrong(path, "should have a table [settings]")
    found: dict[str, bool | int | float] = {}
    for name, value in _flat(settings):
        if not isinstance(value, int | float) or (isinstance(value, float) and math.isnan(value)):
            raise _wrong(path, f"should have a number, or true or false, for {name}, got {value!r}")
        found[name] = value
    return found


def _flat(table: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Names and values; those of tables in tables joined by dots, as TOML reads a.b = 1."""
    return [
        pair
        for name, value in table.items()
        for pair in (
            _flat(value, f"{prefix}{name}.")
            if isinstance(value, dict)
            else [(f"{prefix}{name}", value)]
        )
    ]


def _wrong(path: Path, what: str) -> SourceError:
    return SourceError(
        f"{path} {what}", fix="give a file that masa tune wrote; docs/association.md tells its form"
    )


def _key(name: str) -> str:
    is_bare = name.replace(".", "").replace("_", "").replace("-", "").isalnum() and name.isascii()
    return name if is_bare else _toml(name)


def _toml(value: str | bool | int | float) -> str:
    """A value as TOML writes it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in escaped) + '"'
