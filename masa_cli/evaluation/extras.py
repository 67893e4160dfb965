"""Libraries that only evaluation needs; a tracker installs without them."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from masa_cli.errors import SettingsError


def require(module: str) -> ModuleType:
    """The imported module.

    Raises:
        SettingsError: it is not installed.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module.partition(".")[0]:
            raise  # it is there, but broken: that is no case for this advice
        raise SettingsError(
            f"evaluation needs {error.name}, which is not installed",
            fix="pip install 'masa[eval]'",
        ) from None
