"""A result that carries its name only once it is complete."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from masa_cli.errors import OutputError


class PartFile:
    """Writes `<path>.part`, which becomes `path` when closed without an exception.

    After an exception it is closed and stays `<path>.part`.

    Args:
        path: the final name; replaced if it exists.
        resume_at: keep this many bytes of the `.part` file an earlier run left, write after them.
    """

    def __init__(self, path: Path, *, resume_at: int | None = None) -> None:
        self.path = path
        self.part = part_of(path)
        with self._explained():
            if resume_at is None:
                self._file: BinaryIO = self.part.open("wb")
            else:
                self._file = _cut(self.part, resume_at)

    @property
    def offset(self) -> int:
        """Bytes that are in the file, and would be even if this process were killed now."""
        return self._file.tell()

    def write(self, data: bytes) -> None:
        """Append, and hand over to the system at once."""
        with self._explained():
            self._file.write(data)
            self._file.flush()

    def close(self) -> None:
        """Close it as it is; it stays `<path>.part`."""
        with self._explained():
            self._file.close()

    def __enter__(self) -> PartFile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
        if kind is None:
            with self._explained():
                os.replace(self.part, self.path)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise unwritable(self.part, error.strerror) from error


def part_of(path: Path) -> Path:
    """Where a result is written until it is complete."""
    return path.with_name(path.name + ".part")


def unwritable(part: Path, reason: str | None) -> OutputError:
    """The error for a file the system refuses to create or to extend."""
    return OutputError(
        f"{part} cannot be written: {reason}",
        fix="choose a folder that exists, may be written to and has space left",
    )


def _cut(part: Path, length: int) -> BinaryIO:
    """The file, open for writing after its first `length` bytes, without the rest."""
    size = part.stat().st_size
    if size < length:
        raise OutputError(
            f"{part} has {size} bytes, expected at least {length}",
            fix="start again, without resuming",
        )
    file = part.open("r+b")
    file.truncate(length)
    file.seek(length)
    return file
