"""A daemon's RPC for trio: each call in a worker thread, over a line that is cut off when the call is cancelled."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import attrs
import trio

from learnae import UnavailableError
from learnae.lowlevel import RunInThread, in_thread_until, sanitize
from learnae_ipfs.line import FAILURES, KuboConnection, KuboRefusedError
from learnae_ipfs.turns import SearchTurns

T = TypeVar("T")

LINES = 6  # calls at once, each in a thread; a storage has eight of its own, of which two are for meetings (SEARCHES may wait for others)


@attrs.define
class Daemon:
    """Lines are kept open between calls; one that failed is not used again, since the daemon may have been started anew, elsewhere.

    `where` tells the address of its RPC; None while it has none.
    """

    where: Callable[[], str | None]
    name: str
    silence_seconds: float
    in_thread: RunInThread
    _idle: list[KuboConnection] = attrs.field(factory=list)
    searches: SearchTurns = attrs.field(factory=SearchTurns)
    _limit: trio.CapacityLimiter = attrs.field(factory=lambda: trio.CapacityLimiter(LINES))

    async def call(self, function: Callable[[KuboConnection], T], limit: trio.CapacityLimiter | None = None) -> T:
        """What `function` returns; `limit` is in the place of LINES.

        Raises Refused for what the daemon will not do, UnavailableError where there is no daemon to ask.
        """
        async with limit or self._limit:
            line = self._line()
            sound = False
            try:
                result = await in_thread_until(self.in_thread, lambda: function(line), line.hang_up)
                sound = not line.hung_up
                return result
            except KuboRefusedError:
                sound = not line.hung_up
                raise
            except FAILURES as error:
                await trio.lowlevel.checkpoint_if_cancelled()  # it failed because it was cut off
                raise UnavailableError(f"no use of {self.name}: {error}") from error
            finally:
                if sound:
                    self._idle.append(line)
                else:
                    line.close()

    def close(self) -> None:
        while self._idle:
            self._idle.pop().close()

    def _line(self) -> KuboConnection:
        address = self.where()
        if address is None:
            raise UnavailableError(f"{self.name} does not run")
        while self._idle:
            line = self._idle.pop()
            if line.address == address:
                return line
            line.close()  # of a daemon that has gone
        try:
            return KuboConnection(address, self.silence_seconds)
        except ValueError as error:
            raise UnavailableError(f"{self.name} has an address that is none: {sanitize(address)}") from error
