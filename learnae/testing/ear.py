"""Something that listens, for tests of announcers."""

from __future__ import annotations

import attrs
import trio

from learnae.node.delivering import Loop
from learnae.records import Heard


@attrs.define
class Ear:
    """Collects what a listener delivers, from any thread."""

    heard: list[Heard] = attrs.field(factory=list)
    _news: trio.Event = attrs.field(factory=trio.Event)
    _loop: Loop | None = None  # of whoever waits

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
        self._loop = self._loop or Loop()
        while not self.has(message):
            await self._news.wait()
        return next(heard for heard in self.heard if heard.message == message)
