"""The same numbers for TensorBoard, where it is installed."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any


class TensorBoard:
    """Writes event files; does nothing where TensorBoard is not installed.

    Args:
        folder: for the files.
        first_step: later steps of an interrupted run, which this one repeats, are hidden.
    """

    def __init__(self, folder: Path, first_step: int) -> None:
        self._writer: Any = None
        if find_spec("tensorboard") is None:
            return
        from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415 - an optional package

        self._writer = SummaryWriter(str(folder), purge_step=first_step + 1)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Add the values of a step."""
        if self._writer is not None:
            for name, value in values.items():
                self._writer.add_scalar(name, value, step)

    def flush(self) -> None:
        """Hand over to the system what was written."""
        if self._writer is not None:
            self._writer.flush()
