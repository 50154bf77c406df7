"""Real libp2p hosts on loopback, each with a peer of its own, and tests that end."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import trio

from learnae.testing.context import make_context, peer_named
from learnae_libp2p.addresses import name_of
from learnae_libp2p.host import Libp2pHost
from learnae_libp2p.libp2p_transport import Libp2pTransport
from learnae_libp2p.options import HostOptions

LOOPBACK = ("/ip4/127.0.0.1/tcp/0",)
NEEDS_LIBP2P = "needs a C compiler and headers: apt-get install build-essential python3-dev libgmp-dev, then make clean"


def stranger() -> str:
    """What libp2p would call a peer that no test starts."""
    return name_of(peer_named("a stranger"))


@attrs.frozen(eq=False)
class Peer:
    """A host that runs, and what plugins see of it."""

    host: Libp2pHost
    transport: Libp2pTransport

    @property
    def network(self) -> Any:
        assert self.host.running is not None
        return self.host.running.network

    @property
    def library(self) -> Any:
        assert self.host.running is not None
        return self.host.running.host

    async def meets(self, other: Peer) -> None:
        await self.transport.connect(other.transport.peer, other.transport.local_addresses())

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for something that comes with a connection or a host."""
        while True:
            news = self.host.news
            if condition():
                return
            await news.wait()


OpenPeer = Callable[..., AbstractAsyncContextManager[Peer]]


def peers_in(folder: Path) -> OpenPeer:
    """What opens a peer of this name on loopback."""

    @asynccontextmanager
    async def opened(name: str, options: HostOptions | None = None) -> AsyncIterator[Peer]:
        context = make_context(folder / name, peer=name)
        host = context.share(Libp2pHost)
        host.configure(options or HostOptions(listen=LOOPBACK), context, "storage")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(host.serve)
            await host.ready()
            yield Peer(host, Libp2pTransport(host))
            nursery.cancel_scope.cancel()

    return opened


def in_trio(test: Callable[[], Awaitable[None]], seconds: float = 100.0) -> None:
    """Run a test that ends."""

    async def bounded() -> None:
        with trio.fail_after(seconds):
            await test()

    trio.run(bounded)
