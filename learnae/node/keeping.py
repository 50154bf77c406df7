"""Which own updates stay in storage: the newest three, whatever someone may still be fetching, within the quota (DESIGN 4, "Keeping")."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from learnae.node.history import Published

NEWEST = 3


@attrs.define
class Keeping:
    """`since` is when each number was announced, on the node's clock; numbers of earlier runs count as long ago."""

    quota_bytes: int
    kept_bytes: int = 0  # of the quota
    since: dict[int, float] = attrs.field(factory=dict)

    def announced(self, published: Published, now: float) -> None:
        self.since[published.number] = now

    def superfluous(self, published: Sequence[Published], now: float, slowest_fetch_seconds: float) -> list[Published]:
        """Those to drop, given all that are kept, the newest first."""
        kept_bytes, drop = 0, []
        for place, item in enumerate(published):
            wanted = place < NEWEST or now - self.since.get(item.number, float("-inf")) < 2 * slowest_fetch_seconds
            if place == 0 or (wanted and kept_bytes + item.bytes <= self.quota_bytes):
                kept_bytes += item.bytes
            else:
                drop.append(item)
        for item in drop:
            self.since.pop(item.number, None)
        self.kept_bytes = kept_bytes
        return drop
