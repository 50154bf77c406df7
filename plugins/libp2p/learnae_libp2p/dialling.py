"""Peers that the file names are dialled again for ever, those that were found in another way until they have been away for a while."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import trio

from learnae_libp2p.addresses import parse_address
from learnae_libp2p.streams.transport import Transport, UnreachableError

if TYPE_CHECKING:
    import numpy as np

FIRST_SECONDS = 2.0
LOOK_SECONDS = 2.0
LONGEST_SECONDS = 60.0
MOST_FOUND = 64
FAILURES = 8  # of one that was found, one after the other


class Dialling:
    """With back-off and jitter, each peer by itself. Whoever has connected to us is not dialled."""

    def __init__(self, transport: Transport, addresses: Sequence[str], rng: np.random.Generator) -> None:
        self._transport = transport
        self._rng = rng
        self._named: dict[str, list[str]] = {}
        self._heard_of: dict[str, Sequence[str]] = {}
        for text in addresses:
            if (peer := parse_address(text).peer) is not None:
                self._named.setdefault(peer, []).append(text)
        self._met = trio.Event()
        self._nursery: trio.Nursery | None = None

    async def run(self) -> None:
        """Until cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            for peer, addresses in self._named.items():
                nursery.start_soon(self._keep, peer, addresses)
            await trio.sleep_forever()

    async def first(self) -> None:
        """Returns when one of those that the file names is there, and soon all the same."""
        if self._named:
            with trio.move_on_after(FIRST_SECONDS):
                await self._met.wait()

    def found(self, peer: str, addresses: Sequence[str]) -> None:
        """Somebody says that this peer is there. Of those that are dialled for such a reason there are so many at most."""
        if self._nursery is None or peer in self._named:
            return
        if peer in self._heard_of:
            self._heard_of[peer] = addresses
        elif len(self._heard_of) < MOST_FOUND:
            self._heard_of[peer] = addresses
            self._nursery.start_soon(self._keep_found, peer)

    async def _keep(self, peer: str, addresses: Sequence[str]) -> None:
        pause = LOOK_SECONDS / 4
        while True:
            pause = LOOK_SECONDS if await self._reached(peer, addresses) else min(pause * 2, LONGEST_SECONDS)
            await self._sleep(pause)

    async def _keep_found(self, peer: str) -> None:
        failures = 0
        while failures < FAILURES:
            failures = 0 if await self._reached(peer, self._heard_of[peer]) else failures + 1
            await self._sleep(min(LOOK_SECONDS * 2**failures, LONGEST_SECONDS))
        del self._heard_of[peer]

    async def _reached(self, peer: str, addresses: Sequence[str]) -> bool:
        try:
            await self._transport.connect(peer, addresses)
        except UnreachableError:
            return False
        self._met.set()
        return True

    async def _sleep(self, seconds: float) -> None:
        await trio.sleep(seconds * (0.5 + self._rng.random()))
