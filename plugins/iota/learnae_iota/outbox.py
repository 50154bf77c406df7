"""The messages to send: the newest one of each key. Each is sent as soon as possible, and repeated now and then."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Awaitable, Callable

import attrs
import trio

from learnae import UnavailableError

Key = tuple[str, bytes]  # channel, replaces

MOST_KEYS = 512  # a relay has up to three of each peer
FIRST_REPEAT_SECONDS = 10.0  # then twice as long, and so on
REPEATED_SECONDS = 3600.0  # who lives announces anew; a relay does not know who has died
BACK_OFF_SECONDS = (0.5, 1.0, 2.0, 4.0)


@attrs.define(eq=False)
class Outcome:
    """The result of the first try. Several messages that replaced each other share one."""

    over: trio.Event = attrs.field(factory=trio.Event)
    failure: str | None = None

    def end(self, failure: str | None) -> None:
        if not self.over.is_set():
            self.failure = failure
            self.over.set()


@attrs.define(eq=False)
class OutboxEntry:
    message: bytes
    outcome: Outcome
    sent: bool = False
    tried_at: float = -math.inf
    repeat_at: float = math.inf
    repeat_until: float = math.inf
    repeat_seconds: float = FIRST_REPEAT_SECONDS

    def note_sent(self, longest_repeat_seconds: float) -> None:
        now = trio.current_time()
        if self.sent:
            self.repeat_seconds *= 2
        else:
            self.repeat_until = now + REPEATED_SECONDS
        self.repeat_seconds = min(self.repeat_seconds, longest_repeat_seconds)
        self.sent, self.repeat_at = True, now + self.repeat_seconds
        self.outcome.end(None)


@attrs.define(eq=False)
class Outbox:
    """`send(channel, message)` raises UnavailableError.

    Why again: a node that was cut off from others, or has lost its database, never asks them for what it has missed.
    """

    send: Callable[[str, bytes], Awaitable[None]]
    longest_repeat_seconds: float
    _entries: OrderedDict[Key, OutboxEntry] = attrs.field(factory=OrderedDict)
    _sending: OutboxEntry | None = None
    _news: trio.Event = attrs.field(factory=trio.Event)
    _failures: int = 0  # in a row

    async def put(self, key: Key, message: bytes) -> None:
        """Send in the place of what this key had. Raises UnavailableError when that fails;
        it stays here all the same, and is tried again.
        """
        outcome = self._place(key, message)
        self._news.set()
        await outcome.over.wait()
        if outcome.failure is not None:
            raise UnavailableError(outcome.failure)

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
        entry = self._entries[key] = OutboxEntry(message, before.outcome if before and waits else Outcome())
        if len(self._entries) > MOST_KEYS:
            self._entries.popitem(last=False)[1].outcome.end("too many messages wait to be sent")
        return entry.outcome

    def _due(self) -> Key | None:
        """The message to send next: new ones first, then those tried longest ago. So a message that no node takes delays no other."""
        now = trio.current_time()
        due = (key for key, entry in self._entries.items() if not entry.sent or entry.repeat_at <= now)
        return min(due, key=lambda key: self._entries[key].tried_at, default=None)

    async def _try(self, key: Key, entry: OutboxEntry) -> None:
        self._sending, entry.tried_at = entry, trio.current_time()
        try:
            await self.send(key[0], entry.message)
        except UnavailableError as error:
            await self._back_off(str(error))
        else:
            self._failures = 0
            entry.note_sent(self.longest_repeat_seconds)
            if entry.repeat_at > entry.repeat_until and self._entries.get(key) is entry:
                del self._entries[key]
        finally:
            self._sending = None

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
