"""The peers that the file names are dialled again for ever."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import trio

from learnae_libp2p.addresses import parse_address
from learnae_libp2p.streams.transport import Transport, UnreachableError

FIRST_SECONDS = 2.0
LOOK_SECONDS = 2.0
LONGEST_SECONDS = 60.0


class Dialling:
    """With back-off and jitter, each peer by itself. Whoever connects to us is not dialled."""

    def __init__(self, transport: Transport, addresses: Sequence[str], rng: np.random.Generator) -> None:
        self._transport = transport
        self._rng = rng
        self._peers: dict[str, list[str]] = {}
        for text in addresses:
            if (peer := parse_address(text).peer) is not None:
                self._peers.setdefault(peer, []).append(text)
        self._met = trio.Event()

    async def run(self) -> None:
        """Until cancelled."""
        async with trio.open_nursery() as nursery:
            for peer in self._peers:
                nursery.start_soon(self._keep, peer)

    async def first(self) -> None:
        """Returns when one of them is there, and soon all the same."""
        if self._peers:
            with trio.move_on_after(FIRST_SECONDS):
                await self._met.wait()

    async def _keep(self, peer: str) -> None:
        pause = LOOK_SECONDS / 4
        while True:
            try:
                await self._transport.connect(peer, self._peers[peer])
                self._met.set()
                pause = LOOK_SECONDS
            except UnreachableError:
                pause = min(pause * 2, LONGEST_SECONDS)
            await trio.sleep(pause * (0.5 + self._rng.random()))
