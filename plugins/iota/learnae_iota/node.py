"""One node for trio: each call in a worker thread, over a line that is cut off when the call is cancelled."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import attrs
import trio

from learnae import UnavailableError
from learnae.lowlevel import RunInThread, in_thread_until
from learnae_iota.calls import meet
from learnae_iota.line import FAILURES, NodeApi

T = TypeVar("T")

LINES = 3  # calls at once, each in a thread: one looks, one sends, one asks how the node does


@attrs.define(eq=False)
class TangleNode:
    """Lines are kept open between calls; one that failed is not used again."""

    address: str
    silence_seconds: float
    in_thread: RunInThread
    _idle: list[NodeApi] = attrs.field(factory=list)
    _limit: trio.CapacityLimiter = attrs.field(factory=lambda: trio.CapacityLimiter(LINES))

    async def call(self, function: Callable[[NodeApi], T]) -> T:
        """What `function` returns. Raises UnavailableError."""
        async with self._limit:
            line = self._idle.pop() if self._idle else None
            sound = False
            try:
                line = line or NodeApi(self.address, self.silence_seconds)
                if line.clock_is_due:
                    await self._over(line, meet)
                result = await self._over(line, function)
                sound = not line.hung_up
                return result
            except FAILURES as error:
                await trio.lowlevel.checkpoint_if_cancelled()  # it failed because it was cut off
                raise UnavailableError(f"no use of the IOTA node at {self.address}: {error}") from error
            finally:
                if line is not None and sound:
                    self._idle.append(line)
                elif line is not None:
                    line.close()

    def close(self) -> None:
        while self._idle:
            self._idle.pop().close()

    async def _over(self, line: NodeApi, function: Callable[[NodeApi], T]) -> T:
        return await in_thread_until(self.in_thread, lambda: function(line), line.hang_up)
