"""The transport of `streams/`, on the peer's libp2p host. This module is light: the library comes with the host."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

import attrs
import trio

from learnae import UnavailableError
from learnae_libp2p.addresses import Address, parse_address, place_of
from learnae_libp2p.host import Libp2pHost
from learnae_libp2p.streams.transport import Circuit, Connection, Handler, Place, SilentError, Stream, StreamClosedError, UnreachableError

if TYPE_CHECKING:
    from learnae_libp2p.running import RunningHost

DIAL_SECONDS = 10.0
HEAD_START_SECONDS = 0.25  # of each address before the next one: the best that answers is used
MOST_ADDRESSES = 8
OPEN_SECONDS = 10.0  # less than the library's own, which ends as a refusal does


@attrs.define(eq=False)
class Libp2pStream:
    """A stream of the library's under the names of ours."""

    _stream: Any

    @property
    def peer(self) -> str:
        return str(self._stream.muxed_conn.peer_id)

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        from learnae_libp2p.yamux_frames import send  # with the library

        try:
            await send(self._stream.muxed_stream, bytes(data))
        except Exception as error:  # the library's many, and those of what lies below
            raise StreamClosedError(str(error)) from error

    async def receive_some(self, max_bytes: int) -> bytes | bytearray:
        from libp2p.stream_muxer.exceptions import MuxedStreamEOF

        from learnae_libp2p.yamux_frames import receive  # with the library

        try:
            data = await receive(self._stream.muxed_stream, max_bytes)
        except Exception as error:
            if isinstance(error, MuxedStreamEOF) and not self._stream.muxed_stream.reset_received:  # a reset looks like an end, too
                return b""
            raise StreamClosedError(str(error)) from error
        return data

    async def aclose(self) -> None:
        try:
            await self._stream.close_write()
        except Exception:  # it has ended already
            return

    async def reset(self) -> None:
        with trio.CancelScope(shield=True), trio.move_on_after(1.0):
            try:
                await self._stream.reset()
            except Exception:  # it has ended already
                return


@attrs.define(eq=False)
class Libp2pTransport:
    """See `streams.transport.Transport`. While the host is built anew, nobody can be reached."""

    host: Libp2pHost

    @property
    def peer(self) -> str:
        return self.host.name

    async def connect(self, peer: str, addresses: Sequence[str]) -> str | None:
        running = self._running()
        if running.connected(peer):
            return None
        places, answered = _readable(peer, addresses), list[Address]()
        with trio.move_on_after(DIAL_SECONDS + HEAD_START_SECONDS * len(places)):
            await _first(running, peer, places, answered)
        if not running.connected(peer):
            raise UnreachableError("does not answer")
        return next((text for text in addresses if answered and _leads_to(text, answered[0])), None)

    async def disconnect(self, peer: str) -> None:
        if (running := self.host.running) is not None:
            await running.disconnect(peer)

    async def adopt(self, circuit: Circuit, *, dialled: bool) -> None:
        from learnae_libp2p import behind_routers  # with the library

        running = self._running()
        try:
            await behind_routers.adopt(running, circuit, dialled=dialled)
        except UnavailableError as error:
            raise UnreachableError(str(error)) from error

    async def punch(self, peer: str, addresses: Sequence[str], *, first: bool, seconds: float) -> None:
        from learnae_libp2p import behind_routers  # with the library

        running = self._running()
        try:
            await behind_routers.punch(running, peer, _readable(peer, addresses), first=first, seconds=seconds)
        except UnavailableError as error:
            raise UnreachableError(str(error)) from error

    async def answers(self, peer: str, address: str) -> bool:
        from learnae_libp2p import behind_routers  # with the library

        return await behind_routers.answers(self._running(), peer, _readable(peer, [address])[0])

    def outside(self, seen_at: str) -> Sequence[str]:
        seen = parse_address(seen_at)
        listens = [parse_address(text) for text in (self.host.running.bound() if self.host.running is not None else ())]
        ports = [one.port for one in listens if one.kind == seen.kind]
        return list(dict.fromkeys(attrs.evolve(seen, port=port, peer=None).place for port in (*ports, seen.port)))

    async def open_stream(self, peer: str, protocol: str) -> Stream:
        running = self._running()
        if not running.connected(peer):
            raise UnreachableError(f"no connection to {peer}")
        with trio.move_on_after(OPEN_SECONDS):
            try:
                return Libp2pStream(await running.open_stream(peer, protocol))
            except Exception as error:
                raise UnreachableError(f"{peer} opens no stream of {protocol}: {error}"[:300]) from error
        raise SilentError(f"{peer} opened no stream within {OPEN_SECONDS:.0f} s")

    def serve(self, protocol: str, handler: Handler) -> None:
        self.host.handle(protocol, self._served(handler))

    def connections(self) -> Sequence[Connection]:
        if (running := self.host.running) is None:
            return ()
        return running.connections()

    def connection(self, peer: str) -> Connection | None:
        return self.host.running.connection(peer) if self.host.running is not None else None

    def local_addresses(self) -> Sequence[str]:
        return self.host.running.local_addresses() if self.host.running is not None else ()

    def listens_at(self) -> Sequence[str]:
        return self.host.running.listens_at() if self.host.running is not None else ()

    def place(self, address: str) -> Place | None:
        return place_of(address)

    def watch(self, changed: Callable[[], None]) -> None:
        self.host.watch(changed)

    def _running(self) -> RunningHost:
        if self.host.running is None:
            raise UnreachableError(f"the host does not run: {self.host.cause or 'it is being built'}")
        return self.host.running

    def _served(self, handler: Handler) -> Callable[[Any], Awaitable[None]]:
        async def serve(raw: Any) -> None:
            stream = Libp2pStream(raw)
            try:
                await handler(stream)
            finally:
                await stream.reset()

        return serve


def _readable(peer: str, addresses: Sequence[str]) -> list[Address]:
    """Those of this peer that can be read, each once. Raises UnreachableError for none."""
    found: dict[str, Address] = {}
    for text in addresses:
        try:
            address = parse_address(text)
        except ValueError:
            continue
        if address.port and address.peer in (None, peer):
            found.setdefault(address.place, address)
    if not found:
        raise UnreachableError("no address of it can be dialled")
    return list(found.values())[:MOST_ADDRESSES]


def _leads_to(text: str, place: Address) -> bool:
    try:
        return parse_address(text).place == place.place
    except ValueError:
        return False


async def _first(running: RunningHost, peer: str, places: Sequence[Address], answered: list[Address]) -> None:
    """Dial one after the other, and drop the rest when one has answered: that one is noted."""
    async with trio.open_nursery() as nursery:
        open_dials = len(places)

        async def dial(address: Address, failure: trio.Event) -> None:
            nonlocal open_dials
            try:
                await running.dial(peer, address)
                answered.append(address)
            except (UnavailableError, OSError):
                failure.set()
                open_dials -= 1
            if running.connected(peer) or not open_dials:
                nursery.cancel_scope.cancel()

        for address in places:
            failed = trio.Event()
            nursery.start_soon(dial, address, failed)
            with trio.move_on_after(HEAD_START_SECONDS):
                await failed.wait()
        await trio.sleep(math.inf)
