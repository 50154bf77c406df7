"""A task for each peer with a connection of some kind, for as long as it has one."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from random import Random

import attrs
import trio

from learnae_libp2p.streams.transport import Connection, Transport


@attrs.define(eq=False, kw_only=True)
class Following:
    """`follow` runs for each peer whose connection is `wanted`, and is cancelled when that is gone: who comes again is followed anew."""

    transport: Transport
    wanted: Callable[[Connection], bool]
    follow: Callable[[str], Awaitable[None]]
    looked: Callable[[set[str]], None] = lambda here: None  # told who is there at each look
    most: int = sys.maxsize  # at once: those first that this peer has dialled, since anybody may come with many names
    rng: Random | None = None  # picks them, where they are more; without it the names do
    _scopes: dict[str, trio.CancelScope] = attrs.field(factory=dict)
    _changed: trio.Event = attrs.field(factory=trio.Event)

    async def run(self) -> None:
        """Until cancelled."""
        self.transport.watch(self._look_again)
        async with trio.open_nursery() as nursery:
            while True:
                self._changed = trio.Event()
                inbound = {connection.peer: connection.inbound for connection in self.transport.connections() if self.wanted(connection)}
                here = set(inbound)
                self.looked(here)
                for gone in self._scopes.keys() - here:
                    self._scopes[gone].cancel()
                new = sorted(here - self._scopes.keys())
                if self.rng is not None:
                    self.rng.shuffle(new)
                for peer in sorted(new, key=inbound.__getitem__)[: max(0, self.most - len(self._scopes))]:
                    self._scopes[peer] = trio.CancelScope()
                    nursery.start_soon(self._follow, peer, self._scopes[peer])
                await self._changed.wait()

    def _look_again(self) -> None:
        self._changed.set()

    async def _follow(self, peer: str, scope: trio.CancelScope) -> None:
        try:
            with scope:
                await self.follow(peer)
        finally:
            del self._scopes[peer]
            self._look_again()
