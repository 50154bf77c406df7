"""How the kit of announcers lets peers talk and listen."""

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
    """Collects what a listener delivers, from any thread."""

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
        """Wait for this message, and return how it came first."""
        self._loop = self._loop or EventLoop()
        while not self.has(message):
            await self._news.wait()
        return next(heard for heard in self.heard if heard.message == message)


OpenAnnouncer = Callable[[str], Announcer]
"""Makes an announcer, not yet entered, for a peer of this name; all that one test makes use the same medium."""


class AnnouncerTalk(Kit):
    """What an announcer and its medium can do, and how to wait for it."""

    keeps_backlog: ClassVar[bool] = True
    """Whether a newcomer hears the newest message of each key that was sent before it came."""

    survives_reopen: ClassVar[bool] = True
    """Whether that is so when all announcers were closed in between."""

    max_messages_per_second: ClassVar[float] = math.inf
    """What the medium bears from all peers of a test together."""

    resend_seconds: ClassVar[float] = 0.05
    """The pause before a message is sent again where a test waits for a listener to begin."""

    @pytest.fixture
    def announcer(self) -> OpenAnnouncer:
        raise NotImplementedError("give your subclass a fixture `announcer`: a function from a peer's name to a new, closed announcer")

    async def send(self, announcer: Announcer, message: bytes, channel: str = "c", replaces: bytes | None = None) -> None:
        """Announce, no faster than the medium bears; each message has a key of its own unless one is given."""
        await trio.sleep(1 / self.max_messages_per_second)
        await announcer.announce(message, channel=channel, replaces=message[:32] if replaces is None else replaces)

    async def keep(self, announcer: Announcer, message: bytes, channel: str = "c", replaces: bytes | None = None) -> None:
        """Announce, and wait until the medium shows it."""
        await self.send(announcer, message, channel, replaces)
        async with self.listening(announcer, channel) as ear:
            await ear.hears(message)

    @asynccontextmanager
    async def listening(self, announcer: Announcer, *channels: str) -> AsyncIterator[Listener]:
        """An ear at an announcer, for a while. One announcer is listened to once at a time, and again after an outage, as the core does."""
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
        """Wait until this ear hears live, by sending probes until one comes as such."""
        number = 0
        while not any(heard.message.startswith(b"probe") and not heard.backlog for heard in ear.heard):
            number += 1
            await self.send(announcer, b"probe %d" % number, channel, b"probe")
            await trio.sleep(self.resend_seconds)
