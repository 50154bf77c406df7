"""What a storage needs of a daemon of the peer's own: its address, its life, and room in its repo."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Self

import attrs
import trio

from learnae import Context, UnavailableError
from learnae_ipfs.managed.collecting import Collector
from learnae_ipfs.managed.daemon import ManagedDaemon
from learnae_ipfs.managed.repo import Repo
from learnae_ipfs.managed.settings import Settings
from learnae_ipfs.pins import Pins

if TYPE_CHECKING:
    from learnae_ipfs.options import IpfsStorageOptions

TAKE_OVER_SECONDS = 2.0
PURPOSE = "the private network of IPFS daemons"


@attrs.frozen
class OwnDaemon:
    """An async context manager, entered and left in one task: the daemon runs meanwhile.

    Whoever comes first in a home starts and ends it. Others, such as a command that looks into a running peer's storage, use it, and run
    one themselves when the first has left.
    """

    managed: ManagedDaemon
    collector: Collector
    _stack: AsyncExitStack = attrs.field(factory=AsyncExitStack)

    @classmethod
    def of(cls, options: IpfsStorageOptions, context: Context, repo: Repo, pins: Pins, ping: Callable[[], Awaitable[None]]) -> Self:
        managed = ManagedDaemon(options.program, repo, settings_of(options, context), ping, context.in_thread, context.log)
        return cls(managed, Collector(pins.daemon, repo.folder, options.limit_bytes, pins.aside.mending))

    async def __aenter__(self) -> Self:
        """Raises UnavailableError if no daemon can be started."""
        async with AsyncExitStack() as stack:
            nursery = await stack.enter_async_context(trio.open_nursery())
            stack.callback(nursery.cancel_scope.cancel)
            cause: str | None = await nursery.start(self._serve)
            if cause is None:
                self._stack.push_async_exit(stack.pop_all())
                return self
        raise UnavailableError(cause)  # not inside of the nursery, which would wrap it

    async def __aexit__(self, *exc_info: object) -> None:
        await self.collector.leave()
        await self._stack.aclose()

    async def _serve(self, task_status: trio.TaskStatus[str | None]) -> None:
        """Until cancelled. The status is why there is no daemon to use, if so; then it returns."""
        try:
            if (lock := self.managed.repo.claim()) is not None:
                await self._run(lock, task_status)
                return
            await self.managed.ping()
        except UnavailableError as error:
            task_status.started(str(error))
            return
        task_status.started()
        while (lock := self._claim_again()) is None:  # noqa: ASYNC110  # nothing tells of the end of another process's lock
            await trio.sleep(TAKE_OVER_SECONDS)
        await self._run(lock)

    def _claim_again(self) -> int | None:
        with contextlib.suppress(UnavailableError):  # the folder may be back later
            return self.managed.repo.claim()
        return None

    async def _run(self, lock: int, task_status: trio.TaskStatus[str | None] | None = None) -> None:
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.collector.run)
                await self.managed.run(task_status)
                nursery.cancel_scope.cancel()
        finally:
            os.close(lock)


def settings_of(options: IpfsStorageOptions, context: Context) -> Settings:
    """In a private swarm the daemons are a network of their own, unless they are to be in the public one."""
    return Settings(
        listen=options.listen,
        public=options.public,
        mdns=options.mdns,
        limit_bytes=options.limit_bytes,
        key=None if options.public else context.secret(PURPOSE),
    )
