"""What a peer remembers between runs: numbers, peers, own updates, rounds, verdicts, states of strategies, and orders of its user."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Self

import attrs

from learnae.node.contributions import Contribution, add_contributions
from learnae.node.history_database import Database, keep_last_changed, keep_newest
from learnae.node.history_reader import HistoryReader, KeptView, Sighting
from learnae.node.history_schema import KEPT_EVALUATIONS, KEPT_MARKS, KEPT_PEERS, KEPT_PROOFS, KEPT_ROUNDS, KEPT_VERDICTS, KEPT_VIEWS
from learnae.node.inbox import HighWaterMark, Key
from learnae.observations import RoundReport
from learnae.records import AnnouncementKind, Cid, Octets, PeerId


@attrs.frozen
class RejoinOrder:
    """An order to leave the own lineage. `lineage` says where to go. Without it, the rules of joining choose."""

    lineage: bytes | None
    at: float  # on the machine's wall clock; tells one order from the next
    outcome: str = ""  # empty while nobody has carried it out


@attrs.frozen
class AskOrder:
    """An order to fetch the views of others on who gave what."""

    at: float
    outcome: str = ""  # empty while nobody has carried it out


@attrs.frozen
class UserOrders:
    """Orders of the user. They stay in the home until they are taken back or carried out."""

    database: Database

    def order_rejoin(self, lineage: bytes | None) -> RejoinOrder:
        """Give the order to rejoin. It replaces an earlier one that was not carried out yet."""
        order = RejoinOrder(lineage, time.time())
        with self.database.writing_durably() as db:
            db.execute("INSERT OR REPLACE INTO rejoin VALUES (1, ?, ?, '')", (lineage, order.at))
        return order

    def take_rejoin(self) -> RejoinOrder | None:
        """The order to carry out. It is returned until `end_rejoin` is called, so that a crash loses no order."""
        order = self.last_rejoin()
        return None if order is None or order.outcome else order

    def aim_rejoin(self, order: RejoinOrder, lineage: bytes) -> None:
        """Note to which lineage an order without a lineage leads. Otherwise, given again after a crash, it would lead straight back."""
        with self.database.writing_durably() as db:
            db.execute("UPDATE rejoin SET lineage = ? WHERE at = ?", (lineage, order.at))

    def end_rejoin(self, order: RejoinOrder, outcome: str) -> None:
        """Note the outcome of the order, in a word or a sentence. An order that was given meanwhile stays."""
        with self.database.writing_durably() as db:
            db.execute("UPDATE rejoin SET outcome = ? WHERE at = ?", (outcome, order.at))

    def renew_rejoin(self, order: RejoinOrder) -> None:
        """What was carried out was lost: it is to be carried out once more."""
        self.end_rejoin(order, "")

    def last_rejoin(self) -> RejoinOrder | None:
        """The last order to rejoin, even if it was carried out."""
        rows = self.database.rows("SELECT lineage, at, outcome FROM rejoin")
        return RejoinOrder(*rows[0]) if rows else None

    def ask_views(self) -> AskOrder:
        """Give the order to fetch the signed views of others. It replaces an earlier one."""
        order = AskOrder(time.time())
        with self.database.writing_durably() as db:
            db.execute("INSERT OR REPLACE INTO asked VALUES (1, ?, '')", (order.at,))
        return order

    def take_ask(self) -> AskOrder | None:
        """The order to carry out. It is returned until `end_ask` is called, so that a crash loses no order."""
        order = self.last_ask()
        return None if order is None or order.outcome else order

    def end_ask(self, order: AskOrder, outcome: str) -> None:
        """Note the outcome of the order, in a sentence. An order that was given meanwhile stays."""
        with self.database.writing_durably() as db:
            db.execute("UPDATE asked SET outcome = ? WHERE at = ?", (outcome, order.at))

    def last_ask(self) -> AskOrder | None:
        rows = self.database.rows("SELECT at, outcome FROM asked")
        return AskOrder(*rows[0]) if rows else None

    def deny(self, peer: PeerId) -> None:
        """Order to ignore this peer from now on."""
        with self.database.writing_durably() as db:
            db.execute("INSERT OR IGNORE INTO denied VALUES (?, ?)", (peer, time.time()))

    def allow_again(self, peer: PeerId) -> None:
        with self.database.writing_durably() as db:
            db.execute("DELETE FROM denied WHERE peer = ?", (peer,))

    def denied(self) -> frozenset[PeerId]:
        """The peers that orders deny. The peer's file may deny others."""
        return frozenset(PeerId(peer) for (peer,) in self.database.rows("SELECT peer FROM denied"))


RESERVED = 32  # numbers at a time

SUMMED = ("published_bytes", "fetched_bytes", "merged", "refused", "failed", "lost")
"""What of a round is added up for ever."""


@attrs.define
class PeerRecord:
    """What is remembered of another peer."""

    last_tried: int | None = None  # own round
    failures: int = 0  # in a row
    ever_accepted: bool = False
    fetched_number: int = 0  # the last update that was fetched; never again
    bytes_per_second: float | None = None
    refused: str | None = None  # why this peer is not heard any more
    trust: float = 0.0  # from 0 to 1, by what became of its updates


@attrs.frozen
class PublishedUpdate:
    """One of the own updates that is still kept."""

    number: int
    root: Cid
    lineage: bytes
    age: int
    samples: int
    bytes: int
    codec: str
    architecture: Octets
    at: float = 0.0  # on the machine's wall clock, for people only
    needs: str = ""  # the roots that it builds on, the base first, with a space between them


LineageStanding = tuple[bytes, int, float]
"""A lineage, and the rounds and seconds spent in it."""


@attrs.frozen
class EquivocationProof:
    """Two signed payloads with the same number. They are kept because they prove equivocation to anybody."""

    peer: PeerId
    kind: AnnouncementKind
    number: int
    first: bytes  # empty if only its digest was left when the second came
    second: bytes


@attrs.define(eq=False)
class History:
    """The database that a node writes, and reads again at its next start. `reader` and `orders` use the same database."""

    database: Database
    reader: HistoryReader = attrs.field(init=False)
    orders: UserOrders = attrs.field(init=False)
    _used: dict[AnnouncementKind, int] = attrs.field(factory=dict, init=False)
    _reserved: dict[AnnouncementKind, int] = attrs.field(factory=dict, init=False)

    def __attrs_post_init__(self) -> None:
        self.reader, self.orders = HistoryReader(self.database), UserOrders(self.database)

    @classmethod
    def open(cls, path: Path | str) -> Self:
        """Open to read and write. `":memory:"` keeps nothing on disk. Raises ConfigError if the file cannot be used."""
        return cls(Database.open(path))

    @classmethod
    def read(cls, path: Path) -> Self:
        """Open to read only. A node may write meanwhile. It makes and changes nothing. Raises ConfigError if there is no history."""
        return cls(Database.read(path))

    def close(self) -> None:
        self.database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- own numbers -------------------------------------------------------------------------------------------------------------

    def next_number(self, kind: AnnouncementKind, above: int = 0) -> int:
        """The next sequence number of this kind, higher than any that was heard under the own key. It is never given again.

        That holds after a power cut too. Many numbers are reserved on the disk at a time, so that not every round waits for the disk. A
        restart skips numbers that were reserved and not used.
        """
        number = max(self._used.get(kind, 0), above) + 1
        if number > self._reserved.get(kind, 0):
            number = self._reserve(kind, number)
        self._used[kind] = number
        return number

    def _reserve(self, kind: AnnouncementKind, least: int) -> int:
        """Reserve a run of unused numbers, and return the first. When this returns, that is on the disk."""
        with self.database.writing_durably() as db:
            row = db.execute("SELECT number FROM own_numbers WHERE kind = ?", (kind,)).fetchone()
            first = max(least, row[0] + 1 if row else 1)
            db.execute("INSERT OR REPLACE INTO own_numbers VALUES (?, ?)", (kind, first + RESERVED - 1))
        self._reserved[kind] = first + RESERVED - 1
        return first

    def own_numbers(self) -> dict[AnnouncementKind, int]:
        """The highest number of each kind that was ever reserved. No higher one was sent."""
        return {AnnouncementKind(kind): number for kind, number in self.database.rows("SELECT kind, number FROM own_numbers")}

    # -- own updates -------------------------------------------------------------------------------------------------------------

    def add_published(self, item: PublishedUpdate) -> None:
        with self.database.writing() as db:
            values = attrs.astuple(attrs.evolve(item, at=time.time()))
            db.execute(f"INSERT OR REPLACE INTO published VALUES ({','.join('?' * len(values))})", values)

    def drop_published(self, number: int) -> None:
        with self.database.writing() as db:
            db.execute("DELETE FROM published WHERE number = ?", (number,))

    def drop_all_published(self) -> None:
        with self.database.writing() as db:
            db.execute("DELETE FROM published")

    def published(self) -> list[PublishedUpdate]:
        """The newest first."""
        return [PublishedUpdate(*row) for row in self.database.rows("SELECT * FROM published ORDER BY number DESC")]

    # -- peers -------------------------------------------------------------------------------------------------------------------

    def marks(self) -> dict[Key, HighWaterMark]:
        rows = self.database.rows("SELECT peer, kind, number, digest FROM marks ORDER BY rowid")
        return {(PeerId(peer), AnnouncementKind(kind)): HighWaterMark(number, digest) for peer, kind, number, digest in rows}

    def peers(self) -> dict[PeerId, PeerRecord]:
        query = (
            "SELECT peer, last_tried, failures, ever_accepted, fetched_number, bytes_per_second, refused, trust FROM peers ORDER BY rowid"
        )
        rows = self.database.rows(query)
        return {PeerId(peer): PeerRecord(tried, failed, bool(ever), *rest) for peer, tried, failed, ever, *rest in rows}

    def save_peers(
        self,
        marks: Mapping[Key, HighWaterMark],
        peers: Mapping[PeerId, PeerRecord],
        counts: Mapping[str, int],
        proofs: Iterable[EquivocationProof] = (),
        heard: Iterable[Sighting] = (),
        *,
        report: RoundReport | None = None,
        given: Mapping[PeerId, Contribution] | None = None,
        standing: LineageStanding | None = None,
    ) -> None:
        """Save what has changed by hearing other peers, once a round, and with it what `add_round` and `save_lineage_state` would save.

        All of it or nothing: what was counted and could not be saved is counted again. If there are too many records, those that changed
        last are kept.
        """
        now = time.time()
        with self.database.writing() as db:
            db.executemany(
                "INSERT OR REPLACE INTO marks VALUES (?, ?, ?, ?)", [(*key, mark.number, mark.digest) for key, mark in marks.items()]
            )
            db.executemany(
                "INSERT OR REPLACE INTO peers VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                [(peer, *attrs.astuple(record)) for peer, record in peers.items()],
            )
            db.executemany("INSERT INTO counts VALUES (?1, ?2) ON CONFLICT (reason) DO UPDATE SET count = count + ?2", counts.items())
            db.executemany("INSERT INTO proofs VALUES (?, ?, ?, ?, ?)", [attrs.astuple(proof) for proof in proofs])
            db.executemany(f"INSERT OR REPLACE INTO heard VALUES ({','.join('?' * 11)})", [attrs.astuple(sighting) for sighting in heard])
            for table, most in (("marks", KEPT_MARKS), ("peers", KEPT_PEERS), ("heard", KEPT_PEERS)):
                keep_last_changed(db, table, most)
            keep_newest(db, "proofs", KEPT_PROOFS)
            if report is not None:
                _add_round(db, report, given or {}, now)
            if standing is not None:
                _save_standing(db, standing)

    def proofs(self) -> list[EquivocationProof]:
        """The newest first."""
        rows = self.database.rows("SELECT peer, kind, number, first, second FROM proofs ORDER BY rowid DESC")
        return [EquivocationProof(PeerId(peer), AnnouncementKind(kind), *rest) for peer, kind, *rest in rows]

    def counts(self) -> dict[str, int]:
        """How many messages were refused, by reason, over all runs."""
        return dict(self.database.rows("SELECT reason, count FROM counts"))

    # -- rounds ------------------------------------------------------------------------------------------------------------------

    def last_round(self) -> int:
        return int(self.database.rows("SELECT coalesce(max(round), 0) FROM rounds")[0][0])

    def add_round(self, report: RoundReport, given: Mapping[PeerId, Contribution] | None = None) -> None:
        """Keep what a round reports, and add what other peers gave in it."""
        with self.database.writing() as db:
            _add_round(db, report, given or {}, time.time())

    def keep_views(self, views: Iterable[KeptView]) -> None:
        """Keep the newest signed view of each peer. If there are too many, those that came last are kept."""
        with self.database.writing() as db:
            now = time.time()
            db.executemany("INSERT OR REPLACE INTO views VALUES (?, ?, ?)", [(view.peer, now, view.data) for view in views])
            keep_last_changed(db, "views", KEPT_VIEWS)

    # -- standing and state ------------------------------------------------------------------------------------------------------

    def lineage_state(self) -> LineageStanding:
        """Lineage, and the rounds and seconds spent in it."""
        rows = self.database.rows("SELECT lineage, rounds, seconds FROM standing")
        return rows[0] if rows else (b"", 0, 0.0)

    def save_lineage_state(self, lineage: bytes, rounds: int, seconds: float) -> None:
        with self.database.writing() as db:
            _save_standing(db, (lineage, rounds, seconds))

    def state(self, strategy: str) -> tuple[str, int, bytes] | None:
        """The kept state of a strategy: the run, the number of the adoption, and the data."""
        rows = self.database.rows("SELECT run, adoption, data FROM states WHERE strategy = ?", strategy)
        return rows[0] if rows else None

    def save_states(self, run: str, adoption: int, states: Iterable[tuple[str, bytes]]) -> None:
        with self.database.writing() as db:
            db.execute("DELETE FROM states")
            db.executemany("INSERT INTO states VALUES (?, ?, ?, ?)", [(strategy, run, adoption, data) for strategy, data in states])


def _add_round(db: sqlite3.Connection, report: RoundReport, given: Mapping[PeerId, Contribution], now: float) -> None:
    numbers = (
        report.published_bytes,
        report.fetched_bytes,
        report.heard,
        report.chosen,
        report.merged,
        report.refused,
        report.failed,
    )
    about = (report.outcome, report.lineage, report.age, report.published)
    values = (report.round, now, report.seconds, *about, *numbers, b"".join(report.splits), report.lost)
    db.execute(f"INSERT OR REPLACE INTO rounds VALUES ({','.join('?' * len(values))})", values)
    db.executemany("INSERT INTO verdicts VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", [attrs.astuple(verdict) for verdict in report.verdicts])
    sums = {name: getattr(report, name) for name in SUMMED}
    db.executemany("INSERT INTO totals VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET amount = amount + ?2", sums.items())
    db.execute("DELETE FROM rounds WHERE round <= ?", (report.round - KEPT_ROUNDS,))
    keep_newest(db, "verdicts", KEPT_VERDICTS)
    add_contributions(db, given, now)
    if report.metrics:
        measured = [(report.round, now, report.age, name, value) for name, value in report.metrics.items()]
        db.executemany("INSERT INTO evaluations VALUES (?, ?, ?, ?, ?)", measured)
        keep_newest(db, "evaluations", KEPT_EVALUATIONS)


def _save_standing(db: sqlite3.Connection, standing: LineageStanding) -> None:
    db.execute("INSERT OR REPLACE INTO standing VALUES (1, ?, ?, ?)", standing)
