"""What each other peer gave: counted round by round, added up over all runs, and kept for a bounded number of peers."""

from __future__ import annotations

import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

import attrs

from learnae.node.evaluations import LossShare
from learnae.node.history_database import Database
from learnae.observations import UpdateVerdict
from learnae.records import PeerId

KEPT_CONTRIBUTIONS = 4096
"""Where there are more, those who gave nothing go first, and of them the ones that were tried longest ago: identities cost nothing."""

FAILED = "fetch"
NOBODYS = ("plugin", "slice", "architecture")  # stages of what no peer is to blame for, or that concerns no update which was tried


@attrs.define(kw_only=True)
class Contribution:
    """What one other peer gave.

    `weight` is the sum of the weights that the gates gave to its merged updates. `bytes` were fetched for what it offered, updates and
    slices, whoever carried them. `loss_change` is its part of how the test loss moved, over `evaluated` of its merged updates
    (`learnae.node.evaluations`).
    """

    merged: int = 0
    weight: float = 0.0
    refused: int = 0
    failed: int = 0  # they could not be fetched
    rows: int = 0  # of slices that were kept
    bytes: int = 0
    evaluated: int = 0
    loss_change: float = 0.0

    def count(self, verdict: UpdateVerdict) -> None:
        """One update of this peer was tried."""
        if verdict.merged:
            self.merged += 1
            self.weight += verdict.weight
        elif verdict.stage == FAILED:
            self.failed += 1
        elif verdict.stage not in NOBODYS:
            self.refused += 1


NAMES = tuple(field.name for field in attrs.fields(Contribution))


@attrs.frozen
class PeerContribution:
    """A contribution, whose it is, and the wall-clock times of the first and the last round in which there was something to count."""

    peer: PeerId
    first_at: float
    last_at: float
    given: Contribution


@attrs.define
class ServedRows:
    """What fetches of one round have brought, by the peers that offered it."""

    bytes: Counter[PeerId] = attrs.field(factory=Counter)
    rows: Counter[PeerId] = attrs.field(factory=Counter)

    def add(self, other: ServedRows) -> None:
        self.bytes.update(other.bytes)
        self.rows.update(other.rows)


def contributions_of(
    verdicts: Iterable[UpdateVerdict], served: ServedRows, loss_shares: Iterable[LossShare] = ()
) -> dict[PeerId, Contribution]:
    """What a round counts."""
    found = defaultdict[PeerId, Contribution](Contribution)
    for verdict in verdicts:
        found[verdict.peer].count(verdict)
    for peer, count in served.bytes.items():
        found[peer].bytes += count
    for peer, count in served.rows.items():
        found[peer].rows += count
    for share in loss_shares:
        found[share.peer].evaluated += share.merged
        found[share.peer].loss_change += share.change
    return {peer: given for peer, given in found.items() if given != Contribution()}


_ADD = (
    f"INSERT INTO contributions (peer, first_at, last_at, {', '.join(NAMES)}) VALUES (?1, ?2, ?2, "
    f"{', '.join(f'?{place}' for place in range(3, 3 + len(NAMES)))}) ON CONFLICT (peer) DO UPDATE SET last_at = ?2, "
    + ", ".join(f"{name} = {name} + ?{place}" for place, name in enumerate(NAMES, 3))
)
_FORGET = (
    "DELETE FROM contributions WHERE peer IN (SELECT peer FROM contributions ORDER BY merged + rows > 0, last_at"
    " LIMIT max(0, (SELECT count(*) FROM contributions) - ?))"
)


def add_contributions(db: sqlite3.Connection, given: Mapping[PeerId, Contribution], at: float) -> None:
    """Add what a round has counted, within the transaction that writes that round."""
    if given:
        db.executemany(_ADD, [(peer, at, *attrs.astuple(one)) for peer, one in given.items()])
        db.execute(_FORGET, (KEPT_CONTRIBUTIONS,))


def read_contributions(database: Database) -> Sequence[PeerContribution]:
    """Of all peers, those that gave the most merged updates and rows first. Raises UnavailableError."""
    rows = database.rows(f"SELECT peer, first_at, last_at, {', '.join(NAMES)} FROM contributions")
    found = [
        PeerContribution(PeerId(peer), first, last, Contribution(**dict(zip(NAMES, values, strict=True))))
        for peer, first, last, *values in rows
    ]
    return sorted(found, key=lambda one: (-one.given.merged, -one.given.rows, -one.last_at))
