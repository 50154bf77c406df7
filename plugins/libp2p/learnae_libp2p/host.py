"""One host for all strategies of a peer: whoever enters first runs it, and where it falls it is built anew with the same key."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Protocol

import attrs
import trio

from learnae import ConfigError, Context, Problem, UnavailableError
from learnae.lowlevel import Backoff
from learnae_libp2p.addresses import parse_address
from learnae_libp2p.options import HostOptions, agreed

if TYPE_CHECKING:
    from learnae_libp2p.running import RunningHost

LIBRARIES = ("libp2p", "multiaddr", "zeroconf")  # which log what strangers send, and print it where nobody listens
EVERYWHERE = "/ip4/0.0.0.0/tcp/0"
READY_SECONDS = 25.0  # the core gives 30. The first import takes a second, and longer on a busy machine: it is there at the next try
INSTALL = "apt-get install build-essential python3-dev libgmp-dev, then install learnae-libp2p as its README says"


class Part(Protocol):
    """What runs beside the host for as long as it lives: `started` is called when others may connect."""

    def __call__(self, running: RunningHost, *, task_status: trio.TaskStatus[None]) -> Awaitable[None]: ...


class Libp2pHost:
    """Made by `context.share`. Strategies tell it what their table says, and run `serve` in a nursery of their own."""

    def __init__(self) -> None:
        self.options = HostOptions()
        self.tables: dict[str, str] = {}  # by key: the table of the file that says it
        self.context: Context | None = None
        self.running: RunningHost | None = None
        self._open: RunningHost | None = None  # as `running`, also before others may connect
        self.times_built = 0
        self.cause = ""
        self._logged = ""  # the cause, also before strategies were opened again
        self._changed = trio.Event()
        self._turn = trio.Lock()
        self._parts: list[Part] = []
        self._watchers: list[Callable[[], None]] = []
        self._handlers: dict[str, Callable[[Any], Awaitable[None]]] = {}
        self._bound: Sequence[str] = ()
        self._name = ""

    @property
    def name(self) -> str:
        """What libp2p calls this peer. Known once the host has run."""
        return self._name

    def configure(self, options: HostOptions, context: Context, table: str) -> None:
        """`table` is where they stand in the file. Raises ConfigError for keys that differ, and where libp2p is not installed."""
        if importlib.util.find_spec("libp2p") is None:
            raise ConfigError(Problem("use", "needs libp2p, which is not installed", INSTALL))
        self.options = agreed(self.options, options)
        said = (field.name for field in attrs.fields(HostOptions) if getattr(options, field.name) != field.default)
        self.tables |= {key: table for key in said if key not in self.tables}
        self.context = self.context or context

    async def serve(self) -> None:
        """Run the host until cancelled. While another one does, wait for its end, and go on then."""
        assert self.context is not None, "configured before it is served"
        async with self._turn:
            try:
                await self._serve(self.context)
            finally:
                self.cause = ""  # whoever serves next begins anew

    async def ready(self) -> RunningHost:
        """The host, once it runs. Raises UnavailableError when it does not in time."""
        with trio.move_on_after(READY_SECONDS):
            while self.running is None:
                if self.cause and not self.times_built:
                    raise UnavailableError(f"no libp2p host: {self.cause}")
                await self._changed.wait()
            return self.running
        raise UnavailableError(f"no libp2p host within {READY_SECONDS:.0f} s: {self.cause}")

    @asynccontextmanager
    async def with_part(self, part: Part) -> AsyncIterator[None]:
        """While this is open, the part runs in each host that is built, and in the one that runs."""
        self._parts.append(part)
        try:
            if self._open is not None:
                await self._open.begin(part)
            yield
        finally:
            self._parts.remove(part)
            if self._open is not None:
                self._open.end(part)

    def handle(self, protocol: str, handler: Callable[[Any], Awaitable[None]]) -> None:
        """Serve streams of this protocol in each host from now on."""
        self._handlers[protocol] = handler
        if self._open is not None:
            self._open.handle(protocol, handler)

    def watch(self, changed: Callable[[], None]) -> None:
        """Call this whenever a connection, or the host, has come or gone."""
        self._watchers.append(changed)

    def tell(self) -> None:
        """Whoever waits looks again."""
        self._changed.set()
        self._changed = trio.Event()
        for changed in self._watchers:
            changed()

    @property
    def news(self) -> trio.Event:
        """Set when a connection, or the host, has come or gone since it was asked for."""
        return self._changed

    async def _serve(self, context: Context) -> None:
        backoff = Backoff(first=0.1, limit=10.0, healthy=30.0)
        while True:
            began, built = trio.current_time(), self.times_built
            try:
                await self._live(context)
            except Exception as error:
                self.cause = _told(error)
            again = self.cause == self._logged and self.times_built == built  # it has not stood since
            (context.log.debug if again else context.log.warning)("libp2p.host_fell", cause=self.cause)
            self._logged = self.cause
            self.tell()
            await trio.sleep(backoff.after(trio.current_time() - began))

    async def _live(self, context: Context) -> None:
        library = await context.in_thread(importlib.import_module, "learnae_libp2p.running")  # a second, of which half is in C
        running: RunningHost = library.RunningHost.build(context, self.options, self.tell)
        for protocol, handler in self._handlers.items():
            running.handle(protocol, handler)
        async with running.opened():
            self._open, parts = running, list(self._parts)  # whoever brings a part from now on begins it himself
            try:
                for part in parts:
                    if part in self._parts:
                        await running.begin(part)
                await running.listen(self._listen())
                self._bound = running.bound()
                self.running, self._name, self.cause = running, running.name, ""
                self.times_built += 1
                self.tell()
                await running.fallen()
                self.cause = "a part of it has ended"
            finally:
                self.running = self._open = None

    def _listen(self) -> Sequence[str]:
        """Again at the ports that it had, but at an interface that was named wherever that is now."""
        if self.options.interface is None or not self._bound:
            return self._bound or self.options.listen
        ports = {address.kind: address.port for address in map(parse_address, reversed(self._bound))}
        wanted = [parse_address(text) for text in self.options.listen or (EVERYWHERE,)]
        return [str(attrs.evolve(one, port=one.port or ports.get(one.kind, 0))) for one in wanted]


def _told(error: Exception) -> str:
    while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return (str(error) if isinstance(error, UnavailableError) else f"{type(error).__name__}: {error}")[:300]
