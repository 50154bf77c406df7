"""The SQLite file behind a history: opened, brought up to date, read beside the node that writes it.

All methods block on the disk: call them in a thread. One connection, one writer at a time. A disk that is full or gone is Unavailable,
and what was being written is then not there.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, Self

from learnae.errors import ConfigError, Problem, Unavailable
from learnae.node.schema import STEPS, VERSION

BUSY_SECONDS = 10.0
LOOKS = 5
USUAL, DURABLE = "PRAGMA synchronous = NORMAL", "PRAGMA synchronous = FULL"


class Database:
    """One connection; `":memory:"` forgets."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._lock = threading.Lock()

    @classmethod
    def open(cls, path: Path | str) -> Self:
        """To read and write; a file of an older version is brought up to date. Raises ConfigError when it cannot be used."""
        with _opening(path, path) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute(USUAL)
            _upgrade(connection, path)
        return cls(connection)

    @classmethod
    def read(cls, path: Path) -> Self:
        """To read only, also while a node writes. Makes and changes nothing. Raises ConfigError where there is no history."""
        if not path.exists():
            raise ConfigError(Problem(str(path.parent), "is no home of a peer: it has no history", "name the home of a peer that has run"))
        for _ in range(LOOKS):
            if (connection := _beside_a_writer(path) or _of_a_file_at_rest(path)) is not None:
                return cls(connection)
        raise ConfigError(Problem("peer.home", f"the history {path} was changed each time that it was read", "try again"))

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
            with self._lock:
                yield self._connection
        except sqlite3.OperationalError as error:
            raise Unavailable(f"the history of this peer cannot be used: {error}") from error
        except sqlite3.DatabaseError as error:
            if type(error) is not sqlite3.DatabaseError:  # a mistake of ours
                raise
            raise Unavailable(f"the history of this peer is damaged: {error}; end the peer and move history.sqlite away") from error

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """All or nothing, whatever happens; a power cut may take the last few of them, in order. A round waits for no disk."""
        with self._using() as connection, _transaction(connection):
            yield connection

    @contextmanager
    def _writing_durably(self) -> Iterator[sqlite3.Connection]:
        """On the disk when it is left, with all that was written before."""
        with self._using() as connection:
            connection.execute(DURABLE)
            try:
                with _transaction(connection):
                    yield connection
            finally:
                connection.execute(USUAL)

    def _rows(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        with self._using() as connection:
            return connection.execute(query, values).fetchall()


def keep_newest(db: sqlite3.Connection, table: str, most: int) -> None:
    """Of a table to which rows are only added: no gaps, so that nothing has to be counted."""
    db.execute(f"DELETE FROM {table} WHERE rowid <= (SELECT max(rowid) FROM {table}) - ?", (most,))


def keep_last_changed(db: sqlite3.Connection, table: str, most: int) -> None:
    """Of a table in which rows are replaced: each that is leaves a gap behind, and counts as a new one."""
    db.execute(f"DELETE FROM {table} WHERE rowid <= (SELECT rowid FROM {table} ORDER BY rowid DESC LIMIT 1 OFFSET ?)", (most,))


def _beside_a_writer(path: Path) -> sqlite3.Connection | None:
    """Where there is a journal, somebody writes, or was killed: SQLite sees to it that each look finds a whole state. None without one."""
    if _at_rest(path):
        return None
    try:
        connection = _looking(path)
    except ConfigError:
        if os.access(path.parent, os.W_OK):
            raise
        return _elsewhere(path)
    if not _is_empty(_journal(path)):
        return connection
    connection.close()  # the writer has gone meanwhile, and the look itself has made a journal
    _put_journal_away(path)
    return None if _at_rest(path) else _looking(path)


def _looking(path: Path) -> sqlite3.Connection:
    with _opening(f"{path.absolute().as_uri()}?mode=ro", path) as connection:
        if _version(connection, path) == VERSION:
            return connection
        with closing(connection):  # an old file stays as it is
            return _copied(connection, path)


def _put_journal_away(path: Path) -> None:
    """Whoever closes a file as the last one removes its journal, if it may write: SQLite knows who is the last, and we do not."""
    with suppress(ConfigError), _opening(f"{path.absolute().as_uri()}?mode=rw", path) as connection, closing(connection):
        connection.execute("PRAGMA user_version").fetchone()


def _elsewhere(path: Path) -> sqlite3.Connection | None:
    """What a peer that was killed has left in a folder that can only be read: there SQLite cannot play the journal back.

    None where somebody wrote into the file or took the journal away meanwhile: then the two do not belong together.
    """
    before = _state(path)
    with tempfile.TemporaryDirectory(prefix="learnae-history-") as folder:
        try:
            for file in (path, _journal(path)):
                shutil.copy(file, folder)
        except FileNotFoundError:
            return None
        if _state(path) != before:
            return None
        with _opening(Path(folder) / path.name, path) as connection, closing(connection):
            return _copied(connection, path)


def _of_a_file_at_rest(path: Path) -> sqlite3.Connection | None:
    """Without a journal nobody writes, and SQLite would make one, which it cannot on a medium that is only read: so it is told that
    nothing changes. If that was wrong by the time all is copied, the copy is worth nothing: None.
    """
    before = _state(path)
    try:
        with _opening(f"{path.absolute().as_uri()}?immutable=1", path) as connection, closing(connection):
            copy = _copied(connection, path)
    except ConfigError:
        if _at_rest(path) and _state(path) == before:
            raise
        return None
    if _at_rest(path) and _state(path) == before:
        return copy
    copy.close()
    return None


def _copied(connection: sqlite3.Connection, path: Path) -> sqlite3.Connection:
    """In memory, and brought up to date there."""
    _version(connection, path)
    with _opening(":memory:", path) as copy:
        connection.backup(copy)
        _upgrade(copy, path)
        copy.execute("PRAGMA query_only = ON")
        return copy


def _at_rest(path: Path) -> bool:
    return not _journal(path).exists()


def _journal(path: Path) -> Path:
    return path.with_name(f"{path.name}-wal")


def _is_empty(file: Path) -> bool:
    try:
        return file.stat().st_size == 0
    except FileNotFoundError:
        return False


def _state(path: Path) -> tuple[int, int, int]:
    status = path.stat()
    return status.st_ino, status.st_mtime_ns, status.st_size


def _version(connection: sqlite3.Connection, path: Path | str) -> int:
    """Of a file that this Learnae can read. Raises ConfigError."""
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if version > VERSION:
        raise ConfigError(Problem("peer.home", f"a newer Learnae has written {path}", "install that one, or name another home"))
    return version


def _upgrade(connection: sqlite3.Connection, path: Path | str) -> None:
    with _transaction(connection):
        for statement in (statement for step in STEPS[_version(connection, path) :] for statement in step):
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {VERSION}")


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # a full disk has ended it already
            connection.execute("ROLLBACK")
        raise


@contextmanager
def _opening(name: Path | str, path: Path | str) -> Iterator[sqlite3.Connection]:
    """A connection that is closed again where it cannot be used. Raises ConfigError, naming `path`."""
    connection = None
    try:
        connection = sqlite3.connect(name, check_same_thread=False, isolation_level=None, timeout=BUSY_SECONDS, uri=isinstance(name, str))
        yield connection
    except BaseException as error:
        if connection is not None:
            connection.close()
        if not isinstance(error, sqlite3.Error):
            raise
        message = f"the history {path} cannot be used: {error}"
        raise ConfigError(Problem("peer.home", message, "move it away, or name another home")) from error
