"""Messages of others on their way to a medium: as they came, the newest of each key, at a bounded rate."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

import attrs
import trio

from learnae.node.assembly import Named
from learnae.node.inbox import Entry, Key
from learnae.node.publishing import SEND_SECONDS
from learnae.node.services import Services
from learnae.records import PeerId
from learnae.strategies import Announcer

MOST_WAITING = 256
LONGEST_SECONDS = 30.0  # of what has waited for longer, nobody knows whether it still holds
MESSAGES_A_SECOND = 50
MOST_KNOWN = 4096  # keys of which it is remembered what was heard


@attrs.frozen
class Letter:
    """An announcement that waits since then. `again`: it is to be said although it was heard here."""

    entry: Entry
    since: float
    again: bool


@attrs.define
class Forwarding:
    """To one announcer. `trusted` tells whether a peer was ever accepted: those go first, so that a flood of strangers holds up nobody."""

    announcer: Named[Announcer]
    channel: str
    services: Services
    trusted: Callable[[PeerId], bool]
    _waiting: OrderedDict[bytes, Letter] = attrs.field(factory=OrderedDict)  # by what they replace
    _heard: OrderedDict[Key, int] = attrs.field(factory=OrderedDict)  # the highest number that is known to be there
    _news: trio.Event = attrs.field(factory=trio.Event)

    def note(self, entry: Entry) -> None:
        """This is there, whoever has sent it."""
        self._heard[entry.key] = max(entry.announcement.number, self._heard.pop(entry.key, 0))
        if len(self._heard) > MOST_KNOWN:
            self._heard.popitem(last=False)

    def lacks(self, entry: Entry) -> bool:
        """Whether neither this nor anything newer is there, which it would replace."""
        return entry.announcement.number > self._heard.get(entry.key, -1)

    def add(self, entry: Entry, replaces: bytes, *, again: bool = False) -> None:
        """In the place of an older one of its key. Of too many, the last stranger is left out."""
        self._waiting[replaces] = Letter(entry, trio.current_time(), again)
        if len(self._waiting) > MOST_WAITING:
            strangers = (key for key, letter in reversed(self._waiting.items()) if not self.trusted(letter.entry.peer))
            del self._waiting[next(strangers, next(iter(self._waiting)))]
        self._news.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._news.wait()
            await self.services.opened(self.announcer)
            if not self._waiting:
                self._news = trio.Event()
                continue
            replaces = self._next()
            letter = self._waiting.pop(replaces)
            if self._wanted(letter) and self.services.ready(self.announcer):
                await self._send(letter.entry, replaces)

    def _next(self) -> bytes:
        known = (key for key, letter in self._waiting.items() if self.trusted(letter.entry.peer))
        return next(known, next(iter(self._waiting)))

    def _wanted(self, letter: Letter) -> bool:
        """Unless it has been heard here since, or waits for too long."""
        return (letter.again or self.lacks(letter.entry)) and trio.current_time() - letter.since <= LONGEST_SECONDS

    async def _send(self, entry: Entry, replaces: bytes) -> None:
        self.note(entry)
        with self.services.using(self.announcer, "announcing", SEND_SECONDS):
            await self.announcer.strategy.announce(entry.message, channel=self.channel, replaces=replaces)
        await trio.sleep(1 / MESSAGES_A_SECOND)
