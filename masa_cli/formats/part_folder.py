"""A folder of results that carries its name only once it is complete."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from masa_cli.errors import OutputError
from masa_cli.formats.part_file import part_of, unwritable


class PartFolder:
    """Makes the empty folder `<path>.part`, which becomes `path` when closed without an exception.

    Args:
        path: the final name. What is there is replaced, if it holds nothing but such results.
        is_ours: whether something of that name inside is such a result.

    Raises:
        OutputError: there is something else at `path`, or the folder cannot be made.
    """

    def __init__(self, path: Path, is_ours: Callable[[str], bool]) -> None:
        self.path, self.part = path, part_of(path)
        inside = [each.name for each in path.iterdir()] if path.is_dir() else [path.name]
        if path.exists() and not all(map(is_ours, inside)):
            raise OutputError(
                f"{path} holds other things than such results, and would be replaced as a whole",
                fix="choose another name",
            )
        try:
            if self.part.exists():
                shutil.rmtree(self.part)
            self.part.mkdir(parents=True)
        except OSError as error:
            raise unwritable(self.part, error.strerror) from error

    def write(self, name: str, data: bytes) -> None:
        """Write one file; `name` is relative, its folders are made."""
        file = self.part / name
        try:
            file.parent.mkdir(exist_ok=True)
            file.write_bytes(data)
        except OSError as error:
            raise unwritable(file, error.strerror) from error

    def __enter__(self) -> PartFolder:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is not None:
            return
        try:
            if self.path.exists():
                shutil.rmtree(self.path)
            os.replace(self.part, self.path)
        except OSError as failure:
            raise unwritable(self.path, failure.strerror) from failure
