"""Wraps storages and announcers with plain methods, so that the core sees async ones. Their calls run in threads of their own."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

import trio

from learnae.blocking_services import BlockingAnnouncer, BlockingService, BlockingStorage
from learnae.errors import Problem, UnavailableError
from learnae.node.runtime import inline
from learnae.observations import PeerConnection
from learnae.records import Block, Cid, Heard
from learnae.strategies import Announcer, Storage
from learnae.waiting import RUNNING_CALL

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

T = TypeVar("T")
B = TypeVar("B")

GRACE_SECONDS = 1.0  # for a call that is no longer wanted, before it is left alone
CLOSE_SECONDS = 2.0  # for what any service does when it is left
TURN_SECONDS = 30.0  # real ones, for which a call may hold up a run in virtual time


class CallInThread(Generic[T]):
    """One call, seen by its thread and by the core. After it has begun, it either finishes or is given up, whichever comes first."""

    def __init__(self, log: FilteringBoundLogger) -> None:
        self._log = log
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._interrupts: dict[object, Callable[[], object]] = {}
        self.began = self._finished = self._given_up = False
        self.result: T | None = None
        self.error: BaseException | None = None

    def wait(self, seconds: float) -> bool:
        return not self._over.wait(max(0.0, seconds))

    @contextmanager
    def interruptible(self, interrupt: Callable[[], object]) -> Iterator[None]:
        key = object()
        with self._lock:
            self._interrupts[key] = interrupt
            late = self._over.is_set()
        if late:
            self._interrupt()
        try:
            yield
        finally:
            with self._lock:
                self._interrupts.pop(key, None)

    def delivering(self, deliver: Callable[[B], None]) -> Callable[[B], None]:
        """`deliver`, as long as the call is wanted. After that it ignores what it gets."""
        return lambda item: None if self._over.is_set() else deliver(item)

    def giving(self, items: Iterable[B]) -> Iterator[B]:
        for item in items:
            if self._over.is_set():
                raise InterruptedError("the call is no longer wanted")
            yield item

    def run(self, function: Callable[[], T]) -> bool:
        """Run in its thread. Returns True if the call succeeded after it was given up: then the caller must undo it."""
        with self._lock:
            if self._over.is_set():
                return False
            self.began = True
        try:
            self.result = function()
        except Exception as error:
            self.error = error
        except BaseException as error:  # no thread ends the program
            self.error = RuntimeError(f"{type(error).__name__} in a worker thread")
            self.error.__cause__ = error
        with self._lock:
            self._finished = True
            return self._given_up and self.error is None

    def end(self) -> bool:
        """The call is no longer wanted. Returns whether it had begun."""
        with self._lock:
            self._over.set()
            interruptible = bool(self._interrupts)
        if interruptible:  # they may block, which is no matter of the loop's
            trio.lowlevel.start_thread_soon(self._interrupt, lambda outcome: None)
        return self.began

    def _interrupt(self) -> None:
        """Call each `interrupt` that is still open once, the innermost first, even if one of them raises."""
        while True:
            with self._lock:
                if not self._interrupts:
                    return
                _, interrupt = self._interrupts.popitem()
            try:
                interrupt()
            except BaseException as error:  # no thread ends the program
                self._log.debug("interrupting.failed", exc_info=error)

    def give_up(self) -> bool:
        """Give the call up. Returns whether it had not finished: then its thread is left alone."""
        with self._lock:
            self._given_up = not self._finished
            return self._given_up

    def outcome(self) -> T:
        if self.error is not None:
            raise self.error
        return self.result  # type: ignore[return-value]  # there is one once it has finished


class CallInTurns(CallInThread[T]):
    """The same under virtual time. Thread and event loop take turns: so the same seed gives the same run, and a wait takes no real time."""

    def __init__(self, log: FilteringBoundLogger) -> None:
        super().__init__(log)
        self._loop, self._thread = threading.Semaphore(0), threading.Semaphore(0)
        self._seconds = 0.0

    def wait(self, seconds: float) -> bool:
        if self._over.is_set():
            return False
        self._seconds = seconds
        self._loop.release()
        self._thread.acquire()
        return not self._over.is_set()

    def run(self, function: Callable[[], T]) -> bool:
        try:
            return super().run(function)
        finally:
            self._loop.release()

    def turn(self) -> float | None:
        """Let the call run until it waits.

        Returns for how many seconds it waits, None if it has finished. This blocks the loop on purpose.
        """
        if not self._loop.acquire(timeout=TURN_SECONDS):
            self.end()
            raise UnavailableError("it waits without `self.wait`, which holds up virtual time")
        return None if self._finished else self._seconds

    def go_on(self) -> None:
        self._thread.release()


class ServiceThreads:
    """The threads of one service. A call that is given up keeps its thread until it returns."""

    def __init__(self, service: BlockingService) -> None:
        self._service = service
        self._slots = trio.CapacityLimiter(service.threads)
        self._doors = trio.CapacityLimiter(2)  # for `open`, `close` and `check`: they wait for no other call
        self._hanging: dict[CallInThread[Any], object] = {}  # calls that were given up and have not ended: what each is about
        self._opening: dict[CallInThread[Any], object] = {}  # the same of `open`, `close` and `check`

    def changes(self, about: object) -> bool:
        """Whether a call that was given up, and concerns this, still runs."""
        return about in (*tuple(self._hanging.values()), *tuple(self._opening.values()))

    async def run(
        self,
        function: Callable[[CallInThread[T]], T],
        *,
        undo: Callable[[], object] | None = None,
        about: object = None,
        door: bool = False,
    ) -> T:
        """Run a call in a thread. Raises what it raises. If it succeeds after it was given up, `undo` is called in its thread."""
        if not door and len(self._hanging) >= self._service.threads:
            raise UnavailableError(f"all of its {self._service.threads} threads hang in calls that were given up")
        context = self._service.context
        call: CallInThread[T] = CallInTurns(context.log) if context.in_thread is inline else CallInThread(context.log)
        hanging = self._opening if door else self._hanging
        loop, ended = trio.lowlevel.current_trio_token(), trio.Event()

        def work() -> None:
            RUNNING_CALL.set(call)  # in a copy of the context
            if call.run(lambda: function(call)) and undo is not None:
                try:
                    undo()
                except Exception as error:
                    context.log.debug("undoing.failed", exc_info=error)
            hanging.pop(call, None)
            with suppress(trio.RunFinishedError):
                loop.run_sync_soon(ended.set)

        if isinstance(call, CallInTurns):
            return await self._in_turns(call, work)
        try:
            await trio.to_thread.run_sync(work, limiter=self._doors if door else self._slots, abandon_on_cancel=True)
        except trio.Cancelled:
            if call.end():
                with trio.move_on_after(GRACE_SECONDS, shield=True):
                    await ended.wait()
            hanging[call] = about  # before it is given up: then its thread takes it out
            if call.began and call.give_up():
                raise
            hanging.pop(call, None)
            if not call.began or call.error is not None:
                raise
        return call.outcome()  # also where it was cancelled and has happened all the same: the next checkpoint cancels

    async def _in_turns(self, call: CallInTurns[T], work: Callable[[], None]) -> T:
        await trio.lowlevel.checkpoint()
        trio.lowlevel.start_thread_soon(partial(contextvars.copy_context().run, work), lambda outcome: None)
        while (seconds := call.turn()) is not None:
            try:
                await trio.sleep(seconds)
            except trio.Cancelled:
                call.end()
                call.go_on()
                if call.turn() is None and call.error is None:
                    return call.outcome()
                raise
            call.go_on()
        return call.outcome()

    async def enter(self) -> None:
        if self.changes("open"):
            raise UnavailableError("an earlier `open` was given up, and has not ended: it would close what this one opens")
        await self.run(lambda call: self._service.open(), undo=self._service.close, about="open", door=True)

    async def leave(self) -> None:
        with trio.move_on_after(CLOSE_SECONDS, shield=True):
            await self.run(lambda call: self._service.close(), door=True)

    async def check(self) -> Sequence[str | Problem]:
        return await self.run(lambda call: self._service.check(), door=True)


class ThreadedStorage(Storage):
    """Makes a storage with plain methods an async one."""

    def __init__(self, inner: BlockingStorage) -> None:
        super().__init__(inner.options, inner.context)
        self.inner = inner
        self.leaves_machine = inner.leaves_machine  # type: ignore[misc]  # of the class that it stands for
        self.keeps_budgets = inner.keeps_budgets  # type: ignore[misc]  # as above
        self._threads = ServiceThreads(inner)

    async def __aenter__(self) -> Self:
        await self._threads.enter()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._threads.leave()

    async def check(self) -> Sequence[str | Problem]:
        return await self._threads.check()

    async def put(self, root: Cid, blocks: Iterable[Block]) -> None:
        await self._change(root, lambda call: self.inner.put(root, call.giving(blocks)), undo=lambda: self.inner.drop(root))

    async def get(self, cids: Sequence[Cid], deliver: Callable[[Block], None], *, hints: Sequence[str] = ()) -> None:
        await self._threads.run(lambda call: self.inner.get(cids, call.delivering(deliver), hints=hints))

    async def drop(self, root: Cid) -> None:
        await self._change(root, lambda call: self.inner.drop(root))

    async def roots(self) -> Sequence[Cid]:
        return await self._threads.run(lambda call: self.inner.roots())

    def hints(self) -> Sequence[str]:
        return self.inner.hints()

    def connections(self) -> Sequence[PeerConnection]:
        return self.inner.connections()

    def addresses(self) -> Sequence[str]:
        return self.inner.addresses()

    async def _change(self, root: Cid, change: Callable[[CallInThread[None]], None], undo: Callable[[], object] | None = None) -> None:
        if self._threads.changes(root):
            raise UnavailableError("an earlier call for this root was given up, and has not ended: it would spoil what this one does")
        await self._threads.run(change, undo=undo, about=root)


class ThreadedAnnouncer(Announcer):
    """Makes an announcer with plain methods an async one."""

    def __init__(self, inner: BlockingAnnouncer) -> None:
        super().__init__(inner.options, inner.context)
        self.inner = inner
        self.max_bytes, self.leaves_machine = inner.max_bytes, inner.leaves_machine  # type: ignore[misc]  # as above
        self.keeps_budgets = inner.keeps_budgets  # type: ignore[misc]  # as above
        self._threads = ServiceThreads(inner)

    async def __aenter__(self) -> Self:
        await self._threads.enter()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._threads.leave()

    async def check(self) -> Sequence[str | Problem]:
        return await self._threads.check()

    async def announce(self, message: bytes, *, channel: str, replaces: bytes) -> None:
        await self._threads.run(lambda call: self.inner.announce(message, channel=channel, replaces=replaces))

    async def listen(self, channels: Sequence[str], deliver: Callable[[Heard], None]) -> None:
        await self._threads.run(lambda call: self.inner.listen(channels, call.delivering(deliver)))
        await trio.lowlevel.checkpoint_if_cancelled()  # it has returned because it was told to

    def connections(self) -> Sequence[PeerConnection]:
        return self.inner.connections()

    def addresses(self) -> Sequence[str]:
        return self.inner.addresses()


def asynchronous(service: Any) -> Any:
    """A service with plain methods, wrapped for the core. Anything else is returned as it is."""
    if isinstance(service, BlockingStorage):
        return ThreadedStorage(service)
    return ThreadedAnnouncer(service) if isinstance(service, BlockingAnnouncer) else service


def as_written(service: Any) -> Any:
    """The service that its author wrote, without the wrapper."""
    return service.inner if isinstance(service, ThreadedStorage | ThreadedAnnouncer) else service
