"""The tables of a history, and the check that a file of SQLite is the history of a peer and nothing else.

Views, triggers and columns that are computed may take for ever, or do something; a file of another program is not ours to write to. So
a file has the tables of its version to the letter, or it is none of ours. No name is let through: whoever edits a file by hand gives a
trigger the name of a table of SQLite's own. What SQLite computes while it reads the definitions, as from `sqlite_stat1`, is kept small.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from learnae.errors import ConfigError, Problem

_FIRST = """
CREATE TABLE IF NOT EXISTS own_numbers (
    kind INTEGER PRIMARY KEY, number INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS published (
    number INTEGER PRIMARY KEY, root TEXT NOT NULL, lineage BLOB NOT NULL, age INTEGER NOT NULL, samples INTEGER NOT NULL,
    bytes INTEGER NOT NULL, codec TEXT NOT NULL, signature BLOB NOT NULL, at REAL NOT NULL);
CREATE TABLE IF NOT EXISTS marks (
    peer TEXT NOT NULL, kind INTEGER NOT NULL, number INTEGER NOT NULL, digest BLOB NOT NULL, PRIMARY KEY (peer, kind));
CREATE TABLE IF NOT EXISTS peers (
    peer TEXT PRIMARY KEY, last_tried INTEGER, failures INTEGER NOT NULL, ever_accepted INTEGER NOT NULL,
    fetched_number INTEGER NOT NULL, bytes_per_second REAL, refused TEXT);
CREATE TABLE IF NOT EXISTS proofs (
    peer TEXT NOT NULL, kind INTEGER NOT NULL, number INTEGER NOT NULL, first BLOB NOT NULL, second BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS rounds (
    round INTEGER PRIMARY KEY, at REAL NOT NULL, seconds REAL NOT NULL, outcome TEXT NOT NULL, lineage BLOB NOT NULL,
    age INTEGER NOT NULL, published TEXT, published_bytes INTEGER NOT NULL, fetched_bytes INTEGER NOT NULL,
    heard INTEGER NOT NULL, chosen INTEGER NOT NULL, merged INTEGER NOT NULL, refused INTEGER NOT NULL, failed INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS verdicts (
    round INTEGER NOT NULL, peer TEXT NOT NULL, number INTEGER NOT NULL, root TEXT NOT NULL, merged INTEGER NOT NULL,
    weight REAL NOT NULL, scale REAL NOT NULL, stage TEXT NOT NULL, reason TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS verdicts_by_peer ON verdicts (peer, round);
CREATE INDEX IF NOT EXISTS verdicts_by_root ON verdicts (root);
CREATE TABLE IF NOT EXISTS counts (
    reason TEXT PRIMARY KEY, count INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS standing (
    one INTEGER PRIMARY KEY CHECK (one = 1), lineage BLOB NOT NULL, rounds INTEGER NOT NULL, seconds REAL NOT NULL);
CREATE TABLE IF NOT EXISTS states (
    strategy TEXT PRIMARY KEY, run TEXT NOT NULL, adoption INTEGER NOT NULL, data BLOB NOT NULL)
"""

_FOR_WATCHERS = """
ALTER TABLE rounds ADD COLUMN splits BLOB NOT NULL DEFAULT x'';
CREATE TABLE heard (
    peer TEXT PRIMARY KEY, at REAL NOT NULL, round INTEGER NOT NULL, live INTEGER NOT NULL, number INTEGER, root TEXT,
    lineage BLOB, age INTEGER, young INTEGER, signature BLOB, bytes INTEGER);
CREATE TABLE totals (
    name TEXT PRIMARY KEY, amount INTEGER NOT NULL);
INSERT INTO totals SELECT 'published_bytes', coalesce(sum(published_bytes), 0) FROM rounds;
INSERT INTO totals SELECT 'fetched_bytes', coalesce(sum(fetched_bytes), 0) FROM rounds;
INSERT INTO totals SELECT 'merged', coalesce(sum(merged), 0) FROM rounds;
INSERT INTO totals SELECT 'refused', coalesce(sum(refused), 0) FROM rounds;
INSERT INTO totals SELECT 'failed', coalesce(sum(failed), 0) FROM rounds;
CREATE TABLE denied (
    peer TEXT PRIMARY KEY, at REAL NOT NULL);
CREATE TABLE rejoin (
    one INTEGER PRIMARY KEY CHECK (one = 1), lineage BLOB, at REAL NOT NULL, outcome TEXT NOT NULL)
"""

_LOST = """
ALTER TABLE rounds ADD COLUMN lost INTEGER NOT NULL DEFAULT 0
"""

_TRUST = """
ALTER TABLE peers ADD COLUMN trust REAL NOT NULL DEFAULT 0;
UPDATE peers SET trust = CASE failures WHEN 0 THEN 1.0 WHEN 1 THEN 0.125 WHEN 2 THEN 0.0625 ELSE 0.0 END WHERE ever_accepted
"""

_CONTRIBUTIONS = """
CREATE TABLE contributions (
    peer TEXT PRIMARY KEY, first_at REAL NOT NULL, last_at REAL NOT NULL, merged INTEGER NOT NULL, weight REAL NOT NULL,
    refused INTEGER NOT NULL, failed INTEGER NOT NULL, rows INTEGER NOT NULL, bytes INTEGER NOT NULL,
    evaluated INTEGER NOT NULL, loss_change REAL NOT NULL);
CREATE TABLE evaluations (
    round INTEGER NOT NULL, at REAL NOT NULL, age INTEGER NOT NULL, name TEXT NOT NULL, value REAL NOT NULL)
"""

_VIEWS = """
CREATE TABLE asked (
    one INTEGER PRIMARY KEY CHECK (one = 1), at REAL NOT NULL, outcome TEXT NOT NULL);
CREATE TABLE views (
    peer TEXT PRIMARY KEY, at REAL NOT NULL, data BLOB NOT NULL)
"""

_KEPT = """
CREATE TABLE kept (
    root TEXT PRIMARY KEY, peer TEXT NOT NULL, number INTEGER NOT NULL, bytes INTEGER NOT NULL, seconds REAL NOT NULL,
    layout BLOB NOT NULL, message BLOB NOT NULL, goodbye BLOB NOT NULL)
"""

_KEPT_SLICES = """
CREATE TABLE kept_slices (
    root TEXT PRIMARY KEY, peer TEXT NOT NULL, number INTEGER NOT NULL, bytes INTEGER NOT NULL, unsaid REAL NOT NULL, message BLOB NOT NULL)
"""

_BASES = """
ALTER TABLE published ADD COLUMN needs TEXT NOT NULL DEFAULT '';
ALTER TABLE kept ADD COLUMN needs TEXT NOT NULL DEFAULT ''
"""

_SCRIPTS = (_FIRST, _FOR_WATCHERS, _LOST, _TRUST, _CONTRIBUTIONS, _VIEWS, _KEPT, _KEPT_SLICES, _BASES)
STEPS = tuple(tuple(script.split(";")) for script in _SCRIPTS)
"""The statements that lead from version 0, an empty file, to 1, from there to 2, and so on."""

VERSION = len(STEPS)
APPLICATION_ID = 0x4C726E61  # "Lrna", in the file's header; files of before it was written have 0

KEPT_MARKS = 65_536
KEPT_PEERS = 65_536
KEPT_PROOFS = 1_000
KEPT_ROUNDS = 100_000
KEPT_VERDICTS = 400_000
KEPT_EVALUATIONS = 100_000
KEPT_VIEWS = 64


_MOST = 100  # things in a file; ours are some twenty
_SPACES = re.compile(r"[ \t\n\r\f]+")  # as SQLite sees them: all other characters are part of a name
_NARROW: Mapping[int, int] = {
    sqlite3.SQLITE_LIMIT_LENGTH: 4096,
    sqlite3.SQLITE_LIMIT_SQL_LENGTH: 4096,
    sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH: 16,
}
"""While definitions are read; the longest of ours has some 600 characters."""
_OPERATIONS, _TIMES = 1000, 20  # of SQLite's machine: ours take fewer than a thousand
_TABLE = re.compile(r"\bFROM (\w+)")
_TYPES: Mapping[str, type] = {"INTEGER": int, "REAL": float, "TEXT": str, "BLOB": bytes}

Row = tuple[Any, ...]


def version_of(connection: sqlite3.Connection, path: Path | str) -> int:
    """0 for an empty file. Raises ConfigError for one that a newer Learnae has written, and for one that is no history."""
    with _narrowly(connection) as is_long:
        try:
            version, application, things = *_marks(connection), _things(connection)
        except sqlite3.OperationalError as error:
            if not is_long():
                raise
            raise _no_history(path, "it has far more in it than tables of ours") from error
    if application not in (0, APPLICATION_ID):
        raise _no_history(path, f"it is the database of another program ({application:#x})")
    if version > VERSION:
        raise ConfigError(Problem("peer.home", f"a newer Learnae has written {path}", "install that one, or name another home"))
    if version < 0 or things != _ours(version):
        raise _no_history(path, "its tables are not those of a history")
    return version


@contextmanager
def _narrowly(connection: sqlite3.Connection) -> Iterator[Callable[[], bool]]:
    """Little is read and computed; the function tells whether it was too much. A limit of time that was set before is gone after it."""
    before = {limit: connection.setlimit(limit, most) for limit, most in _NARROW.items()}
    counted = 0

    def is_enough() -> bool:
        nonlocal counted
        counted += 1
        return counted > _TIMES

    connection.set_progress_handler(is_enough, _OPERATIONS)
    try:
        yield lambda: counted > _TIMES
    finally:
        connection.set_progress_handler(None, 0)
        for limit, most in before.items():
            connection.setlimit(limit, most)


def _marks(connection: sqlite3.Connection) -> tuple[int, int]:
    version, application = (int(connection.execute(f"PRAGMA {name}").fetchone()[0]) for name in ("user_version", "application_id"))
    return version, application


def checked(query: str, columns: Sequence[Any] | None, rows: list[Row]) -> list[Row]:
    """The rows. Raises sqlite3.DatabaseError where a value cannot stand in its column of the table that is asked."""
    table = _TABLE.search(query)
    known = _columns().get(table[1], {}) if table else {}
    for place, (name, *_) in enumerate(columns or ()):
        allowed = known.get(name)
        if allowed is not None and not all(isinstance(row[place], allowed) for row in rows):
            raise sqlite3.DatabaseError(f"a value of another type stands in {name}")
    return rows


def _things(connection: sqlite3.Connection) -> frozenset[Row]:
    """All that the file defines, without spaces that say nothing. Raises sqlite3.DatabaseError where there is more than a history has."""
    rows = connection.execute("SELECT type, name, tbl_name, sql, rootpage FROM sqlite_master LIMIT ?", (_MOST + 1,)).fetchall()
    roots = [root for *_, root in rows]
    if len(rows) > _MOST or len(set(roots)) < len(roots) or any(not isinstance(root, int) or root < 2 for root in roots):
        raise sqlite3.DatabaseError("its tables are not those of a history")
    return frozenset(
        (kind, name, table, _SPACES.sub(" ", sql).strip(" ") if isinstance(sql, str) else sql) for kind, name, table, sql, _ in rows
    )


@cache
def _ours(version: int) -> frozenset[Row]:
    with closing(_reference(version)) as connection:
        return _things(connection)


@cache
def _columns() -> Mapping[str, Mapping[str, tuple[type, ...]]]:
    """By table and name: what Python is given for a value."""
    with closing(_reference(VERSION)) as connection:
        tables = [name for kind, name, *_ in _things(connection) if kind == "table"]
        return {table: {row[1]: _allowed(*row) for row in connection.execute(f"PRAGMA table_info({table})")} for table in tables}


def _allowed(place: int, name: str, kind: str, filled: int, default: Any, key: int) -> tuple[type, ...]:
    return (_TYPES[kind],) if filled or key else (_TYPES[kind], type(None))


def _reference(version: int) -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    for statement in (statement for step in STEPS[:version] for statement in step):
        connection.execute(statement)
    return connection


def _no_history(path: Path | str, why: str) -> ConfigError:
    return ConfigError(Problem("peer.home", f"{path} is no history of a peer: {why}", "move it away, or name another home"))
