"""Weights of our own, which come with the program: nothing to download."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).parents[1]
# In an installed package, and in a checkout.
FOLDERS = (_PACKAGE / "weights", _PACKAGE.parent / "weights")


def look_for_packaged(name: str) -> Path | None:
    """The file of that name, or None where this installation has none."""
    return next((folder / name for folder in FOLDERS if (folder / name).is_file()), None)
