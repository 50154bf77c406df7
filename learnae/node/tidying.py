"""Drops own roots that nobody will ask for: what a crash left between put and announcement, and what could not be dropped in time."""

from __future__ import annotations

from collections.abc import Container

import attrs
import trio

from learnae.node.assembly import Named
from learnae.node.history import History
from learnae.node.publishing import Publisher
from learnae.node.services import Services
from learnae.records import Cid
from learnae.strategies import RunInThread, Storage

AGAIN_SECONDS = 3600.0
TIDY_SECONDS = 600.0  # nobody waits for it


@attrs.define
class Tidying:
    """`carried`: the roots of others that this peer keeps now."""

    services: Services
    publisher: Publisher
    history: History
    in_thread: RunInThread
    carried: Container[Cid] = ()

    async def run(self, storage: Named[Storage]) -> None:
        """When the storage has opened, and now and then, until cancelled."""
        while True:
            await self.services.opened(storage)
            with self.services.using(storage, "tidying up", TIDY_SECONDS):
                for root in await self._orphans(storage):
                    if root not in self.carried:  # also one that was put since they were listed
                        await storage.strategy.drop(root)
            await trio.sleep(AGAIN_SECONDS)

    async def _orphans(self, storage: Named[Storage]) -> list[Cid]:
        """In this order, so that a root that is being published meanwhile is none."""
        roots = await storage.strategy.roots()
        putting = self.publisher.putting
        known = {item.root for item in await self.in_thread(self.history.published)}
        return [root for root in roots if root not in known and root != putting]
