"""What is to be sent: the newest message of each key, sent as soon as possible, and again now and then."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Awaitable, Callable

import attrs
import trio

from learnae import Unavailable

Key = tuple[str, bytes]  # channel, replaces

MOST_KEYS = 64
FIRST_REPEAT_SECONDS = 10.0  # then twice as long, and so on
BACK_OFF_SECONDS = (0.5, 1.0, 2.0, 4.0)


@attrs.define(eq=False)
class Outcome:
    """What became of the first try; several messages that took each other's place share one."""

    over: trio.Event = attrs.field(factory=trio.Event)
    failure: str | None = None

    def end(self, failure: str | None) -> None:
        if not self.over.is_set():
            self.failure = failure
            self.over.set()


@attrs.define(eq=False)
class Entry:
    message: bytes
    outcome: Outcome
    sent: bool = False
    failures: int = 0
    repeat_at: float = math.inf
    repeat_seconds: float = FIRST_REPEAT_SECONDS


@attrs.define(eq=False)
class Outbox:
    """`send(channel, message)` raises Unavailable.

    Why again: a node that was cut off from others, or has lost its database, never asks them for what it has missed.
    """

    send: Callable[[str, bytes], Awaitable[None]]
    longest_repeat_seconds: float
    _entries: OrderedDict[Key, Entry] = attrs.field(factory=OrderedDict)
    _sending: Entry | None = None
    _news: trio.Event = attrs.field(factory=trio.Event)
    _failures: int = 0  # in a row

    async def put(self, key: Key, message: bytes) -> None:
        """Send in the place of what this key had. Raises Unavailable when that fails; it stays here all the same, and is tried again."""
        outcome = self._place(key, message)
        self._news.set()
        await outcome.over.wait()
        if outcome.failure is not None:
            raise Unavailable(outcome.failure)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            self._news = trio.Event()
            key = self._due()
            if key is None:
                await self._wait(min((entry.repeat_at for entry in self._entries.values()), default=math.inf))
            else:
                await self._try(key, self._entries[key])

    def _place(self, key: Key, message: bytes) -> Outcome:
        before = self._entries.pop(key, None)
        waits = before is not None and before is not self._sending and not before.outcome.over.is_set()
        entry = self._entries[key] = Entry(message, before.outcome if before and waits else Outcome())
        if len(self._entries) > MOST_KEYS:
            self._entries.popitem(last=False)[1].outcome.end("too many messages wait to be sent")
        return entry.outcome

    def _due(self) -> Key | None:
        """What was never sent comes before what is repeated; what no node takes holds up nothing else."""
        fresh = [key for key, entry in self._entries.items() if not entry.sent]
        again = (key for key, entry in self._entries.items() if entry.repeat_at <= trio.current_time())
        return min(fresh, key=lambda key: self._entries[key].failures, default=None) or next(again, None)

    async def _try(self, key: Key, entry: Entry) -> None:
        self._sending = entry
        try:
            await self.send(key[0], entry.message)
        except Unavailable as error:
            entry.failures += 1
            await self._back_off(str(error))
        else:
            self._note_sent(entry)
        finally:
            self._sending = None

    def _note_sent(self, entry: Entry) -> None:
        self._failures = 0
        if entry.sent:
            entry.repeat_seconds *= 2
        entry.repeat_seconds = min(entry.repeat_seconds, self.longest_repeat_seconds)
        entry.sent, entry.repeat_at = True, trio.current_time() + entry.repeat_seconds
        entry.outcome.end(None)

    async def _back_off(self, cause: str) -> None:
        """Until it is time for another try, or something new has come, which may be tried at once."""
        for entry in self._entries.values():
            if not entry.sent:
                entry.outcome.end(cause)
        if self._sending is not None:
            self._sending.outcome.end(cause)
        self._failures += 1
        await self._wait(trio.current_time() + BACK_OFF_SECONDS[min(self._failures, len(BACK_OFF_SECONDS)) - 1])

    async def _wait(self, until: float) -> None:
        with trio.move_on_at(until):
            await self._news.wait()
