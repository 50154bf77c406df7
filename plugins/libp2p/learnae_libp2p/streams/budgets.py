"""Bytes per second and per hour, and fair turns between those who wait for them."""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import attrs
import trio

from learnae_libp2p.streams.transport import FAST_WRITE, Transport

HOUR_SECONDS, PART_SECONDS = 3600.0, 60.0
LEAST_PIECE = 1024
_MOST_REMEMBERED = 1000


@attrs.define
class ByteBudget:
    """At most so many bytes a second, with up to one second saved, and so many in any hour. None is no bound."""

    per_second: int | None
    per_hour: int | None
    clock: Callable[[], float]
    _saved: float = attrs.field(init=False)
    _at: float = attrs.field(init=False)
    _parts: deque[tuple[float, int]] = attrs.field(factory=deque, init=False)  # when each part of an hour began, and what was spent in it
    _in_hour: int = attrs.field(default=0, init=False)

    def __attrs_post_init__(self) -> None:
        self._saved, self._at = float(self.per_second or 0), self.clock()

    @property
    def bounded(self) -> bool:
        return self.per_second is not None or self.per_hour is not None

    def piece(self) -> int:
        """How many bytes may well go at once: several pieces in a second, so that nobody seems silent."""
        return FAST_WRITE if self.per_second is None else min(FAST_WRITE, max(LEAST_PIECE, self.per_second // 8))

    def wait(self, count: int | None = None) -> float:
        """In how many seconds so many bytes, or a piece, may go. They may take what a second has below zero; then the next ones wait.

        It is the hour that needs room for so many: of what does not count in it, none.
        """
        now = self.clock()
        return max(self._wait_for_second(now), self._wait_for_hour(now, self.piece() if count is None else count))

    def spend(self, count: int, beside_hour: int = 0) -> None:
        """So many bytes go. Of them `beside_hour` do not count in the hour."""
        now = self.clock()
        if self.per_second is not None:
            self._refill(now, self.per_second)
            self._saved -= count
        if self.per_hour is not None and (count := count - beside_hour) > 0:
            self._in_hour += count
            if self._parts and now - self._parts[-1][0] < PART_SECONDS:
                begun, spent = self._parts.pop()
                self._parts.append((begun, spent + count))
            else:
                self._parts.append((now, count))

    def _refill(self, now: float, per_second: int) -> None:
        self._saved = min(per_second, self._saved + (now - self._at) * per_second)
        self._at = now

    def _wait_for_second(self, now: float) -> float:
        if self.per_second is None:
            return 0.0
        self._refill(now, self.per_second)
        return 0.0 if self._saved > 0 else (1.0 - self._saved) / self.per_second

    def _wait_for_hour(self, now: float, count: int) -> float:
        """Until enough has become older than an hour. What is to come counts whole, so that the bound holds."""
        if self.per_hour is None or not count:
            return 0.0
        while self._parts and now - self._parts[0][0] >= HOUR_SECONDS + PART_SECONDS:
            self._in_hour -= self._parts.popleft()[1]
        over = self._in_hour + count - self.per_hour
        if over <= 0 or not self._parts:
            return 0.0
        for begun, spent in self._parts:
            over -= spent
            if over <= 0:
                return begun + HOUR_SECONDS + PART_SECONDS - now
        return self._parts[-1][0] + HOUR_SECONDS + PART_SECONDS - now


@attrs.define(eq=False)
class _Turn:
    start: float
    count: int
    may_be_next: trio.Event = attrs.field(factory=trio.Event)


@attrs.define
class FairBudget:
    """Shares a budget by askers, byte for byte: who asks over many streams gets no more than who asks over one.

    Start-time fair queueing (Goyal, Vin, Cheng 1996): each turn starts, in bytes, where the last one of its asker ended.
    """

    budget: ByteBudget
    _turns: list[_Turn] = attrs.field(factory=list)
    _ends: OrderedDict[str, float] = attrs.field(factory=OrderedDict)
    _served: float = 0.0

    async def take(self, asker: str, count: int, beside_hour: int = 0) -> None:
        """Returns when this asker may have so many bytes, of which `beside_hour` do not count in the hour."""
        if not self.budget.bounded:
            return
        turn = self._queue(asker, count)
        try:
            while True:
                if turn is self._next():
                    if (wait := self.budget.wait(count - beside_hour)) <= 0:
                        self.budget.spend(count, beside_hour)
                        self._served = turn.start
                        return
                    with trio.move_on_after(wait):
                        await turn.may_be_next.wait()  # a better one has come, and it may be this one's again
                else:
                    await turn.may_be_next.wait()
                turn.may_be_next = trio.Event()
        finally:
            self._turns.remove(turn)
            self._wake()

    def delay(self, count: int) -> float:
        """In how many seconds there is so much for somebody."""
        return self.budget.wait(count) if self.budget.bounded else 0.0

    def _queue(self, asker: str, count: int) -> _Turn:
        start = max(self._served, self._ends.pop(asker, -math.inf))
        self._ends[asker] = start + count
        if len(self._ends) > _MOST_REMEMBERED:
            self._ends.popitem(last=False)
        turn = _Turn(start, count)
        self._turns.append(turn)
        self._wake()
        return turn

    def _next(self) -> _Turn:
        return min(self._turns, key=lambda turn: turn.start)

    def _wake(self) -> None:
        if self._turns:
            self._next().may_be_next.set()


@attrs.define(kw_only=True)
class RelayedBudgets:
    """Blocks that go over connections that others relay: over each so many bytes a minute, and at most three quarters of what is carried.

    The rest is for announcements and heartbeats, which have no budget.
    """

    transport: Transport
    bytes_per_minute: int
    clock: Callable[[], float]
    _budgets: OrderedDict[str, ByteBudget] = attrs.field(factory=OrderedDict)

    def of(self, peer: str) -> ByteBudget | None:
        """None where the connection is direct, or there is none."""
        connection = self.transport.connection(peer)
        if connection is None or connection.direct:
            return None
        carried = self.bytes_per_minute if connection.bytes_per_minute is None else connection.bytes_per_minute * 3 // 4
        per_second = max(LEAST_PIECE // 2, min(self.bytes_per_minute, carried) // 60)
        budget = self._budgets.pop(peer, None)
        if budget is None or budget.per_second != per_second:
            budget = ByteBudget(per_second, None, self.clock)
        self._budgets[peer] = budget
        if len(self._budgets) > _MOST_REMEMBERED:
            self._budgets.popitem(last=False)
        return budget


MOST_NOTED = 1024


@attrs.define(eq=False)
class QuestionPace:
    """Counts how long ago each peer has asked, of the 1,024 that asked last. A question that came too soon counts as well."""

    least_seconds: float
    _asked_at: OrderedDict[str, float] = attrs.field(factory=OrderedDict)

    def may_ask(self, peer: str) -> bool:
        """Note a question of this peer. False where its last one was less than `least_seconds` ago."""
        now = trio.current_time()
        too_soon = now - self._asked_at.pop(peer, -self.least_seconds) < self.least_seconds
        self._asked_at[peer] = now
        if len(self._asked_at) > MOST_NOTED:
            self._asked_at.popitem(last=False)
        return not too_soon


LEAST_PLACE_SECONDS = 2.0


@attrs.define(eq=False)
class AnswerPlaces:
    """So many are answered at once; others wait in their order. While somebody waits, who has had a place for the longest gives way.

    He has it for `least_seconds` at least. So who asks and does not go on keeps nobody else from being answered.
    """

    most: int
    least_seconds: float = LEAST_PLACE_SECONDS
    _taken: dict[trio.CancelScope, float] = attrs.field(factory=dict)  # since when, the oldest first
    _waiting: trio.StrictFIFOLock = attrs.field(factory=trio.StrictFIFOLock)
    _left: trio.Event = attrs.field(factory=trio.Event)

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """What is done in it may be broken off."""
        async with self._waiting:
            while len(self._taken) >= self.most:
                await self._make_room()
            scope = trio.CancelScope()
            self._taken[scope] = trio.current_time()
        try:
            with scope:
                yield
        finally:
            self._taken.pop(scope, None)
            self._left.set()

    async def _make_room(self) -> None:
        oldest, since = next(iter(self._taken.items()))
        self._left = trio.Event()
        with trio.move_on_at(since + self.least_seconds):
            await self._left.wait()
            return
        if self._taken.pop(oldest, None) is not None:
            oldest.cancel()
