"""The daemon of a peer's own: never two on one repo, watched, and started again when it has ended or is silent."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import attrs
import trio

from learnae import UnavailableError
from learnae.lowlevel import Backoff, RunInThread
from learnae_ipfs.managed.guard import END_SECONDS
from learnae_ipfs.managed.process import Process
from learnae_ipfs.managed.program import kubo
from learnae_ipfs.managed.repo import Repo
from learnae_ipfs.managed.settings import Settings

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

LONGEST_PAUSE_SECONDS = 15.0
PING_SECONDS = 15.0
LOOK_SECONDS = 0.1
FREE_SECONDS = END_SECONDS + 2.0  # the guard of an earlier run may still be ending its daemon


@attrs.define
class ManagedDaemon:
    """`ping` is awaited when a daemon is ready, and now and then: where it raises UnavailableError, the daemon is killed and started
    anew.
    """

    program: str | None
    repo: Repo
    settings: Settings
    ping: Callable[[], Awaitable[None]]
    in_thread: RunInThread
    log: FilteringBoundLogger

    async def run(self, task_status: trio.TaskStatus[str | None] | None = None) -> None:
        """Until cancelled. The status, if one is wanted, is why no daemon could be started at first; then it returns."""
        ready = Announced(task_status, self.log)
        pauses = Backoff(limit=LONGEST_PAUSE_SECONDS)
        while True:
            began = trio.current_time()
            cause = await self._live(ready)
            if task_status is not None and not ready.once:
                task_status.started(cause)
                return
            ready.over(cause)
            await trio.sleep(pauses.after(trio.current_time() - began))

    async def _live(self, ready: Announced) -> str:
        """One life of a daemon; why it is over."""
        try:
            program = kubo(self.program)
            await self._free()  # before anything is removed: the socket may be that of a daemon which somebody else runs
            await self.in_thread(self.repo.prepare, program, self.settings)
            process = await Process.start([program, "daemon", "--migrate"], self.repo.environment(self.settings))
        except (UnavailableError, OSError) as error:
            return str(error)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(process.listen)
                cause = await process.ready()
                if cause is None:
                    cause = await self._use(process, ready)
                nursery.cancel_scope.cancel()
        finally:
            try:
                await process.leave()
            finally:
                self.repo.leave()
        return cause

    async def _use(self, process: Process, ready: Announced) -> str:
        with contextlib.suppress(OSError):  # then a left-over of it would count as somebody else's
            self.repo.remember_daemon()
        while True:
            try:
                await self.ping()
            except UnavailableError as error:
                process.kill()
                return f"it was killed, for it is of no use: {error}"
            ready()
            with trio.move_on_after(PING_SECONDS):
                return await process.ended()

    async def _free(self) -> None:
        """Wait until nobody holds the repo; what an earlier run has left there is ended. Raises UnavailableError."""
        if await self._released():
            return
        if (left_over := self.repo.left_over) is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(left_over, signal.SIGKILL)
            if await self._released():
                return
        raise UnavailableError(f"the IPFS repo {self.repo.folder} is used by process {self.repo.holder}, which is not this peer's: end it")

    async def _released(self) -> bool:
        with trio.move_on_after(FREE_SECONDS) as limit:
            while self.repo.holder is not None:  # noqa: ASYNC110  # another process's lock: nothing tells of its end
                await trio.sleep(LOOK_SECONDS)
        return not limit.cancelled_caught


@attrs.define
class Announced:
    """Tells of the first readiness, and of each outage once, at its begin and at its end."""

    status: trio.TaskStatus[str | None] | None
    log: FilteringBoundLogger
    once: bool = False
    _broken: bool = False

    def __call__(self) -> None:
        if self.status is not None and not self.once:
            self.status.started()
        if self._broken:
            self.log.warning("ipfs.daemon_is_back")
        self.once, self._broken = True, False

    def over(self, cause: str) -> None:
        if not self._broken:
            self.log.warning("ipfs.daemon_is_gone", cause=cause)
        self._broken = True
