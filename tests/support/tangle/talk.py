"""Announcing and listening as the core does: again after an outage."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs
import trio

from learnae import Announcer, UnavailableError
from learnae.testing.announcer_talk import Listener

CHANNEL = "c"
AGAIN_SECONDS = 0.1


@attrs.define
class TangleListener(Listener):
    """An ear that also tells when listening has failed."""

    failed: trio.Event = attrs.field(factory=trio.Event)

    async def listen(self, announcer: Announcer) -> None:
        while True:
            try:
                await announcer.listen([CHANNEL], self.deliver)
            except UnavailableError:
                self.failed.set()
                await trio.sleep(AGAIN_SECONDS)


@asynccontextmanager
async def listening(announcer: Announcer) -> AsyncIterator[TangleListener]:
    listener = TangleListener()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(listener.listen, announcer)
        yield listener
        nursery.cancel_scope.cancel()


async def announce(announcer: Announcer, message: bytes, key: bytes = b"k") -> None:
    """Raises UnavailableError."""
    await announcer.announce(message, channel=CHANNEL, replaces=key)


async def announced(announcer: Announcer, message: bytes, key: bytes = b"k") -> None:
    """In the end, however often it fails before."""
    while True:
        try:
            return await announce(announcer, message, key)
        except UnavailableError:
            await trio.sleep(AGAIN_SECONDS)
