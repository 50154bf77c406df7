"""Reads a history for people: rounds, verdicts, peers, bytes. Also beside the node that writes it."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import attrs

from learnae.node.contributions import PeerContribution, read_contributions
from learnae.node.history_database import Database
from learnae.observations import UpdateVerdict
from learnae.records import Cid, Octets, PeerId


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
    provisional: bool | None = None
    architecture: Octets | None = None
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
class PastEvaluation:
    """What the user's function has measured before a round, on test data."""

    round: int
    at: float  # on the machine's wall clock
    age: int  # of the model
    metrics: dict[str, float]


@attrs.frozen
class KeptView:
    """The signed view of another peer on who gave what, as it came."""

    peer: PeerId
    at: float  # when it came, on the machine's wall clock
    data: bytes = attrs.field(repr=False)


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

    def contributions(self) -> Sequence[PeerContribution]:
        """What each other peer gave, those that gave most first."""
        return read_contributions(self.database)

    def views(self) -> list[KeptView]:
        """The signed views of others that were fetched. They were checked then, but anybody may have written this file."""
        return [KeptView(PeerId(peer), at, data) for peer, at, data in self.database.rows("SELECT peer, at, data FROM views")]

    def evaluations(self, limit: int) -> list[PastEvaluation]:
        """What was measured in the last rounds, the newest first. `limit` is for single numbers."""
        found: dict[int, PastEvaluation] = {}
        for round_, at, age, name, value in self.database.rows("SELECT * FROM evaluations ORDER BY rowid DESC LIMIT ?", limit):
            found.setdefault(round_, PastEvaluation(round_, at, age, {})).metrics[name] = value
        return list(found.values())

    def round_times(self, rounds: Collection[int]) -> dict[int, float]:
        """When these rounds ended, on the machine's wall clock; without those that are forgotten. For some hundreds at most."""
        return dict(self.database.rows(f"SELECT round, at FROM rounds WHERE round IN ({','.join('?' * len(rounds))})", *rounds))

    def heard(self) -> list[Sighting]:
        """Those heard last come first."""
        rows = self.database.rows("SELECT * FROM heard")
        rows.sort(key=lambda row: row[1], reverse=True)  # SQLite would write all rows to a file, however long they are
        return [
            Sighting(
                PeerId(peer), at, round_, bool(live), number, root, lineage, age, None if provisional is None else bool(provisional), *rest
            )
            for peer, at, round_, live, number, root, lineage, age, provisional, *rest in rows
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
_WITH_PEERS = ("heard", "peers", "verdicts", "denied", "proofs", "contributions")
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
