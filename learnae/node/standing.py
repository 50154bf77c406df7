"""Where a peer stands among the lineages: who is young, who moves, who yields, who has split (DESIGN 4, "Start, join, split").

Ages are never compared. Lineages are: one with somebody grown in it before one that is young, then the smaller hash.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import attrs

from learnae.config.tables import JoinTable
from learnae.records import Cid, PeerId

LINEAGE_BYTES = 8
NOBODY = PeerId("")


def found(root: Cid) -> bytes:
    """The lineage that begins with this root."""
    return hashlib.sha256(b"learnae/lineage/1" + root.encode()).digest()[:LINEAGE_BYTES]


@attrs.frozen
class Seen:
    """One lineage as some peer announces it."""

    lineage: bytes
    young: bool
    live: bool = True
    peer: PeerId = NOBODY


@attrs.define
class Standing:
    """The own lineage, and how long this peer has spent in it, in its own rounds and seconds.

    `vouched`: somebody whom this peer trusts is or was in it. `ordered`: it was chosen by hand, and is not given up for a smaller hash.
    """

    rules: JoinTable
    own: PeerId = NOBODY
    lineage: bytes = b""
    rounds: int = 0
    since: float = 0.0
    vouched: bool = True
    ordered: bool = False

    def enter(self, lineage: bytes, now: float, *, vouched: bool = True) -> None:
        """Found, join or move: from now on this peer is young."""
        self.lineage, self.rounds, self.since = lineage, 0, now
        self.vouched, self.ordered = vouched or not self.needs_trusted, False

    def settle(self, lineage: bytes, now: float, *, rounds: int | None = None, seconds: float | None = None, ordered: bool = False) -> None:
        """Be in a lineage with the rounds and seconds that were spent there before; grown where they are not given."""
        self.lineage, self.ordered = lineage, ordered
        self.rounds = self.rules.settle_rounds if rounds is None else rounds
        self.since = now - (self.settle_seconds if seconds is None else seconds)
        self.vouched = self.rounds > 0 or not self.needs_trusted

    def spend_round(self, seen: Iterable[Seen], now: float) -> None:
        """With join.trust the time in a lineage counts from when somebody trusted was in it: until then the peer can still move to one."""
        self.vouched = self.vouched or any(s.live and s.lineage == self.lineage and self.trusts(s.peer) for s in seen)
        if self.vouched:
            self.rounds += 1
        else:
            self.rounds, self.since = 0, now

    def young(self, now: float) -> bool:
        return self.rounds < self.rules.settle_rounds or now - self.since < self.settle_seconds

    @property
    def settle_seconds(self) -> float:
        return max(self.rules.settle_seconds, 3 * self.rules.wait_seconds)

    @property
    def needs_trusted(self) -> bool:
        """Whether the model shall come from others: a peer that is in its own join.trust may found as if there were none."""
        return bool(self.rules.trust) and self.own not in self.rules.trust

    def trusts(self, peer: PeerId) -> bool:
        """Whether this peer may adopt that peer's model; its own, of an earlier run, it may."""
        return not self.rules.trust or peer in self.rules.trust or peer == self.own

    def where_to_join(self, seen: Iterable[Seen]) -> bytes | None:
        """The lineage that a newcomer adopts: live before left behind, grown before young, then the smaller hash."""
        return min(self.allowed(seen), key=lambda s: (not s.live, s.young, s.lineage), default=Seen(b"", True)).lineage or None

    def where_to_move(self, seen: Iterable[Seen], now: float) -> bytes | None:
        """The lineage that a young peer leaves its own for, if any."""
        if not self.lineage or not self.young(now):
            return None
        live = [s for s in self.allowed(seen) if s.live]
        own_rank = (all(s.young for s in live if s.lineage == self.lineage), self.lineage)
        better = [rank for s in live if (rank := (s.young, s.lineage)) < own_rank and s.lineage != self.lineage]
        return min(better)[1] if better else None

    def where_to_rejoin(self, seen: Iterable[Seen]) -> bytes | None:
        """The best of the others that are there now."""
        return self.where_to_join(s for s in seen if s.live and s.lineage != self.lineage)

    def where_to_yield(self, seen: Iterable[Seen], now: float) -> bytes | None:
        """The lineage that a grown peer gives its own up for, if it shall: of two sides exactly one has the larger hash."""
        if self.rules.on_split != "yield" or self.ordered:
            return None
        return min((lineage for lineage in self.splits(self.allowed(seen), now) if lineage < self.lineage), default=None)

    def splits(self, seen: Iterable[Seen], now: float) -> set[bytes]:
        """Other grown lineages, heard live by a grown peer."""
        if not self.lineage or self.young(now):
            return set()
        return {s.lineage for s in seen if s.live and not s.young and s.lineage != self.lineage}

    def allowed(self, seen: Iterable[Seen]) -> list[Seen]:
        """Those whose models this peer may adopt."""
        only = bytes.fromhex(self.rules.lineage) if self.rules.lineage else None
        return [
            s
            for s in seen
            if s.lineage and (only is None or s.lineage == only) and (s.live or not self.rules.fresh) and self.trusts(s.peer)
        ]
