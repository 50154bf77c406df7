"""Storages and announcers as services: opened, called with a time limit, opened again after an outage. What they deliver is checked."""

from __future__ import annotations

import math
import threading
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import attrs
import trio

from learnae.content.cids import check
from learnae.errors import ConfigError, LearnaeError, PluginError, UnavailableError
from learnae.node.blocking import CLOSE_SECONDS
from learnae.node.runtime import Outages, QuarantinedError
from learnae.node.strategy_set import ConfiguredStrategy
from learnae.records import BLOCK_BYTES, Block, Cid, Heard
from learnae.strategies import Announcer, Storage

if TYPE_CHECKING:
    from learnae.node.fetching import Transfer


OPEN_SECONDS = 30.0
BACK_OFF_SECONDS = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0)
REST_SECONDS = (30.0, 60.0, 120.0, 300.0, 600.0)

ServiceStrategy = ConfiguredStrategy[Storage] | ConfiguredStrategy[Announcer]
S = TypeVar("S", ConfiguredStrategy[Storage], ConfiguredStrategy[Announcer])


@attrs.define
class Attempt:
    """One call of a service, over when it returned or was cut off: what it raised then, if anything."""

    what: str
    over: bool = False
    error: UnavailableError | PluginError | None = None

    @property
    def worked(self) -> bool:
        return self.over and self.error is None


@attrs.define
class Services:
    """`failure` is the error of a service that could not even be opened for the first time: its plugin, or the file, must be mended."""

    outages: Outages
    failure: LearnaeError | None = None
    _open: dict[ServiceStrategy, trio.Event] = attrs.field(factory=dict)
    _hung: dict[ServiceStrategy, tuple[int, float]] = attrs.field(factory=dict)  # how often in a row, and until when it is left alone
    _leaving: trio.Event = attrs.field(factory=trio.Event)

    async def open(self, services: Iterable[ServiceStrategy], nursery: trio.Nursery) -> None:
        """Keep them open, each in a task of its own; returns when the first try of each is over, well or not."""
        tried = {service: trio.Event() for service in services}
        for service, event in tried.items():
            self._open[service] = trio.Event()
            nursery.start_soon(self._keep_open, service, event)
        with trio.move_on_after(OPEN_SECONDS + 1):
            for event in tried.values():
                await event.wait()
        for service in (service for service, event in tried.items() if not event.is_set()):
            self.outages.failed(service.label, "it cannot even be cut off: a thread of it hangs")

    def close(self) -> None:
        """Let all of them close, within a limit."""
        self._leaving.set()

    async def while_open(self, services: Iterable[ServiceStrategy], live: Callable[[], Awaitable[None]]) -> None:
        """Open all of them, do that, and close them again. Raises PluginError or ConfigError if one cannot be started."""
        async with trio.open_nursery() as nursery:
            await self.open(services, nursery)
            if self.failure is None:
                await live()
            self.close()
        if self.failure is not None:
            raise self.failure

    async def opened(self, service: ServiceStrategy) -> None:
        """Wait until it is open."""
        await self._open[service].wait()

    def is_open(self, service: ServiceStrategy) -> bool:
        return service in self._open and self._open[service].is_set()

    def ready(self, service: ServiceStrategy) -> bool:
        """Whether it is open, and has not just been cut off for its silence."""
        return self.is_open(service) and trio.current_time() >= self._hung.get(service, (0, -math.inf))[1]

    @contextmanager
    def using(self, service: ServiceStrategy, doing: str, seconds: float) -> Iterator[Attempt]:
        """Cuts off what takes longer. Whatever the plugin raises is an outage: told once, and over when the same works again."""
        attempt = Attempt(f"{doing} by {service.label}")
        with self._bounded(service, attempt, seconds):
            yield attempt
        self._tell(attempt)

    async def at_once(self, services: Iterable[S], doing: str, seconds: float, call: Callable[[S], Awaitable[None]]) -> list[S]:
        """Call all of them beside each other, each as in `using`; those in which it worked. What failed is told in their order."""
        attempts = [(service, Attempt(f"{doing} by {service.label}")) for service in services]

        async def one(service: S, attempt: Attempt) -> None:
            with self._bounded(service, attempt, seconds):
                await call(service)

        if len(attempts) == 1:
            await one(*attempts[0])
        else:
            async with trio.open_nursery() as nursery:
                for service, attempt in attempts:
                    nursery.start_soon(one, service, attempt)
        for _, attempt in attempts:
            self._tell(attempt)
        return [service for service, attempt in attempts if attempt.worked]

    @contextmanager
    def _bounded(self, service: ServiceStrategy, attempt: Attempt, seconds: float) -> Iterator[None]:
        try:
            with service.calling(attempt.what, within=seconds), trio.move_on_after(seconds) as limit:
                yield
            if limit.cancelled_caught:
                self._leave_alone(service)
                raise UnavailableError(f"no answer within {seconds:.0f} s")
        except (UnavailableError, PluginError) as error:
            attempt.error = error
        else:
            self._hung.pop(service, None)
        attempt.over = True

    def _tell(self, attempt: Attempt) -> None:
        if attempt.error is not None:
            self.outages.failed(attempt.what, str(attempt.error))
        else:
            self.outages.works(attempt.what)

    def _leave_alone(self, service: ServiceStrategy) -> None:
        times = self._hung.get(service, (0, 0.0))[0]
        self._hung[service] = times + 1, trio.current_time() + REST_SECONDS[min(times, len(REST_SECONDS) - 1)]

    async def _keep_open(self, service: ServiceStrategy, tried: trio.Event) -> None:
        for seconds in back_off():
            try:
                await self._hold_open(service, tried)
            except (UnavailableError, PluginError, ConfigError) as error:
                if not isinstance(error, UnavailableError | QuarantinedError) and not tried.is_set():
                    self.failure = error
                self.outages.failed(service.label, str(error))
            tried.set()
            with trio.move_on_after(0 if self.failure else seconds):
                await self._leaving.wait()
            if self._leaving.is_set() or self.failure:
                return

    async def _hold_open(self, service: ServiceStrategy, tried: trio.Event) -> None:
        """Entered and left in one task, as nurseries inside a service want it."""
        with (
            trio.CancelScope(deadline=trio.current_time() + OPEN_SECONDS) as limit,
            service.calling(f"keeping {service.label} open", within=OPEN_SECONDS, ours=(UnavailableError, ConfigError)) as call,
        ):
            async with service.strategy:
                limit.deadline = math.inf
                call.may_take(math.inf)
                self._open[service].set()
                tried.set()
                self.outages.works(service.label)
                try:
                    await self._leaving.wait()
                finally:
                    self._open[service] = trio.Event()
                    limit.deadline = trio.current_time() + CLOSE_SECONDS
                    call.may_take(CLOSE_SECONDS)
        if limit.cancelled_caught and not self._leaving.is_set():
            raise UnavailableError(f"it did not open within {OPEN_SECONDS:.0f} s")


def back_off() -> Iterator[float]:
    """How long to wait after each failure in a row."""
    yield from BACK_OFF_SECONDS
    while True:
        yield BACK_OFF_SECONDS[-1]


MOST_WAITING = 4096  # messages from other threads that the loop has not heard yet; a medium may lose what is more


class EventLoop:
    """The loop that this was made in, for calls out of any thread."""

    def __init__(self) -> None:
        self._token, self._thread = trio.lowlevel.current_trio_token(), threading.get_ident()

    def soon(self, function: Callable[[], None]) -> None:
        """At once in the loop's own thread, else soon and in order; not at all once the loop is over."""
        if threading.get_ident() == self._thread:
            function()
            return
        with suppress(trio.RunFinishedError):
            self._token.run_sync_soon(function)


@attrs.define(eq=False)
class Delivery:
    """The `deliver` of one `get`: takes what is asked for and is what it is named by. `arrived` is called in the loop for each that counts.

    `flaw` says what was delivered that nobody can use, and is empty where all was right.
    """

    wanted: Mapping[Cid, None]
    transfer: Transfer
    source: str
    arrived: Callable[[Delivery, Cid], None]
    flaw: str = ""
    over: bool = False
    _loop: EventLoop = attrs.field(factory=EventLoop)

    def __call__(self, block: Block) -> None:
        if self.over:
            return
        try:
            sound = _sound(block)
            wanted = sound is not None and sound.cid in self.wanted
        except Exception:  # whatever a plugin's objects do when they are looked at
            sound, wanted = None, False
        if sound is None:
            self.flaw = f"it delivers what is no block: {type(block).__name__}"
        elif wanted:
            self._take(sound)

    def _take(self, block: Block) -> None:
        check(block)  # outside of the lock: hashing is most of the work, and the block remembers it
        with self.transfer.lock:
            if self.over:
                return
            if not self.transfer.take(block, self.source):
                self.flaw = "it delivers blocks that are not what they are named by"
                return
        self._loop.soon(partial(self.arrived, self, block.cid))

    def end(self) -> None:
        with self.transfer.lock:
            self.over = True


@attrs.define(eq=False)
class Messages:
    """The `deliver` of one `listen`: hands on what is a message, in the loop. What is none is told, as an outage of `what` by this plugin.

    After the moment `steady` a message is the end of that outage, unless something was wrong in this very `listen`.
    """

    hear: Callable[[Heard], None]
    plugin: str
    what: str
    outages: Outages
    steady: float
    over: bool = False
    flawed: bool = False
    _waiting: int = 0
    _lock: threading.Lock = attrs.field(factory=threading.Lock)
    _loop: EventLoop = attrs.field(factory=EventLoop)

    def __call__(self, heard: Heard) -> None:
        if self.over:
            return
        try:
            message = _message(heard)
        except Exception:  # whatever a plugin's objects do when they are looked at
            message = None
        if message is None:
            self._loop.soon(partial(self._tell, f"it delivers what is no message: {type(heard).__name__}"))
            return
        with self._lock:
            if self._waiting >= MOST_WAITING:
                return
            self._waiting += 1
        self._loop.soon(partial(self._hear, message))

    def _hear(self, heard: Heard) -> None:
        with self._lock:
            self._waiting -= 1
        if self.over:  # since a thread delivered it
            return
        self.hear(heard)
        if trio.current_time() >= self.steady and not self.flawed:
            self.outages.works(self.what)

    def _tell(self, flaw: str) -> None:
        if self.over:
            return
        self.flawed = True
        self.outages.failed(self.what, str(PluginError(self.plugin, self.what, flaw)))

    def end(self) -> None:
        self.over = True


def _sound(block: Any) -> Block | None:
    """A block whose bytes nobody changes any more; None for what is none."""
    if not isinstance(block, Block) or not isinstance(block.cid, str):
        return None
    data: Any = block.data
    if type(data) is bytes:
        return block
    if not isinstance(data, bytes | bytearray | memoryview):
        return None
    return Block(block.cid, bytes(memoryview(data)[: BLOCK_BYTES + 1]))


def _message(heard: Any) -> Heard | None:
    if not isinstance(heard, Heard) or not isinstance(heard.message, bytes | bytearray | memoryview):
        return None
    return heard if type(heard.message) is bytes and type(heard.backlog) is bool else Heard(bytes(heard.message), bool(heard.backlog))
