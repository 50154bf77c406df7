"""What a peer remembers between its runs, in SQLite: numbers, high-water marks, peers, own updates, rounds, verdicts, strategies' state.

All methods block on the disk: call them in a thread. One connection, one writer at a time. A disk that is full or gone is Unavailable,
and what was being written is then not there.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import attrs

from learnae.errors import ConfigError, Problem, Unavailable
from learnae.node.inbox import Key, Mark
from learnae.node.schema import KEPT_MARKS, KEPT_PEERS, KEPT_PROOFS, KEPT_ROUNDS, KEPT_VERDICTS, SCHEMA
from learnae.records import Cid, Kind, Octets, PeerId, RoundReport, UpdateVerdict


@attrs.define
class PeerRecord:
    """What is remembered of another peer."""

    last_tried: int | None = None  # own round
    failures: int = 0  # in a row
    ever_accepted: bool = False
    fetched_number: int = 0  # the last update that was fetched; never again
    bytes_per_second: float | None = None
    refused: str | None = None  # why this peer is not heard any more


@attrs.frozen
class Published:
    """One of the own updates that is still kept."""

    number: int
    root: Cid
    lineage: bytes
    age: int
    samples: int
    bytes: int
    codec: str
    signature: Octets
    at: float = 0.0  # on the machine's wall clock, for people only


@attrs.frozen
class Proof:
    """Two signed payloads under one number: kept, since they prove equivocation to anyone."""

    peer: PeerId
    kind: Kind
    number: int
    first: bytes  # empty if only its digest was left when the second came
    second: bytes


class History:
    """A peer's SQLite file; `":memory:"` forgets."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._lock = threading.Lock()

    @classmethod
    def open(cls, path: Path | str) -> Self:
        """Raises ConfigError when the file is not a history or cannot be written."""
        try:
            connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=10)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")  # a number must be on disk before it is sent
            connection.executescript(SCHEMA)
        except sqlite3.Error as error:
            raise ConfigError(
                Problem("peer.home", f"the history {path} cannot be used: {error}", "move it away, or name another home")
            ) from error
        return cls(connection)

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    @contextmanager
    def _using(self) -> Iterator[sqlite3.Connection]:
        try:
            with self._lock:
                yield self._connection
        except sqlite3.OperationalError as error:
            raise Unavailable(f"the history of this peer cannot be used: {error}") from error

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._using() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:  # a full disk has ended it already
                    connection.execute("ROLLBACK")
                raise

    def _rows(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        with self._using() as connection:
            return connection.execute(query, values).fetchall()

    # -- own numbers -------------------------------------------------------------------------------------------------------------

    def next_number(self, kind: Kind, above: int = 0) -> int:
        """Reserve the next number of this kind, above one that was heard under the own key; on disk when this returns."""
        with self._writing() as db:
            db.execute(
                "INSERT INTO own_numbers VALUES (?1, ?2 + 1) ON CONFLICT (kind) DO UPDATE SET number = max(number, ?2) + 1", (kind, above)
            )
            return int(db.execute("SELECT number FROM own_numbers WHERE kind = ?", (kind,)).fetchone()[0])

    def own_numbers(self) -> dict[Kind, int]:
        return {Kind(kind): number for kind, number in self._rows("SELECT kind, number FROM own_numbers")}

    # -- own updates -------------------------------------------------------------------------------------------------------------

    def add_published(self, item: Published) -> None:
        with self._writing() as db:
            values = attrs.astuple(attrs.evolve(item, at=time.time()))
            db.execute(f"INSERT OR REPLACE INTO published VALUES ({','.join('?' * len(values))})", values)

    def drop_published(self, number: int) -> None:
        with self._writing() as db:
            db.execute("DELETE FROM published WHERE number = ?", (number,))

    def published(self) -> list[Published]:
        """The newest first."""
        return [Published(*row) for row in self._rows("SELECT * FROM published ORDER BY number DESC")]

    # -- peers -------------------------------------------------------------------------------------------------------------------

    def marks(self) -> dict[Key, Mark]:
        rows = self._rows("SELECT peer, kind, number, digest FROM marks ORDER BY rowid")
        return {(PeerId(peer), Kind(kind)): Mark(number, digest) for peer, kind, number, digest in rows}

    def peers(self) -> dict[PeerId, PeerRecord]:
        query = "SELECT peer, last_tried, failures, ever_accepted, fetched_number, bytes_per_second, refused FROM peers ORDER BY rowid"
        rows = self._rows(query)
        return {PeerId(peer): PeerRecord(tried, failed, bool(ever), *rest) for peer, tried, failed, ever, *rest in rows}

    def save_peers(
        self, marks: Mapping[Key, Mark], peers: Mapping[PeerId, PeerRecord], counts: Mapping[str, int], proofs: Iterable[Proof] = ()
    ) -> None:
        """What hearing has changed; together, once a round. Of too many, those that changed last are kept."""
        with self._writing() as db:
            db.executemany(
                "INSERT OR REPLACE INTO marks VALUES (?, ?, ?, ?)", [(*key, mark.number, mark.digest) for key, mark in marks.items()]
            )
            db.executemany(
                "INSERT OR REPLACE INTO peers VALUES (?, ?, ?, ?, ?, ?, ?)",
                [(peer, *attrs.astuple(record)) for peer, record in peers.items()],
            )
            db.executemany("INSERT INTO counts VALUES (?1, ?2) ON CONFLICT (reason) DO UPDATE SET count = count + ?2", list(counts.items()))
            db.executemany("INSERT INTO proofs VALUES (?, ?, ?, ?, ?)", [attrs.astuple(proof) for proof in proofs])
            for table, most in (("marks", KEPT_MARKS), ("peers", KEPT_PEERS), ("proofs", KEPT_PROOFS)):
                _keep_newest(db, table, most)

    def proofs(self) -> list[Proof]:
        """The newest first."""
        rows = self._rows("SELECT peer, kind, number, first, second FROM proofs ORDER BY rowid DESC")
        return [Proof(PeerId(peer), Kind(kind), *rest) for peer, kind, *rest in rows]

    def counts(self) -> dict[str, int]:
        """How many messages were refused, by reason, over all runs."""
        return dict(self._rows("SELECT reason, count FROM counts"))

    # -- rounds ------------------------------------------------------------------------------------------------------------------

    def last_round(self) -> int:
        return int(self._rows("SELECT coalesce(max(round), 0) FROM rounds")[0][0])

    def add_round(self, report: RoundReport) -> None:
        with self._writing() as db:
            numbers = (
                report.published_bytes,
                report.fetched_bytes,
                report.heard,
                report.chosen,
                report.merged,
                report.refused,
                report.failed,
            )
            values = (report.round, time.time(), report.seconds, report.outcome, report.lineage, report.age, report.published, *numbers)
            db.execute(f"INSERT OR REPLACE INTO rounds VALUES ({','.join('?' * len(values))})", values)
            db.executemany(
                "INSERT INTO verdicts VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", [attrs.astuple(verdict) for verdict in report.verdicts]
            )
            db.execute("DELETE FROM rounds WHERE round <= ?", (report.round - KEPT_ROUNDS,))
            _keep_newest(db, "verdicts", KEPT_VERDICTS)

    def verdicts(self, *, peer: str | None = None, root: str | None = None, limit: int = 100) -> list[UpdateVerdict]:
        """The fate of updates, the newest first."""
        rows = self._rows(
            "SELECT * FROM verdicts WHERE (?1 IS NULL OR peer = ?1) AND (?2 IS NULL OR root = ?2) ORDER BY rowid DESC LIMIT ?3",
            peer,
            root,
            limit,
        )
        return [_verdict(*row) for row in rows]

    # -- standing and state ------------------------------------------------------------------------------------------------------

    def standing(self) -> tuple[bytes, int, float]:
        """Lineage, and the rounds and seconds spent in it."""
        rows = self._rows("SELECT lineage, rounds, seconds FROM standing")
        return rows[0] if rows else (b"", 0, 0.0)

    def save_standing(self, lineage: bytes, rounds: int, seconds: float) -> None:
        with self._writing() as db:
            db.execute("INSERT OR REPLACE INTO standing VALUES (1, ?, ?, ?)", (lineage, rounds, seconds))

    def state(self, strategy: str) -> tuple[str, int, bytes] | None:
        """Run, adoption number and data."""
        rows = self._rows("SELECT run, adoption, data FROM states WHERE strategy = ?", strategy)
        return rows[0] if rows else None

    def save_states(self, run: str, adoption: int, states: Iterable[tuple[str, bytes]]) -> None:
        with self._writing() as db:
            db.execute("DELETE FROM states")
            db.executemany("INSERT INTO states VALUES (?, ?, ?, ?)", [(strategy, run, adoption, data) for strategy, data in states])


def _keep_newest(db: sqlite3.Connection, table: str, most: int) -> None:
    """Rows that are replaced count as new ones."""
    db.execute(f"DELETE FROM {table} WHERE rowid <= (SELECT max(rowid) FROM {table}) - ?", (most,))


def _verdict(
    round_: int, peer: str, number: int, root: str, merged: int, weight: float, scale: float, stage: str, reason: str
) -> UpdateVerdict:
    return UpdateVerdict(round_, PeerId(peer), number, Cid(root), bool(merged), weight, scale, stage, reason)
