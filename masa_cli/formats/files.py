"""Files that are written whole or not at all, text that is read line by line, and their errors."""

from __future__ import annotations

import codecs
import os
import shutil
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Generic, TypeVar

from masa_cli.errors import OutputError, SourceError, shortened

F = TypeVar("F", bound=AbstractContextManager[Any])
W = TypeVar("W", bound="FileWriter[Any]")

_MAX_NAME = 255 - len(".part")  # of a file or folder, bytes; results are begun as .part
MIN_FREE_BYTES = 50 * 2**20  # less free space than this ends before it begins
_PEEK = 65_536  # bytes of a file that are sniffed at
_UTF16_MARKS = codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE
HELP = "see docs/formats.md, or the end of masa track --help-all"


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


class FileWriter(Generic[F]):
    """What writers share: their file is complete when they are left without an exception.

    Args:
        file: what is written to.
    """

    def __init__(self, file: F) -> None:
        self._file = file

    def __enter__(self: W) -> W:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is None:
            with self._file:
                self._write_end()
        else:
            self._file.__exit__(kind, error, traceback)

    def _write_end(self) -> None:
        """Write what can only be known, or only stand, at the end."""


def fingerprint(path: Path) -> str:
    """Changes when a file does; of a folder, `source.info` tells how many images it has."""
    if path.is_dir():
        return "folder"
    status = path.stat()
    return f"{status.st_size} bytes, changed at {status.st_mtime_ns}"


def part_of(path: Path) -> Path:
    """Where a result is written until it is complete."""
    return path.with_name(path.name + ".part")


def unwritable(part: Path, reason: str | None) -> OutputError:
    """The error for a file the system refuses to create or to extend."""
    return OutputError(
        f"{part} cannot be written: {reason}",
        fix="choose a folder that exists, may be written to and has space left",
    )


def make_folder(folder: Path) -> None:
    """Make the folder; raise OutputError if it cannot be written to or hardly has space."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".masa-probe"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise OutputError(
            f"{folder} cannot be written to: {error.strerror}",
            fix="choose another place with -o",
        ) from None
    free = shutil.disk_usage(folder).free
    if free < MIN_FREE_BYTES:
        raise OutputError(
            f"only {free / 2**20:.0f} MiB are free where {folder} is",
            fix="make room, or choose another place with -o",
        )


def refuse_existing(outputs: Sequence[Path]) -> None:
    """Raise OutputError if a result is there already."""
    for path in outputs:
        if path.exists():
            raise OutputError(
                f"{path} exists already",
                fix="replace it with --overwrite, or choose another place with -o",
            )


def refuse_inputs(outputs: Sequence[Path], inputs: Sequence[Path]) -> None:
    """Raise OutputError if a file that is read would be written, too."""
    read = {path.resolve() for path in inputs}
    for path in outputs:
        if path.resolve() in read:
            raise OutputError(
                f"{path} is an input of this run and would be overwritten",
                fix="choose another place with -o",
            )


def refuse_long_names(outputs: Sequence[Path]) -> None:
    """Raise OutputError if the name of a result would be longer than file systems allow."""
    for path in outputs:
        if any(len(os.fsencode(part)) > _MAX_NAME for part in (*path.parent.parts, path.name)):
            raise OutputError(
                f"{path.name} would have a longer name than the {_MAX_NAME} bytes there can be",
                fix="rename the video to something shorter, and choose a shorter -o",
            )


@dataclass(frozen=True, slots=True)
class TextFile:
    """The lines of a file that carry data.

    Attributes:
        path: where it was read from.
        lines: without the blank ones and those that start with #.
        numbers: of each line, where it stands in the file, from 1.
        unit: what is numbered.
    """

    path: Path
    lines: list[str]
    numbers: array[int]
    unit: str = "line"

    @staticmethod
    def read(path: Path) -> TextFile:
        """Read the whole file; raises SourceError where it is no text."""
        lines, numbers = [], array("q")
        for number, line in data_lines(path):
            lines.append(line)
            numbers.append(number)
        return TextFile(path, lines, numbers)

    def wrong(self, row: int, expected: str, got: str) -> SourceError:
        """The error that blames `lines[row]`."""
        number, line = self.numbers[row], self.lines[row]
        return wrong_line(self.path, number, expected, got, line, unit=self.unit)


def data_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Number (from 1) and text of each line, lazily; skips blank lines and those that start with #.

    Raises:
        SourceError: there is no such file, or it is no text in UTF-8 or, marked as such, UTF-16.
    """
    with explained(path), path.open(encoding=encoding_of(path)) as file:
        for number, line in enumerate(file, start=1):
            if "\0" in line:
                raise SourceError(f"{path} is not a text file (line {number} is binary)", fix=HELP)
            if line.strip() and not line.lstrip().startswith("#"):
                yield number, line.rstrip("\n")


def encoding_of(path: Path) -> str:
    """UTF-8 except where a mark says UTF-16, as PowerShell and spreadsheets write text."""
    with path.open("rb") as file:
        return "utf-16" if file.read(2) in _UTF16_MARKS else "utf-8-sig"


def head_of(path: Path) -> tuple[str, bytes]:
    """What formats are recognised by: the first line, and the beginning of the file in UTF-8."""
    with explained(path):
        head = utf8_of(path, _PEEK).lstrip()
    return head.partition(b"\n")[0].decode(errors="replace"), head


def utf8_of(path: Path, size: int = -1) -> bytes:
    """A file in UTF-8 without a mark, or its first `size` bytes."""
    with path.open("rb") as file:
        content = file.read(size)
    if content.startswith(_UTF16_MARKS):
        return content.decode("utf-16", "replace").encode()
    return content.removeprefix(codecs.BOM_UTF8)


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turns what the system says of an unreadable file into a SourceError."""
    try:
        yield
    except FileNotFoundError:
        raise SourceError(f"{path} does not exist", fix="check the path") from None
    except IsADirectoryError:
        raise SourceError(f"{path} is a folder, expected a file", fix=HELP) from None
    except UnicodeDecodeError:
        raise SourceError(f"{path} is not UTF-8 text", fix="save it as UTF-8 text") from None
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}", fix=HELP) from error


def wrong_line(
    path: Path, number: int, expected: str, got: str, line: str, *, unit: str = "line"
) -> SourceError:
    """The error that blames one line of a file."""
    return SourceError(
        f'{path} {unit} {number}: expected {expected}, got {got}: "{shortened(line)}"', fix=HELP
    )


def as_utf8(name: str) -> str:
    """A name that can be written: file names may hold bytes that are no text ("?" here)."""
    return name.encode("utf-8", "replace").decode()


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
