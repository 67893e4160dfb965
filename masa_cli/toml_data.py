"""Tables in TOML that come with the package."""

from __future__ import annotations

import sys
from typing import Any, Protocol

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


class Text(Protocol):
    """A file on disk, or one of a package."""

    def read_text(self, encoding: str) -> str:
        """All of it."""
        ...


def read_toml(file: Text) -> dict[str, Any]:
    """The table in a file."""
    table: dict[str, Any] = tomllib.loads(file.read_text(encoding="utf-8"))
    return table
