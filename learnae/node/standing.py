"""Where a peer stands among the lineages: who is young, who moves, who has split (DESIGN 4, "Start, join, split").

Ages are never compared: a young peer moves to a grown lineage, else to the smaller hash; a grown peer stays.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import attrs

from learnae.config.tables import JoinTable
from learnae.records import Cid

LINEAGE_BYTES = 8


def found(root: Cid) -> bytes:
    """The lineage that begins with this root."""
    return hashlib.sha256(b"learnae/lineage/1" + root.encode()).digest()[:LINEAGE_BYTES]


@attrs.frozen
class Seen:
    """One lineage as some peer announces it."""

    lineage: bytes
    young: bool
    live: bool = True


@attrs.define
class Standing:
    """The own lineage, and how long this peer has spent in it, in its own rounds and seconds."""

    rules: JoinTable
    lineage: bytes = b""
    rounds: int = 0
    since: float = 0.0

    def enter(self, lineage: bytes, now: float, *, rounds: int = 0, seconds: float = 0.0) -> None:
        """Found, join or move: from now on this peer is young, unless it brings rounds and seconds from before."""
        self.lineage, self.rounds, self.since = lineage, rounds, now - seconds

    def young(self, now: float) -> bool:
        return self.rounds < self.rules.settle_rounds or now - self.since < self.settle_seconds

    @property
    def settle_seconds(self) -> float:
        return max(self.rules.settle_seconds, 3 * self.rules.wait_seconds)

    def where_to_join(self, seen: Iterable[Seen]) -> bytes | None:
        """The lineage that a newcomer adopts: live before left behind, grown before young, then the smaller hash."""
        return min(self._allowed(seen), key=lambda s: (not s.live, s.young, s.lineage), default=Seen(b"", True)).lineage or None

    def where_to_move(self, seen: Iterable[Seen], now: float) -> bytes | None:
        """The lineage that a young peer leaves its own for, if any."""
        if not self.lineage or not self.young(now):
            return None
        better = [s for s in self._allowed(seen) if s.live and s.lineage != self.lineage and (not s.young or s.lineage < self.lineage)]
        return min(better, key=lambda s: (s.young, s.lineage)).lineage if better else None

    def splits(self, seen: Iterable[Seen], now: float) -> set[bytes]:
        """Other grown lineages, heard live by a grown peer."""
        if not self.lineage or self.young(now):
            return set()
        return {s.lineage for s in seen if s.live and not s.young and s.lineage != self.lineage}

    def _allowed(self, seen: Iterable[Seen]) -> list[Seen]:
        only = bytes.fromhex(self.rules.lineage) if self.rules.lineage else None
        return [s for s in seen if s.lineage and (only is None or s.lineage == only) and (s.live or not self.rules.fresh)]
