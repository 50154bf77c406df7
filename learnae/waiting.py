"""Waits that end: growing pauses between attempts, and blocking calls that can be cut off."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from contextvars import ContextVar
from typing import Any, Protocol, TypeVar

import attrs

T = TypeVar("T")


class RunInThread(Protocol):
    """Runs a blocking function in a worker thread, and returns its result. Under virtual time it uses the caller's thread."""

    def __call__(self, function: Callable[..., T], /, *args: Any) -> Awaitable[T]: ...


class RunningCall(Protocol):
    """A running call of a blocking service, seen from the thread of that call."""

    def wait(self, seconds: float) -> bool: ...

    def interruptible(self, interrupt: Callable[[], object]) -> AbstractContextManager[None]: ...


RUNNING_CALL: ContextVar[RunningCall | None] = ContextVar("learnae_running_call", default=None)
"""The call of a blocking service that runs in this thread. The core sets it for `wait` and `interruptible`."""


@attrs.define
class Backoff:
    """The pause between attempts.

    It doubles from `first` to `limit` seconds. It starts again after an attempt that lasted `healthy` seconds.
    """

    first: float = 0.5
    limit: float = 30.0
    healthy: float = 60.0
    _next: float = attrs.field(default=0.0, init=False)

    def after(self, lived: float) -> float:
        """Seconds to wait after an attempt that lasted so long."""
        delay = self._next if self._next and lived < self.healthy else self.first
        self._next = min(2 * delay, self.limit)
        return delay


async def in_thread_until(
    in_thread: RunInThread, function: Callable[[], T], hang_up: Callable[[], None], late: Callable[[], Awaitable[None]] | None = None
) -> T:
    """Call a blocking function in a thread, and return its result. Raises what it raises, never in an exception group.

    If this is cancelled, or if `late` returns first, `hang_up` is called. It must make the function fail soon.
    """
    import trio  # `import learnae` needs the rest of this module, and does without trio

    returned: list[T] = []
    failed: list[Exception] = []

    async def watch() -> None:
        try:
            await (late or trio.sleep_forever)()
        finally:
            if not returned and not failed:
                hang_up()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch)
        try:
            returned.append(await in_thread(function))
        except Exception as error:  # raised again outside of the nursery, which would wrap it
            failed.append(error)
        nursery.cancel_scope.cancel()
    if failed:
        raise failed[0]
    return returned[0]
