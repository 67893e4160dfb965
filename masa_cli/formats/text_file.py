"""Text with one record per line, and the errors that name the line.

Every reader of text goes through here, so that comments, byte order marks, line numbers and the
wording of errors are the same for all of them.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from masa_cli.errors import SourceError

HELP = "see the formats in the README, or at the end of masa track --help"


@dataclass(frozen=True, slots=True)
class TextFile:
    """The lines of a file that carry data.

    Attributes:
        path: where it was read from.
        lines: without the blank ones and those that start with #.
        numbers: of each line, its place in the file, from 1.
    """

    path: Path
    lines: list[str]
    numbers: array[int]

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
        return wrong_line(self.path, self.numbers[row], expected, got, self.lines[row])


def data_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Number (from 1) and text of each line, lazily; skips blank lines and those that start with #.

    Raises:
        SourceError: there is no such file, or it is no UTF-8 text.
    """
    with explained(path), path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, start=1):
            if "\0" in line:
                raise SourceError(f"{path} is not a text file (line {number} is binary)", fix=HELP)
            if line.strip() and not line.lstrip().startswith("#"):
                yield number, line.rstrip("\n")


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


def wrong_line(path: Path, number: int, expected: str, got: str, line: str) -> SourceError:
    """The error that blames one line of a file."""
    return SourceError(
        f'{path} line {number}: expected {expected}, got {got}: "{shortened(line)}"', fix=HELP
    )


def as_utf8(name: str) -> str:
    """A name that can be written: file names may hold bytes that are no text ("?" here)."""
    return name.encode("utf-8", "replace").decode()


def shortened(line: str, length: int = 80) -> str:
    """A line as it is quoted in errors; its end is cut where it is long."""
    return line if len(line) <= length else line[:length] + "…"
