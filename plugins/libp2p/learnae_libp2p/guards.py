"""What keeps one peer's bytes from ending the host.

In libp2p 0.8.1 an exception in any handler of a stream ends the host, and so does one in a task of a service or in a validator. Six bytes
from outside are enough. Here all streams come in through one function, and all tasks of all services through another.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import attrs
import trio
from libp2p.io.exceptions import ConnectionClosedError
from libp2p.network.auto_connector import AutoConnector
from libp2p.network.swarm import Swarm
from libp2p.tools.anyio_service import TrioManager
from multiaddr import Multiaddr
from structlog.typing import FilteringBoundLogger

from learnae_libp2p.sockets import CarriedSocket, CountedSocket, host_of, raw_connection
from learnae_libp2p.yamux_frames import QuickYamux

STREAMS_PER_PEER = 32
"""Streams that one peer has open towards us at once."""

STREAMS = 512
"""The same of all peers together."""

StreamHandler = Callable[[Any], Awaitable[None]]


@attrs.define
class StreamGuard:
    """Around whatever serves a stream that another peer has opened: ours and the library's own, and what finds out which it is.

    Where all peers together have too many, the oldest of the peer with most gives way to one that has fewer: who holds what he can get
    keeps nobody else out.
    """

    log: FilteringBoundLogger
    streams: int = STREAMS
    _open: dict[str, dict[Any, trio.CancelScope]] = attrs.field(factory=dict)  # by peer, the oldest first

    def around(self, handler: StreamHandler) -> StreamHandler:
        async def guarded(stream: Any) -> None:
            peer = str(stream.muxed_conn.peer_id)
            with trio.CancelScope() as scope:
                if not self._let_in(peer, stream, scope):
                    await reset(stream)
                    return
                try:
                    await handler(stream)
                    await leave(stream)
                except Exception as error:
                    self.log.debug("libp2p.stream_failed", peer=peer, protocol=str(stream.get_protocol()), error=repr(error)[:200])
                    await reset(stream)
                finally:
                    self._forget(peer, stream)
            if scope.cancelled_caught:
                await reset(stream)

        return guarded

    def _let_in(self, peer: str, stream: Any, scope: trio.CancelScope) -> bool:
        if len(self._open.get(peer, ())) >= STREAMS_PER_PEER:
            return False
        if sum(map(len, self._open.values())) >= self.streams:
            most = max(self._open, key=lambda one: len(self._open[one]))
            if len(self._open[most]) <= len(self._open.get(peer, ())) + 1:
                return False
            oldest = next(iter(self._open[most]))
            self._open[most][oldest].cancel()
            self._forget(most, oldest)
        self._open.setdefault(peer, {})[stream] = scope
        return True

    def _forget(self, peer: str, stream: Any) -> None:
        if (streams := self._open.get(peer)) is not None:
            streams.pop(stream, None)
            if not streams:
                del self._open[peer]


async def leave(stream: Any) -> None:
    """Whoever served it has gone: what still comes is kept for nobody."""
    inner = getattr(stream, "muxed_stream", None)
    if isinstance(conn := getattr(inner, "conn", None), QuickYamux):
        await conn.leave(inner)


async def reset(stream: Any) -> None:
    """End both directions of a stream of the library's, also in a task that is cancelled. Raises nothing."""
    with trio.CancelScope(shield=True), trio.move_on_after(1.0):
        try:
            await stream.reset()
        except Exception:  # it has ended already
            return


class TaskGuard:
    """A service's manager in whose tasks nothing can be raised that ends the service.

    Tasks that must run as long as the service (daemons) are let through: where one ends, so does the service, and the host is built anew.
    """

    def __init__(self, manager: TrioManager, failed: Callable[[Callable[..., Any], Exception], Awaitable[None]]) -> None:
        self._manager = manager
        self._failed = failed

    def __getattr__(self, name: str) -> Any:
        return getattr(self._manager, name)

    def run_task(self, function: Callable[..., Awaitable[None]], *arguments: Any, daemon: bool = False, name: str | None = None) -> None:
        async def guarded() -> None:
            try:
                await function(*arguments)
            except Exception as error:
                await self._failed(function, error)

        if daemon:
            self._manager.run_task(function, *arguments, daemon=True, name=name)
        elif self._manager.is_running:  # else nobody needs the task any more, and the library would raise
            self._manager.run_task(guarded, name=name or getattr(function, "__name__", "task"))


class GuardedService:
    """Before a class of the library's that is a service: its tasks are guarded."""

    _manager: Any
    _guard: TaskGuard | None = None
    failed_tasks: int = 0

    @property
    def manager(self) -> Any:
        if self._guard is None or self._guard._manager is not self._manager:
            self._guard = TaskGuard(self._manager, self.task_failed)
        return self._guard

    async def task_failed(self, function: Callable[..., Any], error: Exception) -> None:
        self.failed_tasks += 1


class NoAutoConnector(AutoConnector):  # type: ignore[misc]  # libp2p is not followed by mypy
    """The library's own dials whomever it has heard of until half of the connections are taken."""

    async def maybe_connect(self) -> None:
        return


class GuardedSwarm(GuardedService, Swarm):  # type: ignore[misc]  # the same
    """Connections. What goes wrong in one ends that one, and their number is bounded at each moment.

    The library counts each inbound connection until the host ends, also those that are long gone: after some hundred nobody could
    connect any more. Here one counts while it is open.
    """

    most_inbound: int = 96
    most_handshakes: int = 24
    _inbound: int = 0
    _shaking: int = 0

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self.meetings: dict[str, Callable[[CountedSocket], Awaitable[None]]] = {}  # by hosts that are dialled while they dial us

    async def task_failed(self, function: Callable[..., Any], error: Exception) -> None:
        await super().task_failed(function, error)
        owner = getattr(function, "__self__", None)
        if owner is not None and owner is not self and hasattr(owner, "close"):
            with trio.move_on_after(5.0):
                await owner.close()

    async def _handle_inbound_connection(self, read_write_closer: Any, maddr: Any) -> None:
        counted = CountedSocket(read_write_closer.stream)
        if (meeting := self.meetings.get(host_of(counted.remote))) is not None:
            await meeting(counted)
            return
        try:
            await self.serve_inbound(counted)
        except Exception:  # no handshake, or one that failed: their loss
            return

    async def serve_inbound(
        self, raw: CountedSocket | CarriedSocket, peer: str | None = None, started: Callable[[], None] = lambda: None
    ) -> None:
        """Until the connection ends. Where a peer is named, no other one is let in. Raises what the library raises."""
        if self._inbound >= self.most_inbound or self._shaking >= self.most_handshakes:
            await _close(raw)
            return
        self._inbound += 1
        try:
            connection = await self._shake_hands(raw)
            if peer is not None and str(connection.muxed_conn.peer_id) != peer:
                await connection.close()
                return
            started()
            await connection.event_closed.wait()
        finally:
            self._inbound -= 1
            await _close(raw)

    async def upgrade_outbound_raw_conn(self, raw_conn: Any, peer_id: Any, pre_scope: Any = None) -> Any:
        """The library forgets the socket of a connection that the other end has closed."""
        try:
            connection = await super().upgrade_outbound_raw_conn(raw_conn, peer_id, pre_scope)
        except BaseException:
            await _close(raw_conn)
            raise
        self.manager.run_task(self._close_after, connection, raw_conn)
        return connection

    async def _close_after(self, connection: Any, raw: Any) -> None:
        try:
            await connection.event_closed.wait()
        finally:
            await _close(raw)

    async def _shake_hands(self, raw: CountedSocket | CarriedSocket) -> Any:
        self._shaking += 1
        try:
            muxed = await self.upgrade_inbound_raw_conn(raw_connection(raw, initiator=False), Multiaddr("/ip4/0.0.0.0/tcp/0"))
        finally:
            self._shaking -= 1
        for connection in self.get_connections(muxed.peer_id):
            if connection.muxed_conn is muxed:
                return connection
        raise ConnectionClosedError("it was closed as soon as it was there")


async def _close(closer: Any) -> None:
    """Also in a task that is cancelled. Raises nothing."""
    with trio.CancelScope(shield=True), trio.move_on_after(1.0):
        try:
            await closer.close()
        except Exception:  # it is closed already
            return
