"""The manifest, weights.toml: which published files there are, and where they come from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Any

from masa_cli.errors import SettingsError
from masa_cli.toml_data import read_toml

MANIFEST = files("masa_cli") / "weights.toml"


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsFile:
    """One row of the manifest; what the columns mean is said there."""

    name: str
    summary: str
    file: str
    hub: str | None = None
    hub_file: str | None = None
    url: str | None = None
    adapters: tuple[str, ...] = ()
    detectors: tuple[str, ...] = ()
    bytes: int | None = None
    sha256: str | None = None
    licence: str | None = None

    def __post_init__(self) -> None:
        if (self.hub is None) == (self.url is None):
            raise ValueError(f'weights.toml, "{self.name}": expected either hub or url')

    @property
    def origin(self) -> str:
        """Where it is published, as an address a browser opens."""
        if self.url:
            return self.url
        return f"https://huggingface.co/{self.hub}/resolve/main/{self.name_on_hub}"

    @property
    def name_on_hub(self) -> str:
        """Its name in its repository; only for files of a hub."""
        return self.hub_file or self.file

    @property
    def size(self) -> str:
        """How large it is, for people."""
        return readable_size(self.bytes) if self.bytes else "size unknown"


@cache
def load_manifest() -> Mapping[str, WeightsFile]:
    """All rows by their names, in the order of the manifest."""
    rows = read_toml(MANIFEST)["files"]
    return MappingProxyType({row["name"]: _row_of(row) for row in rows})


def find_row(name: str) -> WeightsFile:
    """The row of that name, which may also be the file's name.

    Raises:
        SettingsError: there is none.
    """
    for row in load_manifest().values():
        if name in (row.name, row.file):
            return row
    raise SettingsError(
        f'unknown weights "{name}"', fix=f"use one of: {', '.join(load_manifest())}"
    )


def needed_for(*, adapter: str | None = None, detector: str | None = None) -> list[WeightsFile]:
    """The files that this adapter and this detector need, each once."""
    return [
        each
        for each in load_manifest().values()
        if adapter in each.adapters or detector in each.detectors
    ]


def readable_size(num_bytes: int) -> str:
    """Such as 528.4 MB (of a million bytes)."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if num_bytes >= factor:
            return f"{num_bytes / factor:.1f} {unit}"
    return f"{num_bytes} bytes"


def _row_of(columns: Mapping[str, Any]) -> WeightsFile:
    """Lists become tuples, as a row may not change."""
    values: dict[str, Any] = {
        key: tuple(v) if isinstance(v, list) else v for key, v in columns.items()
    }
    return WeightsFile(**values)
