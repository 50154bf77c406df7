"""Reads a history for people: rounds, verdicts, peers, bytes. Also beside the node that writes it."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, Self

import attrs

from learnae.errors import UnavailableError
from learnae.node.history_file import LOOK_SECONDS, to_read, to_write, transaction, upgrade
from learnae.node.history_limits import TimeLimit, taken
from learnae.node.history_schema import checked
from learnae.records import Cid, Octets, PeerId, UpdateVerdict

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


def _lineages(joined: bytes, size: int = 8) -> tuple[bytes, ...]:
    return tuple(joined[start : start + size] for start in range(0, len(joined), size))


@attrs.frozen
class Sighting:
    """The last that was heard of a peer: of its announcements, and of its newest update if it has announced one."""

    peer: PeerId
    at: float  # on the machine's wall clock; before it is saved, on the node's own
    round: int  # own round
    live: bool  # not left behind by somebody who has gone
    number: int | None = None
    root: Cid | None = None
    lineage: Octets | None = None
    age: int | None = None
    young: bool | None = None
    signature: Octets | None = None
    bytes: int | None = None


@attrs.frozen
class PastRound:
    """A round as it is kept."""

    round: int
    at: float  # when it ended, on the machine's wall clock
    seconds: float
    outcome: str
    lineage: bytes
    age: int
    published: Cid | None
    published_bytes: int
    fetched_bytes: int
    heard: int
    chosen: int
    merged: int
    refused: int
    failed: int
    splits: tuple[bytes, ...] = attrs.field(converter=_lineages)
    lost: int = 0


@attrs.frozen
class HistoryReader:
    """Only reads. All methods block on the disk; they raise UnavailableError."""

    database: Database

    def past_rounds(self, limit: int) -> list[PastRound]:
        """The newest first."""
        rows = self.database.rows("SELECT * FROM rounds ORDER BY round DESC LIMIT ?", limit)
        return [PastRound(*row) for row in rows]

    def verdicts(self, *, peer: str | None = None, root: str | None = None, limit: int = 100) -> list[UpdateVerdict]:
        """The fate of updates, the newest first."""
        given = {name: value for name, value in {"peer": peer, "root": root}.items() if value is not None}
        return self._verdicts(" AND ".join(f"{name} = ?" for name in given) or "1", *given.values(), limit)

    def turned_away(self, limit: int) -> list[UpdateVerdict]:
        """The updates that were refused or could not be fetched, the newest first."""
        return self._verdicts("NOT merged", limit)

    def round_times(self, rounds: Collection[int]) -> dict[int, float]:
        """When these rounds ended, on the machine's wall clock; without those that are forgotten. For some hundreds at most."""
        return dict(self.database.rows(f"SELECT round, at FROM rounds WHERE round IN ({','.join('?' * len(rounds))})", *rounds))

    def heard(self) -> list[Sighting]:
        """Those heard last come first."""
        rows = self.database.rows("SELECT * FROM heard")
        rows.sort(key=lambda row: row[1], reverse=True)  # SQLite would write all rows to a file, however long they are
        return [
            Sighting(PeerId(peer), at, round_, bool(live), number, root, lineage, age, None if young is None else bool(young), *rest)
            for peer, at, round_, live, number, root, lineage, age, young, *rest in rows
        ]

    def totals(self) -> dict[str, int]:
        """Over all rounds of all runs: published_bytes, fetched_bytes, merged, refused, failed, lost."""
        return dict(self.database.rows("SELECT name, amount FROM totals"))

    def bytes_since(self, at: float) -> tuple[int, int]:
        """Published and fetched since that moment of the wall clock."""
        query = "SELECT coalesce(sum(published_bytes), 0), coalesce(sum(fetched_bytes), 0) FROM rounds WHERE at >= ?"
        published, fetched = self.database.rows(query, at)[0]
        return published, fetched

    def peers_beginning(self, digits: str, limit: int) -> list[PeerId]:
        """Every peer of which anything is kept and whose key begins like this."""
        query = " UNION ".join(
            f"SELECT peer FROM {table} WHERE substr(peer, 1, ?1) = ?2 AND {_SHORT.format('peer')}" for table in _WITH_PEERS
        )
        return [PeerId(peer) for (peer,) in self.database.rows(f"{query} ORDER BY peer LIMIT ?3", len(digits), digits, limit)]

    def roots_beginning(self, text: str, limit: int) -> list[Cid]:
        """Every root, own or fetched, that is kept and begins like this."""
        query = " UNION ".join(
            f"SELECT {column} FROM {table} WHERE substr({column}, 1, ?1) = ?2 AND {_SHORT.format(column)}" for table, column in _WITH_ROOTS
        )
        return [Cid(root) for (root,) in self.database.rows(f"{query} LIMIT ?3", len(text), text, limit)]

    def _verdicts(self, condition: str, *values: str | int) -> list[UpdateVerdict]:
        """Rounds grow, so the order by round is that of writing; an index has it for each peer."""
        order = "round DESC, rowid DESC" if condition.startswith("peer") else "rowid DESC"
        return [_verdict(*row) for row in self.database.rows(f"SELECT * FROM verdicts WHERE {condition} ORDER BY {order} LIMIT ?", *values)]


_SHORT = "length({}) <= 64"  # of a union, SQLite keeps what it has found in a file, however long that is
_WITH_PEERS = ("heard", "peers", "verdicts", "denied", "proofs")
_WITH_ROOTS = (("verdicts", "root"), ("published", "root"), ("heard", "root"))


def _verdict(
    round_: int, peer: str, number: int, root: str, merged: int, weight: float, scale: float, stage: str, reason: str
) -> UpdateVerdict:
    return UpdateVerdict(
        round=round_,
        peer=PeerId(peer),
        number=number,
        root=Cid(root),
        merged=bool(merged),
        weight=weight,
        scale=scale,
        stage=stage,
        reason=reason,
    )
