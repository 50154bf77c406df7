"""A program: one peer with host, gossipsub and storage, and no training. It reads orders and tells what happens, each a line of JSON.

Argument: a JSON object with `name`, `home`, `listen`, `peers`. It ends with its input.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import attrs
import structlog
import trio

from learnae import Block, Heard, UnavailableError
from learnae.testing.context import SharedResources, make_context
from learnae.testing.published import payloads, published
from learnae_libp2p.announcer import GossipsubAnnouncer
from learnae_libp2p.options import GossipsubOptions
from learnae_libp2p.storage import Libp2pStorage, Libp2pStorageOptions


def tell(**what: Any) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


async def orders(do: Callable[[Mapping[str, Any]], None]) -> None:
    """Until the input ends."""
    waiting = bytearray()
    async with trio.lowlevel.FdStream(os.dup(0)) as source:
        async for data in source:
            waiting += data
            while (end := waiting.find(b"\n")) >= 0:
                do(json.loads(waiting[:end]))
                del waiting[: end + 1]


@attrs.define(eq=False)
class LonePeer:
    """What the orders do."""

    announcer: GossipsubAnnouncer
    storage: Libp2pStorage
    nursery: trio.Nursery

    def do(self, order: Mapping[str, Any]) -> None:
        told = dict(order)
        what: Callable[..., Awaitable[None]] = getattr(self, "do_" + told.pop("do"))
        self.nursery.start_soon(lambda: what(**told))

    async def do_say(self, text: str, key: str) -> None:
        try:
            await self.announcer.announce(text.encode(), channel="c", replaces=key.encode())
        except UnavailableError as error:
            tell(event="unsaid", text=text, why=str(error))

    async def do_put(self, name: str, count: int, length: int) -> None:
        update = published(name, *payloads(count, length=length))
        await self.storage.put(update.root, update.blocks)
        tell(event="put", name=name, hints=list(self.storage.hints()))

    async def do_fetch(self, name: str, cids: list[str], hints: list[str]) -> None:
        """What came is told by its CIDs; the storage has checked them, and so do we."""
        found: dict[str, int] = {}

        def deliver(block: Block) -> None:
            if not found:
                tell(event="begun", name=name)
            found[block.cid] = len(block.data)

        why = ""
        try:
            await self.storage.get(cids, deliver, hints=hints)
        except* UnavailableError as errors:
            why = str(errors.exceptions[0])
        tell(event="fetched", name=name, found=list(found), size=sum(found.values()), why=why)

    async def watch_connections(self) -> None:
        while True:
            news = self.announcer.host.news
            connections = self.announcer.transport.connections()
            tell(
                event="connections",
                peers=sorted(connection.peer for connection in connections),
                relayed=sorted(connection.peer for connection in connections if not connection.direct),
                built=self.announcer.host.times_built,
            )
            await news.wait()


def heard(message: Heard) -> None:
    tell(event="heard", text=message.message.decode(errors="replace")[:200], backlog=message.backlog)


async def main(name: str, home: str, listen: list[str], peers: list[str]) -> None:
    shared = SharedResources()
    contexts = [make_context(Path(home) / room, peer=name, shared=shared) for room in ("announcer", "storage")]
    said: dict[str, Any] = {"listen": tuple(listen), "peers": tuple(peers), "mdns": False}
    announcer = GossipsubAnnouncer(GossipsubOptions(**said), contexts[0])
    storage = Libp2pStorage(Libp2pStorageOptions(**said), contexts[1])
    async with announcer, storage, trio.open_nursery() as nursery:
        peer = LonePeer(announcer, storage, nursery)
        nursery.start_soon(announcer.listen, ["c"], heard)
        nursery.start_soon(peer.watch_connections)
        tell(event="ready", peer=announcer.transport.peer)
        await orders(peer.do)
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    given = json.loads(sys.argv[1])
    trio.run(main, given["name"], given["home"], given["listen"], given["peers"])
