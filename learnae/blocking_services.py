"""Storages and announcers with plain methods, which the core runs in threads."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, ClassVar

from learnae.records import Block, Cid, Heard
from learnae.strategies import Connected
from learnae.waiting import RUNNING_CALL

if TYPE_CHECKING:
    from learnae.errors import Problem


class BlockingService(Connected):
    """A service with plain methods, for clients that block or speak asyncio. The core runs each call in a thread.

    Up to `threads` calls run at once, in threads of this service alone. Further calls wait for a free thread. When a call takes too long,
    its `wait` returns False, and the core calls what the call gave to `interruptible`. The call then has one second to return. After that
    the core gives it up: its thread stays taken until it returns, and what it still delivers is ignored.

    A client of asyncio runs in the call's thread, and is cancelled from another one:

        def get(self, cids, deliver, *, hints=()):
            asyncio.run(self._get(cids, deliver))

        async def _get(self, cids, deliver):
            task, loop = asyncio.current_task(), asyncio.get_running_loop()
            with self.interruptible(lambda: loop.call_soon_threadsafe(task.cancel)):
                ...
    """

    threads: ClassVar[int] = 4

    def open(self) -> None:
        """Connect. The core calls it before all other calls but `check`, and again if it raised or took too long.

        If it raises, `close` is not called, so it must release what it holds. Raises UnavailableError, ConfigError.
        """
        return

    def close(self) -> None:
        """Disconnect. The core calls it after the last call, if `open` has returned. It waits two seconds for it.

        Calls that were given up may still run.
        """
        return

    def check(self) -> Sequence[str | Problem]:
        """As `Service.check`."""
        return ()

    def wait(self, seconds: float) -> bool:
        """Sleep so many seconds, or until this call is no longer wanted. Returns whether the call is still wanted.

        Use it in place of `time.sleep`. Under virtual time the seconds are virtual. It works in the thread of the call, and in coroutines
        that asyncio runs there. In any other thread it only sleeps, and returns True.
        """
        if (call := RUNNING_CALL.get()) is not None:
            return call.wait(seconds)
        time.sleep(seconds)
        return True

    def interruptible(self, interrupt: Callable[[], object]) -> AbstractContextManager[None]:
        """A context manager. If this call is no longer wanted while it is open, the core calls `interrupt` once, in another thread.

        If the call is already unwanted, `interrupt` is called at once, in this thread. It should make the call end, for instance by
        closing its connection. What the call then raises is ignored. `interrupt` may still run when the `with` block ends. If several
        are open, all are called, the innermost first, even if one of them raises.
        """
        call = RUNNING_CALL.get()
        return nullcontext() if call is None else call.interruptible(interrupt)


class BlockingStorage(BlockingService, ABC):
    """A storage with plain methods. Each method has the contract of the same method of `Storage`, without `async`.

    If a `put` succeeds after the core gave it up, the core calls `drop` for its root.
    """

    @abstractmethod
    def put(self, root: Cid, blocks: Iterable[Block]) -> None:
        """As `Storage.put`. Iterating `blocks` raises when this call is no longer wanted."""

    @abstractmethod
    def get(self, cids: Sequence[Cid], deliver: Callable[[Block], None], *, hints: Sequence[str] = ()) -> None:
        """As `Storage.get`."""

    @abstractmethod
    def drop(self, root: Cid) -> None:
        """As `Storage.drop`."""

    @abstractmethod
    def roots(self) -> Sequence[Cid]:
        """As `Storage.roots`."""

    def hints(self) -> Sequence[str]:
        """As `Storage.hints`. The core calls it in the event loop: it must not block."""
        return ()


class BlockingAnnouncer(BlockingService, ABC):
    """An announcer with plain methods. Each method has the contract of the same method of `Announcer`, without `async`.

    `listen` takes one thread, so `threads` must be 2 or more.
    """

    max_bytes: ClassVar[int]

    @abstractmethod
    def announce(self, message: bytes, *, channel: str, replaces: bytes) -> None:
        """As `Announcer.announce`. It may run in several threads at once."""

    @abstractmethod
    def listen(self, channels: Sequence[str], deliver: Callable[[Heard], None]) -> None:
        """As `Announcer.listen`. It must return when the call is no longer wanted. To look every second, write `while self.wait(1.0):`."""
