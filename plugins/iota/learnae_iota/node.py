"""One node for trio: each call in a worker thread, over a line that is cut off when the call is cancelled."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import attrs
import trio

from learnae import Unavailable
from learnae.strategies import RunInThread
from learnae_iota.calls import meet
from learnae_iota.line import FAILURES, Line

T = TypeVar("T")

LINES = 3  # calls at once, each in a thread: one looks, one sends, one asks how the node does


@attrs.define(eq=False)
class Node:
    """Lines are kept open between calls; one that failed is not used again."""

    address: str
    silence_seconds: float
    in_thread: RunInThread
    _idle: list[Line] = attrs.field(factory=list)
    _limit: trio.CapacityLimiter = attrs.field(factory=lambda: trio.CapacityLimiter(LINES))

    async def call(self, function: Callable[[Line], T]) -> T:
        """What `function` returns. Raises Unavailable."""
        async with self._limit:
            line = self._idle.pop() if self._idle else None
            sound = False
            try:
                line = line or await self._met()
                result = await self._over(line, function)
                sound = not line.hung_up
                return result
            except FAILURES as error:
                await trio.lowlevel.checkpoint_if_cancelled()  # it failed because it was cut off
                raise Unavailable(f"no use of the IOTA node at {self.address}: {error}") from error
            finally:
                if line is not None and sound:
                    self._idle.append(line)
                elif line is not None:
                    line.close()

    def close(self) -> None:
        while self._idle:
            self._idle.pop().close()

    async def _met(self) -> Line:
        """A new line, once the node has told who it is."""
        line = Line(self.address, self.silence_seconds)
        try:
            await self._over(line, meet)
        except BaseException:
            line.close()
            raise
        return line

    async def _over(self, line: Line, function: Callable[[Line], T]) -> T:
        returned: list[T] = []
        failed: list[Exception] = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_hang_up_if_cancelled, line, returned, failed)
            try:
                returned.append(await self.in_thread(function, line))
            except Exception as error:  # raised again outside of the nursery, which would wrap it
                failed.append(error)
            nursery.cancel_scope.cancel()
        if failed:
            raise failed[0]
        return returned[0]


async def _hang_up_if_cancelled(line: Line, *over: list[T] | list[Exception]) -> None:
    try:
        await trio.sleep_forever()
    finally:
        if not any(over):
            line.hang_up()
