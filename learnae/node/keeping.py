"""Which own updates stay in storage: the newest three, whatever someone may still be fetching, within the quota (DESIGN 4, "Keeping")."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from learnae.node.history import Published

NEWEST = 3


@attrs.define
class Keeping:
    """`since` is when each number was announced, on the node's clock; numbers of earlier runs count from when they are first looked at."""

    quota_bytes: int
    kept_bytes: int = 0  # of the quota
    since: dict[int, float] = attrs.field(factory=dict)

    def announced(self, published: Published, now: float) -> None:
        self.since[published.number] = now

    def superfluous(self, published: Sequence[Published], now: float, retention_seconds: float) -> list[Published]:
        """Those to drop, given all that are kept, the newest first.

        Behind the newest three the quota goes to what has been there longest: whoever reads slowly gets something whole, whereas with the
        youngest in its place all would go before they can be read.
        """
        for item in published:
            self.since.setdefault(item.number, now)
        wanted = [item for item in published[NEWEST:] if now - self.since[item.number] < retention_seconds]
        kept = self._within_quota([*published[:NEWEST], *reversed(wanted)])
        drop = [item for item in published if item.number not in kept]
        for item in drop:
            del self.since[item.number]
        return drop

    def _within_quota(self, by_rank: Sequence[Published]) -> set[int]:
        """The numbers that stay; the first of them whatever it takes."""
        self.kept_bytes, kept = 0, set[int]()
        for item in by_rank:
            if not kept or self.kept_bytes + item.bytes <= self.quota_bytes:
                self.kept_bytes += item.bytes
                kept.add(item.number)
        return kept
