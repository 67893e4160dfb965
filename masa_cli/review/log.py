"""The log of edits: lines of JSON that are only ever appended, and what they come to.

    {"masa":"edits","version":1,"tracks":"tracks.jsonl","digest":"0f3c…"}
    {"edit":"swap","id":3,"other":7,"frame":120}
    {"edit":"undo"}

A line is on the disk before anyone is told that the edit is done, so a kill loses nothing. A last
line without an end was never confirmed, and is left out.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import orjson

from masa_cli.errors import OutputError, SourceError, shortened
from masa_cli.formats.files import explained, unwritable
from masa_cli.formats.tables import TrackTable
from masa_cli.review.edits import Edit, EditError, as_record, parse
from masa_cli.review.tracks import Patch, TracksById, digest_of, settled

logger = logging.getLogger(__name__)

_VERSION = 1
UNDO, REDO = "undo", "redo"


@dataclass(slots=True)
class History:
    """Tracks, what was done to them, and what was undone.

    Attributes:
        tracks: as they are now.
        done: edits that are in force, each with what it replaced.
        undone: edits that can be done again, the next one last.
    """

    tracks: TracksById
    done: list[tuple[Edit, Patch, tuple[str, ...]]] = field(default_factory=list)
    undone: list[Edit] = field(default_factory=list)

    def do(self, edit: Edit) -> Patch:
        """Do an edit; returns what became of the identities it changed. EditError if it cannot."""
        patch = self._apply(edit)
        self.undone.clear()
        return patch

    def undo(self) -> Patch:
        """Take the last edit back; EditError if there is none."""
        if not self.done:
            raise EditError("there is nothing to undo", fix="edit something first")
        edit, before, classes = self.done.pop()
        self.tracks = self.tracks.patched(before, classes)
        self.undone.append(edit)
        return before

    def redo(self) -> Patch:
        """Do again what was undone last; EditError if there is nothing."""
        if not self.undone:
            raise EditError("there is nothing to redo", fix="undo something first")
        edit = self.undone.pop()
        return self._apply(edit)

    def step(self, record: Mapping[str, object]) -> Patch:
        """Do what a line of the log says."""
        name = record.get("edit")
        if name == UNDO:
            return self.undo()
        if name == REDO:
            return self.redo()
        return self.do(parse(record))

    def _apply(self, edit: Edit) -> Patch:
        patch, classes = edit.apply(self.tracks)
        before = {id_: self.tracks.tracks.get(id_) for id_ in patch}
        patch = settled(before, patch)
        self.done.append((edit, before, self.tracks.classes))
        self.tracks = self.tracks.patched(patch, classes)
        return patch


@dataclass(frozen=True, slots=True)
class LogFile:
    """What is in a file of edits.

    Attributes:
        path: of the file.
        records: its edits, undos and redos, in order.
        numbers: the line of each, from 1.
        digest: of the tracks that were edited.
        length: bytes of its whole lines.
    """

    path: Path
    records: Sequence[Mapping[str, object]]
    numbers: Sequence[int]
    digest: str
    length: int

    @staticmethod
    def read(path: Path) -> LogFile:
        """Read a file; SourceError where it is no log of edits, or one of a later version."""
        with explained(path):
            data = path.read_bytes()
        whole, newline, torn = data.rpartition(b"\n")
        length = len(whole) + len(newline)
        if torn:
            logger.warning("%s: its last line is not whole and was left out", path)
        lines = whole.splitlines()
        records = [_object(path, number, line) for number, line in enumerate(lines, start=1)]
        head = records[0] if records else {}
        if head.get("masa") != "edits" or not isinstance(head.get("digest"), str):
            raise SourceError(
                f"{path} is no log of edits", fix="give the edits.jsonl of masa review"
            )
        if head.get("version") != _VERSION:
            raise SourceError(
                f"{path} was written by a later version of masa", fix="update masa to read it"
            )
        numbers = range(2, len(records) + 1)
        return LogFile(path, records[1:], numbers, str(head["digest"]), length)

    def check(self, tracks: Path, digest: str) -> None:
        """Raise SourceError unless these tracks were edited."""
        if digest != self.digest:
            raise SourceError(
                f"{self.path} has edits of other tracks than those in {tracks}",
                fix="give the tracks as they were when the review began, or another file of edits",
            )

    def replay(self, history: History) -> None:
        """Do all of it; SourceError that names the line where one cannot be done."""
        for number, record in zip(self.numbers, self.records, strict=True):
            try:
                history.step(record)
            except EditError as error:
                raise SourceError(
                    f"{self.path} line {number}: {error.problem}", fix=error.fix
                ) from error


def replayed(path: Path, table: TrackTable, log: LogFile) -> History:
    """Tracks after all that a log says.

    Args:
        path: the file of tracks, for messages.
        table: what is in it.
        log: of these tracks.

    Raises:
        SourceError: the log is of other tracks, or damaged.
    """
    log.check(path, digest_of(table))
    history = History(TracksById.of(table))
    log.replay(history)
    return history


class LogWriter:
    """Appends to a file of edits, which is made with the first edit; a context manager.

    Args:
        path: the file.
        tracks: the file of tracks, whose name is noted.
        digest: of the tracks.
        length: bytes of the file that are kept; 0 begins it.
    """

    def __init__(self, path: Path, tracks: Path, digest: str, length: int) -> None:
        self._path, self._length = path, length
        self._head = {
            "masa": "edits",
            "version": _VERSION,
            "tracks": tracks.name.encode("utf-8", "replace").decode(),
            "digest": digest,
        }
        self._file: BinaryIO | None = None
        if length:
            self._open()

    def append(self, edit: Edit | str) -> None:
        """Write one edit, UNDO or REDO; it is on the disk when this returns.

        Raises OutputError; the file then ends as before.
        """
        record = {"edit": edit} if isinstance(edit, str) else as_record(edit)
        file = self._file or self._open()
        data = orjson.dumps(record) + b"\n"
        try:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        except OSError as error:
            self._cut(file)
            raise unwritable(self._path, error.strerror) from error
        self._length += len(data)

    def close(self) -> None:
        """Close the file, if there is one."""
        if self._file:
            self._file.close()

    def __enter__(self) -> LogWriter:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _open(self) -> BinaryIO:
        try:
            is_empty = self._path.exists() and self._path.stat().st_size == 0
            if self._length or is_empty:
                file: BinaryIO = self._path.open("r+b")
            else:
                file = self._path.open("x+b")
        except FileExistsError:
            raise OutputError(
                f"{self._path} has appeared meanwhile", fix="end the other review of these tracks"
            ) from None
        except OSError as error:
            raise unwritable(self._path, error.strerror) from error
        _lock(file, self._path)
        self._file = file
        try:
            file.truncate(self._length)
            file.seek(self._length)
            if not self._length:
                data = orjson.dumps(self._head) + b"\n"
                file.write(data)
                file.flush()
                self._length = len(data)
        except OSError as error:
            raise unwritable(self._path, error.strerror) from error
        return file

    def _cut(self, file: BinaryIO) -> None:
        try:
            file.truncate(self._length)
            file.seek(self._length)
        except OSError:
            logger.warning("%s: its last line may be damaged", self._path)


def _object(path: Path, number: int, line: bytes) -> dict[str, object]:
    try:
        record = orjson.loads(line)
    except orjson.JSONDecodeError:
        record = None
    if not isinstance(record, dict):
        text = shortened(line.decode(errors="replace"))
        raise SourceError(
            f'{path} line {number}: expected a JSON object, got "{text}"',
            fix="remove the line, or give the edits.jsonl of masa review",
        )
    return record


def _lock(file: BinaryIO, path: Path) -> None:
    """Keep a second review from writing the same file, where the system can."""
    try:
        import fcntl
    except ImportError:  # Windows
        return
    try:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise OutputError(
            f"{path} is being written by another review",
            fix="end that one first, or name another file with --edits",
        ) from None
