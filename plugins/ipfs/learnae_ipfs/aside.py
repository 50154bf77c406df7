"""Own pins that were removed for a while, because a block under them was damaged.

Meanwhile only the ticket is pinned under its name in the daemon. So the next start knows of them, even if this process is killed.
"""

from __future__ import annotations

import contextlib

import attrs
import trio

from learnae import Cid, UnavailableError
from learnae_ipfs.daemon import Daemon
from learnae_ipfs.line import KuboRefusedError
from learnae_ipfs.pinning import ALONE, is_whole, pin_alone, pin_whole, pinned

TAKE_SECONDS = 5.0
BACK_SECONDS = 10.0


@attrs.define
class Aside:
    """`lock` is held by whoever takes pins away or makes them again, `mending` as long as pins are aside that may come back at once: no
    garbage may be collected then."""

    daemon: Daemon
    prefix: str
    lock: trio.Lock = attrs.field(factory=trio.Lock)
    mending: trio.Lock = attrs.field(factory=trio.Lock)
    nothing: bool = False  # is aside, as far as is known

    async def take(self, ticket: Cid, name: str) -> None:
        """Raises Refused, UnavailableError. Not to be cut off half-way: neither pin would be there."""
        self.nothing = False
        async with self.lock:
            with trio.move_on_after(TAKE_SECONDS, shield=True):
                await self.daemon.call(lambda line: pin_alone(line, ticket, name))

    async def bring_back(self) -> None:
        """Pin again what is whole by now; whoever is mending does it at the end."""
        if not self.nothing and not self.mending.locked():
            async with self.mending:
                await self.bring_back_now()

    async def bring_back_now(self) -> None:
        """For whoever holds `mending`. What cannot be done now is left for later."""
        with trio.move_on_after(BACK_SECONDS), contextlib.suppress(KuboRefusedError, UnavailableError):
            left = await self.daemon.call(lambda line: pinned(line, self.prefix, ALONE))
            self.nothing = all([await self._pinned_again(ticket, name) for ticket, name in left.items()])

    async def _pinned_again(self, ticket: Cid, name: str) -> bool:
        with contextlib.suppress(KuboRefusedError, UnavailableError):
            if await self.daemon.call(lambda line: is_whole(line, ticket)):
                async with self.lock:
                    await self.daemon.call(lambda line: pin_whole(line, ticket, name))
                return True
        return False
