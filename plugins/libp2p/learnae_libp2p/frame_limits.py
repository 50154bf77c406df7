"""What other ends of connections may make a host do and keep by the frames they send: so much of the loop's time, and so much memory.

A frame of twelve bytes costs more here than where it is sent. Who sends many is read more slowly: nothing of it is thrown away.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Protocol
from weakref import WeakSet

import attrs
import trio

LOOP_SHARE = 0.25  # of the time of the loop, that small frames of all connections may take together
BURST_SECONDS = 0.1  # of one connection at once
BUSY_SECONDS = 1.0
RESTED_SECONDS = 2e-3  # are there again after a rest: many short ones would cost more than they save
STEPS_IN_A_ROW = 32  # then others have their turn
BULK_BYTES = 1 << 14  # who sends as many in one frame has work with it himself
QUICK_SECONDS = 10e-6  # what a message of noise or a frame costs that is dealt with at once
RARE_SECONDS = 200e-6  # one that the library deals with
STREAM_SECONDS = 2e-3  # one that opens a stream: tasks are begun for it, and a protocol is agreed on
UNREAD_OF_ONE = 8 << 20  # bytes that one connection has sent and nobody has read
UNREAD = 64 << 20  # of all
LOOK_BYTES = 1 << 18  # after which one connection is looked at again
LOOK_AT_ALL_BYTES = 4 << 20


class Keeping(Protocol):
    """A connection that keeps what has come until somebody reads it."""

    def unread(self) -> int: ...

    def drop(self) -> None:
        """Let all that is kept go, and end."""
        ...


@attrs.define(eq=False)
class FrameLimits:
    """Of one host."""

    accounts: WeakSet[FrameAccount] = attrs.field(factory=WeakSet)
    keeping: WeakSet[Keeping] = attrs.field(factory=WeakSet)
    dropped: int = 0
    _came: int = 0

    def account(self) -> FrameAccount:
        """For a new connection."""
        made = FrameAccount(self)
        self.accounts.add(made)
        return made

    def share(self, now: float) -> float:
        """Seconds of each second, for one of those that use what they may."""
        return LOOP_SHARE / max(1, sum(one.is_busy(now) for one in self.accounts))

    def look(self, count: int) -> None:
        """So many bytes have come. Where too many are unread, the connection with the most of them ends."""
        self._came += count
        if self._came < LOOK_AT_ALL_BYTES:
            return
        self._came = 0
        found: Iterable[tuple[int, Keeping]] = [(one.unread(), one) for one in list(self.keeping)]
        total = sum(size for size, _ in found)
        for size, one in sorted(found, key=lambda pair: -pair[0]):
            if total <= UNREAD:
                return
            one.drop()
            self.dropped += 1
            total -= size


@attrs.define(eq=False)
class FrameAccount:
    """Of one connection. Time is counted by what each kind of step has been seen to take, not by a clock: others run in between."""

    limits: FrameLimits
    _left: float = BURST_SECONDS
    _at: float = -math.inf
    _in_a_row: int = 0

    def spend(self, seconds: float) -> bool:
        """Whether to rest now."""
        self._left -= seconds
        self._in_a_row += 1
        return self._left <= 0 or self._in_a_row >= STEPS_IN_A_ROW

    async def rest(self) -> None:
        """Let others have their turn, and wait until what was spent is there again."""
        now = trio.current_time()
        if self._at > -math.inf:
            self._left = min(BURST_SECONDS, self._left + (now - self._at) * self.limits.share(now))
        self._at, self._in_a_row = now, 0
        if self._left > 0:
            await trio.lowlevel.checkpoint()
        else:
            await trio.sleep((RESTED_SECONDS - self._left) / self.limits.share(now))

    def is_busy(self, now: float) -> bool:
        """Whether it has spent most of what it may."""
        return self._left < BURST_SECONDS / 2 and now - self._at < BUSY_SECONDS


def cost_of(length: int) -> float:
    """Seconds for a message, or a frame, of so many bytes: what is long pays for itself."""
    return QUICK_SECONDS * (1 - length / BULK_BYTES) if length < BULK_BYTES else 0.0
