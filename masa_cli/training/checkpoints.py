"""Where a run stands, on disk: complete or not there at all, the last few kept."""

from __future__ import annotations

import logging
import os
import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from masa_cli.errors import OutputError, SettingsError
from masa_cli.formats.part_file import part_of, unwritable

logger = logging.getLogger(__name__)
_NAME = re.compile(r"step-(\d{7})\.pt")


class Checkpoints:
    """The checkpoints of a run.

    Args:
        folder: for them.
        keep: how many of the latest stay.
    """

    def __init__(self, folder: Path, keep: int) -> None:
        self._folder, self._keep = folder, keep

    def save(self, step: int, state: Mapping[str, Any]) -> None:
        """Write the state after so many steps; only then older ones are removed.

        Raises:
            OutputError: it cannot be written.
        """
        path = self._folder / f"step-{step:07}.pt"
        part = part_of(path)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with part.open("wb") as file:
                torch.save(dict(state), file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, path)
        except (OSError, RuntimeError) as error:  # torch calls a full disk RuntimeError
            raise unwritable(part, getattr(error, "strerror", None) or str(error)) from error
        for old in self._all()[: -self._keep]:
            old.unlink()

    def load(self) -> dict[str, Any] | None:
        """The state of the latest that can be read; None if there is none.

        Raises:
            SettingsError: there are some, but none can be read.
        """
        paths = self._all()
        for path in reversed(paths):
            try:
                state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
            except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
                logger.warning("%s is damaged, an older checkpoint is used: %s", path, error)
            else:
                return state
        if paths:
            raise SettingsError(
                f"none of the {len(paths)} checkpoints in {self._folder} can be read",
                fix="start again with --overwrite",
            )
        return None

    def clear(self) -> None:
        """Remove all."""
        for path in self._all():
            path.unlink()

    def _all(self) -> list[Path]:
        if not self._folder.is_dir():
            return []
        return sorted(path for path in self._folder.iterdir() if _NAME.fullmatch(path.name))


def refuse_other_settings(before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raise OutputError unless a run that is resumed has the settings it began with."""
    for name in {**before, **now}:
        if before.get(name) != now.get(name):
            raise OutputError(
                f"the run began with another {name}: {before.get(name)}, now it is {now.get(name)}",
                fix="resume it with the options it began with, or start a new one with -o",
            )
