"""Whether a file of SQLite is the history of a peer: exactly our tables, and in their rows what our tables hold.

Views, triggers and columns that are computed may take for ever, or do something; a file of another program is not ours to write to. So
a file has the tables of its version to the letter, or it is none of ours.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import Any

from learnae.errors import ConfigError, Problem
from learnae.node.schema import APPLICATION_ID, STEPS, VERSION

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
