"""How peers talk and listen in the kit of announcers."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import ClassVar

import attrs
import pytest
import trio

from learnae.errors import UnavailableError
from learnae.node.services import EventLoop
from learnae.plugins.calls import ungrouped
from learnae.records import Heard
from learnae.strategies import Announcer
from learnae.testing.kit import Kit


@attrs.define
class Listener:
    """Collects what `listen` delivers, from any thread."""

    heard: list[Heard] = attrs.field(factory=list)
    _news: trio.Event = attrs.field(factory=trio.Event)
    _loop: EventLoop | None = None  # of whoever waits

    def deliver(self, heard: Heard) -> None:
        self.heard.append(heard)
        if self._loop is not None:
            self._loop.soon(self._wake)

    def _wake(self) -> None:
        self._news.set()
        self._news = trio.Event()

    def has(self, message: bytes, *, backlog: bool | None = None) -> bool:
        return any(heard.message == message and backlog in (None, heard.backlog) for heard in self.heard)

    async def hears(self, message: bytes) -> Heard:
        """Wait for this message, and return its first delivery."""
        self._loop = self._loop or EventLoop()
        while not self.has(message):
            await self._news.wait()
        return next(heard for heard in self.heard if heard.message == message)


OpenAnnouncer = Callable[[str], Announcer]
"""A function from a peer's name to a new announcer, which is not entered yet. All announcers of one test use the same medium."""


class AnnouncerTalk(Kit):
    """What an announcer and its medium can do, as class attributes, and how tests send and wait."""

    keeps_backlog: ClassVar[bool] = True
    """Whether a peer that comes late hears the newest message of each key that was sent before."""

    survives_reopen: ClassVar[bool] = True
    """Whether it still hears them if all announcers were closed in between."""

    max_messages_per_second: ClassVar[float] = math.inf
    """How many messages a second the medium takes from all peers of a test together."""

    resend_seconds: ClassVar[float] = 0.05
    """Seconds before a message is sent again, while a test waits for a listener to begin."""

    @pytest.fixture
    def announcer(self) -> OpenAnnouncer:
        raise NotImplementedError("give your subclass a fixture `announcer`: a function from a peer's name to a new, closed announcer")

    async def send(self, announcer: Announcer, message: bytes, channel: str = "c", replaces: bytes | None = None) -> None:
        """Announce, no faster than `max_messages_per_second`. Each message has a key of its own, unless `replaces` gives one."""
        await trio.sleep(1 / self.max_messages_per_second)
        await announcer.announce(message, channel=channel, replaces=message[:32] if replaces is None else replaces)

    async def keep(self, announcer: Announcer, message: bytes, channel: str = "c", replaces: bytes | None = None) -> None:
        """Announce, and wait until the medium shows it."""
        await self.send(announcer, message, channel, replaces)
        async with self.listening(announcer, channel) as ear:
            await ear.hears(message)

    @asynccontextmanager
    async def listening(self, announcer: Announcer, *channels: str) -> AsyncIterator[Listener]:
        """Listen to an announcer while this is open, and again after each outage, as the core does. Open it once at a time."""
        ear = Listener()

        async def listen() -> None:
            while True:
                try:
                    with ungrouped():
                        await announcer.listen(channels or ("c",), ear.deliver)
                    raise AssertionError("listen returned, though nobody had cancelled it")
                except UnavailableError:
                    await trio.sleep(self.resend_seconds)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(listen)
            yield ear
            nursery.cancel_scope.cancel()

    async def live(self, announcer: Announcer, ear: Listener, channel: str = "c") -> None:
        """Send probes until this listener hears one that is no backlog."""
        number = 0
        while not any(heard.message.startswith(b"probe") and not heard.backlog for heard in ear.heard):
            number += 1
            await self.send(announcer, b"probe %d" % number, channel, b"probe")
            await trio.sleep(self.resend_seconds)
