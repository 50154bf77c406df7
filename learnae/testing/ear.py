"""Something that listens, for tests of announcers."""

from __future__ import annotations

import attrs
import trio

from learnae.records import Heard


@attrs.define
class Ear:
    """Collects what a listener delivers."""

    heard: list[Heard] = attrs.field(factory=list)
    _news: trio.Event = attrs.field(factory=trio.Event)

    def deliver(self, heard: Heard) -> None:
        self.heard.append(heard)
        self._news.set()
        self._news = trio.Event()

    def has(self, message: bytes, *, backlog: bool | None = None) -> bool:
        return any(heard.message == message and backlog in (None, heard.backlog) for heard in self.heard)

    async def hears(self, message: bytes) -> Heard:
        """Wait for this message, and return how it came first."""
        while not self.has(message):
            await self._news.wait()
        return next(heard for heard in self.heard if heard.message == message)
