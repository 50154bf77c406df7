"""Opens the file of a history to write or to read it. Anybody may have written the file, so it is checked before SQLite opens it.

SQLite goes by names, and follows links. Nor may a file be opened to look at it: whoever closes it again takes away the locks that SQLite
holds on it in this process. The folder is the user's own, and nobody else may write to it: so what was looked at stays there.

All functions block on the disk.
"""

from __future__ import annotations

import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import attrs

from learnae.errors import ConfigError, Problem
from learnae.identity.home_folder import ROOT, HomeFolder, open_home
from learnae.node.history_limits import (
    INDEX,
    JOURNAL,
    LOG,
    LONGEST_VALUE,
    MOST_BYTES,
    UPGRADE_SECONDS,
    TimeLimit,
    back_up,
    check_journals,
    too_large,
    upgrading,
)
from learnae.node.history_schema import APPLICATION_ID, STEPS, VERSION, version_of
from learnae.records import MEGABYTE

MEMORY, ON_DISK = ":memory:", ""  # an empty name is a file that SQLite makes for itself, and of which it keeps a few pages in memory
BUSY_SECONDS = 10.0
LOOK_SECONDS = 30.0  # for each question of whoever only looks, and for the look before something is written
BESIDE = (LOG, INDEX, JOURNAL)  # what SQLite puts beside the file


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
            _close_to_others(folder, path.name)
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
        raise too_large(folder.path / name)
    check_journals(folder, name, MOST_BYTES)
    return found[0] is not None


def _close_to_others(folder: HomeFolder, name: str) -> None:
    """Who may read a file may lock it, and so keep its owner from writing. What SQLite puts beside it takes its rights.

    Others may look into a home of root's that is open to them, as into a container's.
    """
    if os.geteuid() == ROOT:
        return
    with suppress(FileExistsError):
        os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600, dir_fd=folder.fd))
    for one in (name, *(f"{name}{suffix}" for suffix in BESIDE)):
        found = folder.look(one)
        if found is not None and found.st_uid == os.geteuid() and found.st_mode & 0o077:
            os.chmod(one, 0o600, dir_fd=folder.fd)


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
        steps = STEPS[version_of(connection, path) :]
        with upgrading(connection), TimeLimit(connection, UPGRADE_SECONDS):
            for statement in (statement for step in steps for statement in step):
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


LOOKS = 5

State = tuple[int, int, int] | None


def to_read(path: Path) -> tuple[sqlite3.Connection, TimeLimit]:
    """Makes and changes nothing. Raises ConfigError where there is no history, or what lies there is none."""
    try:
        with open_home(path.parent, looking=True) as folder:
            file = _File(folder, path)
            for _ in range(LOOKS):
                if not check_files(folder, path.name):
                    raise _no_history(path)
                if (connection := _found(file)) is not None:
                    connection.execute("PRAGMA query_only = ON")
                    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LONGEST_VALUE)
                    return connection, TimeLimit(connection, LOOK_SECONDS)
    except FileNotFoundError as error:
        raise _no_history(path) from error
    except OSError as error:
        raise ConfigError(Problem("peer.home", f"the history {path} cannot be read: {error.strerror}", "name another home")) from error
    raise ConfigError(Problem("peer.home", f"the history {path} was changed each time that it was read", "try again"))


@attrs.frozen
class _File:
    """The history and its journal, in a folder that is open."""

    folder: HomeFolder
    path: Path

    @property
    def uri(self) -> str:
        return self.path.absolute().as_uri()

    @property
    def journal(self) -> str:
        return f"{self.path.name}-wal"


def _found(file: _File) -> sqlite3.Connection | None:
    if not file.folder.is_own:  # there its owner may put a link in the place of what was looked at: SQLite is kept out
        return _elsewhere(file)
    return _beside_a_writer(file) or _of_a_file_at_rest(file)


def _beside_a_writer(file: _File) -> sqlite3.Connection | None:
    """Where there is a journal, somebody writes, or was killed: SQLite sees to it that each look finds a whole state. None without one."""
    if not _has_journal(file):
        return None
    try:
        connection = _looking(file)
    except ConfigError:
        if os.access(file.path.parent, os.W_OK):
            raise
        return _elsewhere(file)
    if not _is_empty(file):
        return connection
    connection.close()  # the writer has gone meanwhile, and the look itself has made a journal
    _put_journal_away(file)
    return _looking(file) if _has_journal(file) else None


def _looking(file: _File) -> sqlite3.Connection:
    with connected(f"{file.uri}?mode=ro", file.path) as connection:
        check_place(file.folder, file.path)
        with TimeLimit(connection, LOOK_SECONDS):
            version = version_of(connection, file.path)
        if version == VERSION:
            return connection
        with closing(connection):  # an old file stays as it is
            return _copied(connection, file.path)


def _put_journal_away(file: _File) -> None:
    """Whoever closes a file as the last one removes its journal, if it may write: SQLite knows who is the last, and we do not."""
    with suppress(ConfigError), connected(f"{file.uri}?mode=rw", file.path) as connection, closing(connection):
        connection.execute("PRAGMA user_version").fetchone()


def _elsewhere(file: _File) -> sqlite3.Connection | None:
    """What a peer that was killed has left in a folder that can only be read: there SQLite cannot play the journal back.

    None where somebody wrote into the file or took the journal away meanwhile: then the two do not belong together.
    """
    before, names = _state(file), [file.path.name, *([file.journal] if _has_journal(file) else [])]
    with tempfile.TemporaryDirectory(prefix="learnae-history-") as place:
        try:
            for name in names:
                with os.fdopen(file.folder.open(name, max_bytes=MOST_BYTES), "rb") as source, open(Path(place) / name, "xb") as copy:
                    copy_most(source, copy, os.fstat(source.fileno()).st_size)
        except FileNotFoundError:
            return None
        if _state(file) != before:
            return None
        with open_home(Path(place)) as folder:  # its owner may have changed it since it was looked at
            check_files(folder, file.path.name)
        with connected(Path(place) / file.path.name, file.path) as connection, closing(connection):
            return _copied(connection, file.path)


def copy_most(source: BinaryIO, copy: BinaryIO, most: int) -> None:
    """So many bytes, or all where there are fewer: whoever writes on meanwhile holds nobody up. Raises OSError."""
    while most > 0 and (chunk := source.read(min(MEGABYTE, most))):
        copy.write(chunk)
        most -= len(chunk)


def _of_a_file_at_rest(file: _File) -> sqlite3.Connection | None:
    """Without a journal nobody writes, and SQLite would make one, which it cannot on a medium that is only read: so it is told that
    nothing changes. If that was wrong by the time all is copied, the copy is worth nothing: None.
    """
    before = _state(file)
    try:
        with connected(f"{file.uri}?immutable=1", file.path) as connection, closing(connection):
            check_place(file.folder, file.path)
            copy = _copied(connection, file.path)
    except ConfigError:
        if not _has_journal(file) and _state(file) == before:
            raise
        return None
    if not _has_journal(file) and _state(file) == before:
        return copy
    copy.close()
    return None


def _copied(connection: sqlite3.Connection, path: Path) -> sqlite3.Connection:
    """In a file of SQLite's own that has no name and goes with the connection, brought up to date there: a long history fills no memory."""
    with TimeLimit(connection, LOOK_SECONDS):
        version_of(connection, path)
    with connected(ON_DISK, path) as copy:
        back_up(connection, copy, path)
        upgrade(copy, path)
        return copy


def _has_journal(file: _File) -> bool:
    """Without one nobody writes."""
    return file.folder.look(file.journal) is not None


def _is_empty(file: _File) -> bool:
    found = file.folder.look(file.journal)
    return found is not None and found.st_size == 0


def _state(file: _File) -> State:
    found = file.folder.look(file.path.name)
    return None if found is None else (found.st_ino, found.st_mtime_ns, found.st_size)


def _no_history(path: Path) -> ConfigError:
    return ConfigError(Problem(str(path.parent), "is no home of a peer: it has no history", "name the home of a peer that has run"))
