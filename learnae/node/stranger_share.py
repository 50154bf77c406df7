"""What strangers may take together, however many they are, of a node's time and of the lines in its log. Identities cost nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import attrs
import trio

from learnae.node.signature_budget import TokenBucket
from learnae.strategies import RunInThread

T = TypeVar("T")

SHARE = 0.05  # of the time: as much as a round waits for them
AT_ONCE_SECONDS = 1.0  # of work, for a newcomer that hears nobody but strangers


@attrs.define
class TimeShare:
    """Runs one call after the other, in the order in which they come; together they take no more than their share of the time.

    Whoever is behind others waits for its turn in the time that its own fetch has.
    """

    in_thread: RunInThread
    clock: Callable[[], float]
    _left: float = AT_ONCE_SECONDS  # seconds of work; below 0 after a call that took longer than there were
    _at: float | None = None
    _turn: trio.Lock = attrs.field(factory=trio.Lock)

    async def __call__(self, function: Callable[..., T], /, *args: object) -> T:
        async with self._turn:
            if (owed := -self._grown()) > 0:
                await trio.sleep(owed / SHARE)
            began = self.clock()
            try:
                return await self.in_thread(function, *args)
            finally:
                self._left = self._grown() - (self.clock() - began)

    def _grown(self) -> float:
        now = self.clock()
        self._left = min(AT_ONCE_SECONDS, self._left + (now - (now if self._at is None else self._at)) * SHARE)
        self._at = now
        return self._left


@attrs.define
class LogShare:
    """Lines that tell what strangers did: some at once, then one a minute. What is not told can be told later, if it is still so."""

    clock: Callable[[], float]
    _lines: TokenBucket = attrs.field(factory=lambda: TokenBucket(rate=1 / 60, most=8))

    def take(self) -> bool:
        """Whether one more may be written now."""
        return self._lines.take(self.clock())
