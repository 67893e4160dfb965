"""One file that several processes change, one after the other: an SQLite database.

What is changed is there as a whole or not at all, whatever ends the process. Each row has a
checksum, because SQLite has none, and freed pages are overwritten: what is deleted is gone.
"""

from __future__ import annotations

import logging
import sqlite3
import zlib
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from masa_cli.errors import MasaError, OutputError, SourceError

_WAIT_SECONDS = 600.0  # for another process that writes
_AT_ONCE = 0.2  # seconds after which it is said that another one is waited for
_UNWRITABLE = ("readonly", "unable to open", "full", "disk I/O")

logger = logging.getLogger(__name__)


class Database:
    """Rows of an open file, whose last column is a checksum of the others.

    Args:
        path: of the file.
        connection: to it.
        what: it is, for errors, such as "gallery".
    """

    def __init__(self, path: Path, connection: sqlite3.Connection, what: str) -> None:
        self.path, self._what = path, what
        self._connection = connection

    @property
    def is_changed(self) -> bool:
        """Whether any row was changed here."""
        return self._connection.total_changes > 0

    def tables(self) -> set[str]:
        """Names of those that there are."""
        query = "SELECT name FROM sqlite_master WHERE type = 'table'"
        return {str(name) for (name,) in self._connection.execute(query)}

    def make(self, tables: Sequence[str]) -> None:
        """Make tables: each is its name and columns, as in `rows (id INTEGER PRIMARY KEY)`."""
        for each in tables:
            head, _, columns = each.partition("(")
            self._connection.execute(f"CREATE TABLE {head} (crc INTEGER NOT NULL, {columns}")

    def rows(
        self, table: str, columns: str, order: str, where: str = "1", *values: object
    ) -> list[tuple[Any, ...]]:
        """Rows of a table; all of its columns but the checksum must be asked for.

        Raises:
            SourceError: a row is not as it was written.
        """
        text = f"SELECT {columns}, crc FROM {table} WHERE {where} ORDER BY {order}"
        found = []
        for *fields, crc in self._connection.execute(text, values):
            if crc != _crc(fields):
                raise self.damaged(f"a row of its {table} is not as it was written")
            found.append(tuple(fields))
        return found

    def put(self, table: str, columns: str, fields: Sequence[Any]) -> None:
        """Add a row, or replace that of the same key."""
        marks = ", ".join("?" * (len(fields) + 1))
        text = f"INSERT OR REPLACE INTO {table} ({columns}, crc) VALUES ({marks})"
        self._connection.execute(text, (*fields, _crc(fields)))

    def delete(self, table: str, where: str, *values: object) -> None:
        """Delete rows."""
        self._connection.execute(f"DELETE FROM {table} WHERE {where}", values)

    def largest(self, table: str, column: str) -> int:
        """The largest number in a column, 0 where there is none."""
        query = f"SELECT IFNULL(MAX({column}), 0) FROM {table}"
        return int(self._connection.execute(query).fetchone()[0])

    def count(self, table: str) -> int:
        """Rows of a table."""
        return int(self._connection.execute(f"SELECT COUNT(*) FROM {table}").fetchone()[0])

    def check(self) -> None:
        """Raise SourceError where the pages of the file do not fit together."""
        (state,) = self._connection.execute("PRAGMA quick_check(1)").fetchone()
        if state != "ok":
            raise self.damaged(str(state))

    @contextmanager
    def changing(self, *, forgets: bool = False) -> Iterator[None]:
        """Inside, no other process changes the file; all changes are kept at the end, or none.

        Args:
            forgets: whether the file is then written anew, without the room of deleted rows.
        """
        execute = self._connection.execute
        try:
            execute(f"PRAGMA busy_timeout = {round(_AT_ONCE * 1000)}")
            execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error):
                raise
            logger.warning("%s: waiting for another run that writes it", self.path)
            execute(f"PRAGMA busy_timeout = {round(_WAIT_SECONDS * 1000)}")
            execute("BEGIN IMMEDIATE")
        execute(f"PRAGMA busy_timeout = {round(_WAIT_SECONDS * 1000)}")  # for those that read
        try:
            yield
        except BaseException:
            execute("ROLLBACK")
            raise
        execute("COMMIT")
        if forgets:
            execute("VACUUM")

    def damaged(self, reason: str) -> SourceError:
        """The error for a file that cannot be trusted."""
        return SourceError(
            f"{self.path} is damaged, or no {self._what} of masa: {reason}",
            fix="use a copy of it, or name another file",
        )

    def explained(self, error: sqlite3.Error) -> MasaError:
        """What SQLite says, as the error that it is."""
        text = str(error)
        if "locked" in text:
            return OutputError(
                f"{self.path} is being written by another run for {_WAIT_SECONDS / 60:.0f} minutes",
                fix="try again when that run has ended",
            )
        if any(word in text for word in _UNWRITABLE):
            return OutputError(
                f"{self.path} cannot be written: {text}",
                fix="choose a folder that exists, may be written to and has space left",
            )
        return self.damaged(text)


@contextmanager
def opened(path: Path, what: str, *, may_make: bool = False) -> Iterator[Database]:
    """The file as a database.

    Args:
        path: of the file.
        what: it is, for errors.
        may_make: whether it is made where there is none.

    Raises:
        SourceError, OutputError: it is none, or damaged, or cannot be written.
    """
    uri = f"{path.absolute().as_uri()}?mode={'rwc' if may_make else 'rw'}"
    try:
        connection = sqlite3.connect(uri, uri=True, timeout=_WAIT_SECONDS, isolation_level=None)
    except sqlite3.Error as error:
        raise OutputError(
            f"{path} cannot be opened: {error}",
            fix="choose a folder that exists, may be written to and has space left",
        ) from error
    with closing(connection):
        database = Database(path, connection, what)
        try:
            connection.execute("PRAGMA secure_delete = ON")
            connection.execute("PRAGMA synchronous = FULL")
            yield database
        except sqlite3.Error as error:
            raise database.explained(error) from error


def _crc(fields: Sequence[Any]) -> int:
    crc = 0
    for each in fields:
        data = each if isinstance(each, bytes) else repr(each).encode()
        crc = zlib.crc32(data + b"\0", crc)
    return crc
