"""Storages and announcers: opened, opened again after an outage, never waited for without a limit, and closed at the end."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import attrs
import trio

from learnae.errors import ConfigError, LearnaeError, PluginError, Unavailable
from learnae.node.assembly import Named
from learnae.node.bench import OnTheBench
from learnae.node.outages import Outages
from learnae.strategies import Announcer, Storage

OPEN_SECONDS = 30.0
CLOSE_SECONDS = 2.0
BACK_OFF_SECONDS = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0)
REST_SECONDS = (30.0, 60.0, 120.0, 300.0, 600.0)

Service = Named[Storage] | Named[Announcer]
S = TypeVar("S", Named[Storage], Named[Announcer])


@attrs.define
class Attempt:
    """One call of a service, over when it returned or was cut off: what it raised then, if anything."""

    what: str
    over: bool = False
    error: Unavailable | PluginError | None = None

    @property
    def worked(self) -> bool:
        return self.over and self.error is None


@attrs.define
class Services:
    """`failure` is the error of a service that could not even be opened for the first time: its plugin, or the file, must be mended."""

    outages: Outages
    failure: LearnaeError | None = None
    _open: dict[Service, trio.Event] = attrs.field(factory=dict)
    _hung: dict[Service, tuple[int, float]] = attrs.field(factory=dict)  # how often in a row, and until when it is left alone
    _leaving: trio.Event = attrs.field(factory=trio.Event)

    async def open(self, services: Iterable[Service], nursery: trio.Nursery) -> None:
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

    async def opened(self, service: Service) -> None:
        """Wait until it is open."""
        await self._open[service].wait()

    def is_open(self, service: Service) -> bool:
        return service in self._open and self._open[service].is_set()

    def ready(self, service: Service) -> bool:
        """Whether it is open, and has not just been cut off for its silence."""
        return self.is_open(service) and trio.current_time() >= self._hung.get(service, (0, -math.inf))[1]

    @contextmanager
    def using(self, service: Service, doing: str, seconds: float) -> Iterator[Attempt]:
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
    def _bounded(self, service: Service, attempt: Attempt, seconds: float) -> Iterator[None]:
        try:
            with service.calling(attempt.what, within=seconds), trio.move_on_after(seconds) as limit:
                yield
            if limit.cancelled_caught:
                self._leave_alone(service)
                raise Unavailable(f"no answer within {seconds:.0f} s")
        except (Unavailable, PluginError) as error:
            attempt.error = error
        else:
            self._hung.pop(service, None)
        attempt.over = True

    def _tell(self, attempt: Attempt) -> None:
        if attempt.error is not None:
            self.outages.failed(attempt.what, str(attempt.error))
        else:
            self.outages.works(attempt.what)

    def _leave_alone(self, service: Service) -> None:
        times = self._hung.get(service, (0, 0.0))[0]
        self._hung[service] = times + 1, trio.current_time() + REST_SECONDS[min(times, len(REST_SECONDS) - 1)]

    async def _keep_open(self, service: Service, tried: trio.Event) -> None:
        for seconds in back_off():
            try:
                await self._hold_open(service, tried)
            except (Unavailable, PluginError, ConfigError) as error:
                if not isinstance(error, Unavailable | OnTheBench) and not tried.is_set():
                    self.failure = error
                self.outages.failed(service.label, str(error))
            tried.set()
            with trio.move_on_after(0 if self.failure else seconds):
                await self._leaving.wait()
            if self._leaving.is_set() or self.failure:
                return

    async def _hold_open(self, service: Service, tried: trio.Event) -> None:
        """Entered and left in one task, as nurseries inside a service want it."""
        with (
            trio.CancelScope(deadline=trio.current_time() + OPEN_SECONDS) as limit,
            service.calling(f"keeping {service.label} open", within=OPEN_SECONDS, ours=(Unavailable, ConfigError)) as call,
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
            raise Unavailable(f"it did not open within {OPEN_SECONDS:.0f} s")


def back_off() -> Iterator[float]:
    """How long to wait after each failure in a row."""
    yield from BACK_OFF_SECONDS
    while True:
        yield BACK_OFF_SECONDS[-1]
