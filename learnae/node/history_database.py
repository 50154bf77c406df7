"""The one connection of a history: every question and every write goes through it, and what a damaged file makes of it has one name."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, Self

from learnae.errors import UnavailableError
from learnae.node.history_file import LOOK_SECONDS, to_read, to_write, transaction, upgrade
from learnae.node.history_limits import TimeLimit, taken
from learnae.node.history_schema import checked

USUAL, DURABLE = "PRAGMA synchronous = NORMAL", "PRAGMA synchronous = FULL"


class Database:
    """One connection; `":memory:"` forgets."""

    def __init__(self, connection: sqlite3.Connection, limit: TimeLimit | None = None) -> None:
        self._connection = connection
        self._limit = limit
        self._lock = threading.Lock()

    @classmethod
    def open(cls, path: Path | str) -> Self:
        """To read and write; a file of an older version is brought up to date. Raises ConfigError when it cannot be used."""
        with to_write(path) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute(USUAL)
            upgrade(connection, path)
        return cls(connection, TimeLimit(connection, LOOK_SECONDS))

    @classmethod
    def read(cls, path: Path) -> Self:
        """To read only, also while a node writes. Makes and changes nothing. Raises ConfigError where there is no history."""
        connection, limit = to_read(path)
        return cls(connection, limit)

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def _using(self) -> Iterator[sqlite3.Connection]:
        try:
            with self._lock, nullcontext() if self._limit is None else self._limit:
                yield self._connection
        except sqlite3.OperationalError as error:
            if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_ERROR:
                raise _damaged(error) from error  # such as a sum of its rows that overflows
            raise UnavailableError(f"the history of this peer cannot be used: {error}") from error
        except sqlite3.DatabaseError as error:
            too_long = isinstance(error, sqlite3.DataError) and self._limit is not None
            if type(error) is not sqlite3.DatabaseError and not too_long:  # a mistake of ours
                raise
            raise _damaged(error) from error
        except UnicodeDecodeError as error:  # SQLite's own words repeat what stands in a damaged file
            raise _damaged(error) from error

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """All or nothing, whatever happens; a power cut may take the last few of them, in order. A round waits for no disk."""
        with self._using() as connection, transaction(connection):
            yield connection

    @contextmanager
    def writing_durably(self) -> Iterator[sqlite3.Connection]:
        """On the disk when it is left, with all that was written before."""
        with self._using() as connection:
            connection.execute(DURABLE)
            try:
                with transaction(connection):
                    yield connection
            finally:
                connection.execute(USUAL)

    def rows(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        """A question to one table. Each column is of the table's type, which SQLite does not see to: any program may have written it."""
        with self._using() as connection:
            cursor = connection.execute(query, values)
            return checked(query, cursor.description, taken(cursor))


def _damaged(error: Exception) -> UnavailableError:
    return UnavailableError(f"the history of this peer is damaged: {error}; end the peer and move history.sqlite away")


def keep_newest(db: sqlite3.Connection, table: str, most: int) -> None:
    """Of a table to which rows are only added: no gaps, so that nothing has to be counted."""
    db.execute(f"DELETE FROM {table} WHERE rowid <= (SELECT max(rowid) FROM {table}) - ?", (most,))


def keep_last_changed(db: sqlite3.Connection, table: str, most: int) -> None:
    """Of a table in which rows are replaced: each that is leaves a gap behind, and counts as a new one."""
    db.execute(f"DELETE FROM {table} WHERE rowid <= (SELECT rowid FROM {table} ORDER BY rowid DESC LIMIT 1 OFFSET ?)", (most,))
