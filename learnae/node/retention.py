"""Which own updates stay in storage, and for how long. The others are dropped."""

from __future__ import annotations

from collections.abc import Container, Sequence

import attrs
import trio

from learnae.node.history import History, PublishedUpdate
from learnae.node.sending import Sender
from learnae.node.services import Services
from learnae.node.strategy_set import ConfiguredStrategy
from learnae.records import Cid
from learnae.strategies import Storage
from learnae.waiting import RunInThread

NEWEST = 3


@attrs.define
class RetentionPolicy:
    """Decides which own updates stay.

    `since` is when each was announced, on the node's clock, or when it was first looked at in this run.
    """

    quota_bytes: int
    kept_bytes: int = 0  # of the quota
    since: dict[int, float] = attrs.field(factory=dict)

    def announced(self, published: PublishedUpdate, now: float) -> None:
        self.since[published.number] = now

    def superfluous(self, published: Sequence[PublishedUpdate], now: float, retention_seconds: float) -> list[PublishedUpdate]:
        """The updates to drop, out of all that are kept, the newest first.

        After the newest three the quota is for the oldest updates. So a slow reader can finish one. If the quota were for the youngest,
        each update would go before a slow reader has it. What a kept update builds on is kept with it.
        """
        for item in published:
            self.since.setdefault(item.number, now)
        wanted = [item for item in published[NEWEST:] if now - self.since[item.number] < retention_seconds]
        kept = self._within_quota([*published[:NEWEST], *reversed(wanted)], published)
        drop = [item for item in published if item.number not in kept]
        for item in drop:
            del self.since[item.number]
        return drop

    def _within_quota(self, by_rank: Sequence[PublishedUpdate], published: Sequence[PublishedUpdate]) -> set[int]:
        """The numbers that stay within the quota, each with what it builds on. The first one always stays."""
        by_root = {item.root: item for item in published}
        self.kept_bytes, kept = 0, dict[int, int]()
        for item in by_rank:
            needed = (by_root[Cid(root)] for root in item.needs.split() if root in by_root)
            more = {one.number: one.bytes for one in (item, *needed) if one.number not in kept}
            if not kept or self.kept_bytes + sum(more.values()) <= self.quota_bytes:
                self.kept_bytes += sum(more.values())
                kept |= more
        return set(kept)


AGAIN_SECONDS = 3600.0
TIDY_SECONDS = 600.0  # nobody waits for it


@attrs.define
class GarbageCollection:
    """Drops roots that nobody needs. `kept` gives other roots that stay: updates of others that are passed on, and rows given away."""

    services: Services
    sender: Sender
    history: History
    in_thread: RunInThread
    kept: Sequence[Container[Cid]] = ()

    async def run(self, storage: ConfiguredStrategy[Storage]) -> None:
        """Clean up when a storage has opened, and now and then, until cancelled."""
        while True:
            await self.services.opened(storage)
            with self.services.using(storage, "tidying up", TIDY_SECONDS):
                for root in await self._orphans(storage):
                    if not any(root in roots for roots in self.kept):  # also one that was put since they were listed
                        await storage.strategy.drop(root)
            await trio.sleep(AGAIN_SECONDS)

    async def _orphans(self, storage: ConfiguredStrategy[Storage]) -> list[Cid]:
        """The roots in storage that nothing names. The order of the look-ups matters: a root that is published meanwhile is no orphan."""
        roots = await storage.strategy.roots()
        putting = self.sender.putting
        known = {item.root for item in await self.in_thread(self.history.published)}
        return [root for root in roots if root not in known and root not in putting]
