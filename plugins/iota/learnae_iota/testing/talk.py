"""Announcing and listening as the core does: again after an outage."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs
import trio

from learnae import Announcer, Unavailable
from learnae.testing.announcer_talk import Ear

CHANNEL = "c"
AGAIN_SECONDS = 0.1


@attrs.define
class Listener(Ear):
    """An ear that also tells when listening has failed."""

    failed: trio.Event = attrs.field(factory=trio.Event)

    async def listen(self, announcer: Announcer) -> None:
        while True:
            try:
                await announcer.listen([CHANNEL], self.deliver)
            except Unavailable:
                self.failed.set()
                await trio.sleep(AGAIN_SECONDS)


@asynccontextmanager
async def listening(announcer: Announcer) -> AsyncIterator[Listener]:
    listener = Listener()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(listener.listen, announcer)
        yield listener
        nursery.cancel_scope.cancel()


async def announce(announcer: Announcer, message: bytes, key: bytes = b"k") -> None:
    """Raises Unavailable."""
    await announcer.announce(message, channel=CHANNEL, replaces=key)


async def announced(announcer: Announcer, message: bytes, key: bytes = b"k") -> None:
    """In the end, however often it fails before."""
    while True:
        try:
            return await announce(announcer, message, key)
        except Unavailable:
            await trio.sleep(AGAIN_SECONDS)
