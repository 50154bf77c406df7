"""The tables of a history, and the check that a file of SQLite is the history of a peer and nothing else.

A journal of one database only says how its pages were. One of a transaction over several ends in the name of a further file, and once it
is played back, SQLite deletes that file, wherever it lies. No transaction of ours is over several, so no journal of ours ends like that.

The other files beside a history say nothing but what stands in its pages: a log (`-wal`) is played back into them, and an index (`-shm`)
is emptied by whoever comes first.

Views, triggers and columns that are computed may take for ever, or do something; a file of another program is not ours to write to. So
a file has the tables of its version to the letter, or it is none of ours.
"""

from __future__ import annotations

import os
import re
import sqlite3
import struct
from collections.abc import Mapping, Sequence
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import Any

from learnae.errors import ConfigError, Problem
from learnae.identity.homes import HomeFolder

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

STEPS = tuple(tuple(script.split(";")) for script in (_FIRST, _FOR_WATCHERS, _LOST, _TRUST))
"""The statements that lead from version 0, an empty file, to 1, from there to 2, and so on."""

VERSION = len(STEPS)
APPLICATION_ID = 0x4C726E61  # "Lrna", in the file's header; files of before it was written have 0

KEPT_MARKS = 65_536
KEPT_PEERS = 65_536
KEPT_PROOFS = 1_000
KEPT_ROUNDS = 100_000
KEPT_VERDICTS = 400_000


SUFFIX = "-journal"
MAGIC = bytes.fromhex("d9d505f920a163d7")  # a journal starts with it, and ends with it where a further file is named
_HEAD = struct.Struct(">8s5I")  # magic, records, nonce, pages of the database, bytes of a sector, bytes of a page
_WIDEST_PAGE = 1 << 16


def check_journal(folder: HomeFolder, name: str, most_bytes: int) -> None:
    """Raises ConfigError where to play back the journal of the database `name` would delete a file, or make the database longer."""
    try:
        descriptor = folder.open(f"{name}{SUFFIX}")
    except FileNotFoundError:  # also of a transaction that has ended meanwhile
        return
    with os.fdopen(descriptor, "rb") as file:
        head = file.read(_HEAD.size)
        file.seek(max(0, os.fstat(descriptor).st_size - len(MAGIC)))
        tail = file.read(len(MAGIC))
    if tail == MAGIC and len(head) == _HEAD.size:
        raise _problem(folder, name, "names another file, which SQLite would delete")
    if len(head) == _HEAD.size and head.startswith(MAGIC):
        *_, pages, _sector, page_bytes = _HEAD.unpack(head)
        if pages * (page_bytes or _WIDEST_PAGE) > most_bytes:
            raise _problem(folder, name, "would make the history too large to be one")


def _problem(folder: HomeFolder, name: str, what: str) -> ConfigError:
    return ConfigError(
        Problem(
            "peer.home",
            f"the journal {folder.path / name}{SUFFIX} {what}: none of a peer does so",
            "trust nothing in this home; name another",
        )
    )


_OF_SQLITE = ("sqlite_autoindex_", "sqlite_stat")  # its own, which nobody can make by hand
_MOST = 1000  # things in a file
_TABLE = re.compile(r"\bFROM (\w+)")
_TYPES: Mapping[str, type] = {"INTEGER": int, "REAL": float, "TEXT": str, "BLOB": bytes}

Row = tuple[Any, ...]


def version_of(connection: sqlite3.Connection, path: Path | str) -> int:
    """0 for an empty file. Raises ConfigError for one that a newer Learnae has written, and for one that is no history."""
    version, application = (int(connection.execute(f"PRAGMA {name}").fetchone()[0]) for name in ("user_version", "application_id"))
    if application not in (0, APPLICATION_ID):
        raise _no_history(path, f"it is the database of another program ({application:#x})")
    if version > VERSION:
        raise ConfigError(Problem("peer.home", f"a newer Learnae has written {path}", "install that one, or name another home"))
    if version < 0 or _things(connection) != _ours(version):
        raise _no_history(path, "its tables are not those of a history")
    return version


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
    """All that the file defines, without spaces that say nothing."""
    rows = connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master LIMIT ?", (_MOST,)).fetchall()
    return frozenset(
        (kind, name, table, " ".join(str(sql).split()))
        for kind, name, table, sql in rows
        if not (kind in ("table", "index") and str(name).startswith(_OF_SQLITE))
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
