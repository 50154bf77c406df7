"""What a storage needs of a daemon of the peer's own: its address, its life, and room in its repo."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Self

import attrs
import trio

from learnae import Context, Unavailable
from learnae_ipfs.managed.collecting import Collector
from learnae_ipfs.managed.daemon import ManagedDaemon
from learnae_ipfs.managed.repo import Repo
from learnae_ipfs.managed.settings import Settings
from learnae_ipfs.pins import Pins

if TYPE_CHECKING:
    from learnae_ipfs.options import IpfsStorageOptions

PURPOSE = "the private network of IPFS daemons"


@attrs.frozen
class OwnDaemon:
    """An async context manager, entered and left in one task: the daemon runs meanwhile.

    Whoever comes first in a home starts and ends it; others, such as a command that looks into a running peer's storage, use it.
    """

    managed: ManagedDaemon
    collector: Collector
    _stack: AsyncExitStack = attrs.field(factory=AsyncExitStack)

    @classmethod
    def of(cls, options: IpfsStorageOptions, context: Context, repo: Repo, pins: Pins, ping: Callable[[], Awaitable[None]]) -> Self:
        managed = ManagedDaemon(options.program, repo, settings_of(options, context), ping, context.in_thread, context.log)
        return cls(managed, Collector(pins.daemon, options.limit_bytes, pins.lock))

    async def __aenter__(self) -> Self:
        """Raises Unavailable if no daemon can be started."""
        async with AsyncExitStack() as stack:
            lock = self.managed.repo.claim()
            if lock is None:
                await self.managed.ping()
                return self
            stack.callback(os.close, lock)
            nursery = await stack.enter_async_context(trio.open_nursery())
            stack.callback(nursery.cancel_scope.cancel)
            cause: str | None = await nursery.start(self.managed.run)
            if cause is None:
                nursery.start_soon(self.collector.run)
                self._stack.push_async_exit(stack.pop_all())
                return self
        raise Unavailable(cause)  # not inside of the nursery, which would wrap it

    async def __aexit__(self, *exc_info: object) -> None:
        await self._stack.aclose()


def settings_of(options: IpfsStorageOptions, context: Context) -> Settings:
    """In a private swarm the daemons are a network of their own, unless they are to be in the public one."""
    return Settings(
        listen=options.listen,
        public=options.public,
        mdns=options.mdns,
        limit_bytes=options.limit_bytes,
        key=None if options.public else context.secret(PURPOSE),
    )
