"""The file of a history, opened as one that anybody may have written: what lies there is looked at before SQLite is let at it.

SQLite goes by names, and follows links. Nor may a file be opened to look at it: whoever closes it again takes away the locks that SQLite
holds on it in this process. The folder is the user's own, and nobody else may write to it: so what was looked at stays there.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from learnae.errors import ConfigError, Problem
from learnae.identity.home_folder import HomeFolder, open_home
from learnae.node.journals import check_journal
from learnae.node.recognising import version_of
from learnae.node.schema import APPLICATION_ID, STEPS, VERSION
from learnae.records import MEGABYTE

MEMORY, ON_DISK = ":memory:", ""  # an empty name is a file that SQLite makes for itself, and of which it keeps a few pages in memory
BUSY_SECONDS = 10.0
LOOK_SECONDS = 30.0  # for each question of whoever only looks, and for the look before something is written
MOST_BYTES = 4096 * MEGABYTE
BESIDE = ("-wal", "-shm", "-journal")  # what SQLite puts beside the file
_OPERATIONS = 10_000  # of SQLite's machine between two looks at the clock


class TimeLimit:
    """What SQLite is asked while it is entered must be answered within `seconds`, else it raises OperationalError."""

    def __init__(self, connection: sqlite3.Connection, seconds: float) -> None:
        self._seconds = seconds
        self._end: float | None = None
        connection.set_progress_handler(self._is_over, _OPERATIONS)

    def __enter__(self) -> Self:
        self._end = time.monotonic() + self._seconds
        return self

    def __exit__(self, *_: object) -> None:
        self._end = None

    def _is_over(self) -> bool:
        return self._end is not None and time.monotonic() > self._end


@contextmanager
def to_write(path: Path | str) -> Iterator[sqlite3.Connection]:
    """A connection, closed where it cannot be used. Raises ConfigError for all but our own file in the user's own folder."""
    if path == MEMORY:
        with connected(MEMORY, path) as connection:
            yield connection
        return
    path = Path(path)
    try:
        with open_home(path.parent) as folder:
            check_files(folder, path.name)
            with connected(path, path) as connection:
                with TimeLimit(connection, LOOK_SECONDS):
                    check_place(folder, path)
                    version_of(connection, path)
                yield connection  # an honest migration may take longer
    except OSError as error:
        raise ConfigError(Problem("peer.home", f"the history {path} cannot be used: {error.strerror}", "name another home")) from error


def check_files(folder: HomeFolder, name: str) -> bool:
    """Whether there is a file of this name. Raises ConfigError unless it, and what SQLite has put beside it, are plain and do no harm."""
    found = [folder.look(one) for one in (name, *(f"{name}{suffix}" for suffix in BESIDE))]
    if any(one is not None and one.st_size > MOST_BYTES for one in found):
        raise ConfigError(Problem("peer.home", f"the history {folder.path / name} is too large to be one", "move it away"))
    check_journal(folder, name, MOST_BYTES)
    return found[0] is not None


def check_place(folder: HomeFolder, path: Path) -> None:
    """Raises ConfigError where another folder has come into the place of the one that was looked at."""
    if not os.path.samestat(os.fstat(folder.fd), path.parent.stat()):
        raise ConfigError(Problem("peer.home", f"the folder {path.parent} was changed while it was opened", "try again"))


@contextmanager
def connected(name: Path | str, path: Path | str) -> Iterator[sqlite3.Connection]:
    """A connection that is closed again where it cannot be used. Raises ConfigError, naming `path`."""
    connection = None
    try:
        connection = sqlite3.connect(name, check_same_thread=False, isolation_level=None, timeout=BUSY_SECONDS, uri=isinstance(name, str))
        harden(connection)
        yield connection
    except BaseException as error:
        if connection is not None:
            connection.close()
        if not isinstance(error, sqlite3.Error | UnicodeDecodeError):  # SQLite's own words repeat what stands in a damaged file
            raise
        if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_INTERRUPT:  # by a limit of time: nothing is wrong with the file
            message = f"the history {path} was not looked through within {LOOK_SECONDS:g} seconds"
            raise ConfigError(Problem("peer.home", message, "try again when this machine and its disk have less to do")) from error
        message = f"the history {path} cannot be used: {error}"
        raise ConfigError(Problem("peer.home", message, "move it away, or name another home")) from error


def harden(connection: sqlite3.Connection) -> None:
    """What a file brings is data, and nothing that does something."""
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute("PRAGMA cell_size_check = ON")
    configure: Any = getattr(connection, "setconfig", None)  # from Python 3.12 on
    if configure is not None:
        configure(sqlite3.SQLITE_DBCONFIG_DEFENSIVE, True)  # type: ignore[attr-defined, unused-ignore]


def upgrade(connection: sqlite3.Connection, path: Path | str) -> None:
    """To the newest version, all or nothing. Raises ConfigError for a file that is none of ours."""
    with transaction(connection):
        for statement in (statement for step in STEPS[version_of(connection, path) :] for statement in step):
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {VERSION}")
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """All or nothing."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # a full disk has ended it already
            connection.execute("ROLLBACK")
        raise
