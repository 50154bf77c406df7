"""How much a history that anybody may have written can take of time, memory and disk, and what lies beside it can make of it.

SQLite plays a journal back before it lets anybody read or write. One of one database only says how its pages were. One of a transaction
over several ends in the name of a further file, and once it is played back, SQLite deletes that file, wherever it lies. No transaction of
ours is over several, so no journal of ours ends like that.

A journal, and each last frame of a transaction in a log (`-wal`), say how many pages the database has: whoever copies it copies that
many. An index (`-shm`) says nothing that is believed: it is emptied by whoever comes first.
"""

from __future__ import annotations

import os
import sqlite3
import struct
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from learnae.errors import ConfigError, Problem
from learnae.identity.home_folder import HomeFolder
from learnae.records import MEGABYTE

COPY_SECONDS = 120.0
UPGRADE_SECONDS = 600.0  # of a long history, on a slow disk
MOST_BYTES = 4096 * MEGABYTE
LONGEST_VALUE = MEGABYTE  # whoever looks needs nothing that is longer, nor does an upgrade
MOST_READ = 256 * MEGABYTE  # of the answer to one question; the longest that a peer writes is some 100 MB
_COPIED_AT_ONCE = 1024  # pages
_GROWTH = 64 * MEGABYTE  # by an upgrade, beside a quarter of what is there
_OPERATIONS = 10_000  # of SQLite's machine between two looks at the clock
_EACH = 64  # bytes of memory for a value, beside its text


class TimeLimit:
    """What SQLite is asked while it is entered must be answered within `seconds`, else it raises OperationalError."""

    def __init__(self, connection: sqlite3.Connection, seconds: float) -> None:
        self._seconds = seconds
        self._connection = connection
        self._end: float | None = None

    def __enter__(self) -> Self:
        self._connection.set_progress_handler(self._is_over, _OPERATIONS)
        self._end = time.monotonic() + self._seconds
        return self

    def __exit__(self, *_: object) -> None:
        self._end = None

    def _is_over(self) -> bool:
        return self._end is not None and time.monotonic() > self._end


@contextmanager
def upgrading(connection: sqlite3.Connection) -> Iterator[None]:
    """The file becomes no longer than an upgrade makes it: rows that share their pages no longer do once they are written."""
    pages, page_bytes = (int(connection.execute(f"PRAGMA {name}").fetchone()[0]) for name in ("page_count", "page_size"))
    most = int(connection.execute("PRAGMA max_page_count").fetchone()[0])
    longest = connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LONGEST_VALUE)
    connection.execute(f"PRAGMA max_page_count = {pages + pages // 4 + _GROWTH // page_bytes}")
    try:
        yield
    finally:
        connection.execute(f"PRAGMA max_page_count = {most}")
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, longest)


def taken(rows: Iterable[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """All rows. Raises sqlite3.DatabaseError for more than a peer has: of a small file, many rows may be one long text.

    One row alone is as long as SQLite lets a value be.
    """
    left = MOST_READ
    found: list[tuple[Any, ...]] = []
    for row in rows:
        left -= sum(_EACH + (len(value) if isinstance(value, str | bytes) else 0) for value in row)
        if left < 0 and found:
            raise sqlite3.DatabaseError("more stands in it than a peer writes")
        found.append(row)
    return found


def back_up(connection: sqlite3.Connection, copy: sqlite3.Connection, path: Path) -> None:
    """All pages, as they are now. Raises ConfigError, naming `path`, where there are too many, or it takes too long."""
    end = time.monotonic() + COPY_SECONDS
    page_bytes = int(connection.execute("PRAGMA page_size").fetchone()[0])

    def look(_status: int, _left: int, pages: int) -> None:
        if pages * page_bytes > MOST_BYTES:
            raise too_large(path)
        if time.monotonic() > end:
            message = f"the history {path} was not copied within {COPY_SECONDS:g} seconds"
            raise ConfigError(Problem("peer.home", message, "try again when this machine and its disk have less to do"))

    connection.execute("BEGIN")  # of one moment: else each write of somebody else would begin the copy anew
    try:
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        connection.backup(copy, pages=_COPIED_AT_ONCE, progress=look)
    finally:
        connection.execute("ROLLBACK")


def too_large(path: Path) -> ConfigError:
    return ConfigError(Problem("peer.home", f"the history {path} is too large to be one", "move it away"))


JOURNAL, LOG, INDEX = "-journal", "-wal", "-shm"
MAGIC = bytes.fromhex("d9d505f920a163d7")  # a journal starts with it, and ends with it where a further file is named
ROOM = 64 * MEGABYTE  # pages that were taken and given back in one transaction stand nowhere
_HEAD = struct.Struct(">8s5I")  # magic, records, nonce, pages of the database, bytes of a sector, bytes of a page
_LOG_HEAD = struct.Struct(">4I8s2I")  # magic, version, bytes of a page, number, salt, sums
_FRAME = struct.Struct(">2I8s2I")  # page, pages of the database where a transaction ends, salt, sums
_LOG_MAGIC = 0x377F0682  # the last bit says in which order numbers are summed
_WIDEST_PAGE = 1 << 16


def check_journals(folder: HomeFolder, name: str, most_bytes: int) -> None:
    """Raises ConfigError where to play back what lies beside the database `name` would delete a file, or make the database longer than
    it can be: `most_bytes`, and about twice what is there.
    """
    there = sum(found.st_size for end in ("", JOURNAL, LOG) if (found := folder.look(f"{name}{end}")) is not None)
    most = min(most_bytes, 2 * there + ROOM)
    _check_journal(folder, name, most)
    _check_log(folder, name, most)


def _check_journal(folder: HomeFolder, name: str, most_bytes: int) -> None:
    try:
        descriptor = folder.open(f"{name}{JOURNAL}")
    except FileNotFoundError:  # also of a transaction that has ended meanwhile
        return
    with os.fdopen(descriptor, "rb") as file:
        head = file.read(_HEAD.size)
        file.seek(max(0, os.fstat(descriptor).st_size - len(MAGIC)))
        tail = file.read(len(MAGIC))
    if tail == MAGIC and len(head) == _HEAD.size:
        raise _problem(folder, f"{name}{JOURNAL}", "names another file, which SQLite would delete")
    if len(head) == _HEAD.size and head.startswith(MAGIC):
        *_, pages, _sector, page_bytes = _HEAD.unpack(head)
        if pages * (page_bytes or _WIDEST_PAGE) > most_bytes:
            raise _problem(folder, f"{name}{JOURNAL}", "would make the history too large to be one")


def _check_log(folder: HomeFolder, name: str, most_bytes: int) -> None:
    """As far as SQLite would read it: to the first frame of another salt, which an earlier use of the log has left."""
    try:
        descriptor = folder.open(f"{name}{LOG}")
    except FileNotFoundError:
        return
    with os.fdopen(descriptor, "rb"):
        head = os.pread(descriptor, _LOG_HEAD.size, 0)
        if len(head) < _LOG_HEAD.size:
            return
        magic, _version, page_bytes, _number, salt, *_ = _LOG_HEAD.unpack(head)
        if magic | 1 != _LOG_MAGIC | 1 or page_bytes < 512 or page_bytes > _WIDEST_PAGE or page_bytes & (page_bytes - 1):
            return  # SQLite takes nothing from it
        place = _LOG_HEAD.size
        while len(frame := os.pread(descriptor, _FRAME.size, place)) == _FRAME.size:
            page, pages, its_salt, *_ = _FRAME.unpack(frame)
            if its_salt != salt or not page:
                return
            if pages * page_bytes > most_bytes:
                raise _problem(folder, f"{name}{LOG}", "would make the history too large to be one")
            place += _FRAME.size + page_bytes


def _problem(folder: HomeFolder, name: str, what: str) -> ConfigError:
    message = f"the journal {folder.path / name} {what}: none of a peer does so"
    return ConfigError(Problem("peer.home", message, "trust nothing in this home; name another"))
