"""The host as long as it lives: settings without which libp2p 0.8.1 loses messages, and guards without which anybody can end it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import attrs
import trio
from libp2p.abc import INotifee
from libp2p.crypto.x25519 import create_new_key_pair
from libp2p.host.basic_host import BasicHost
from libp2p.identity.identify_push.identify_push import ID_PUSH
from libp2p.network.config import ConnectionConfig, RetryConfig
from libp2p.peer.id import ID
from libp2p.peer.peerstore import PeerStore, PeerStoreError
from libp2p.security.noise.transport import PROTOCOL_ID as NOISE
from libp2p.stream_muxer.yamux.yamux import PROTOCOL_ID as YAMUX
from libp2p.tools.anyio_service import background_trio_service
from libp2p.transport.upgrader import TransportUpgrader
from multiaddr import Multiaddr

from learnae import Context, UnavailableError
from learnae.lowlevel import libraries_logged
from learnae_libp2p.addresses import Address, parse_address
from learnae_libp2p.check import remedy_for
from learnae_libp2p.frame_limits import FrameLimits
from learnae_libp2p.guards import GuardedSwarm, NoAutoConnector, StreamGuard, reset
from learnae_libp2p.host import EVERYWHERE, LIBRARIES
from learnae_libp2p.keys import key_pair
from learnae_libp2p.negotiation import bound_negotiations
from learnae_libp2p.noise_sessions import QuickNoise
from learnae_libp2p.options import HostOptions
from learnae_libp2p.sockets import ClosingTCP, claim, connection_of, is_carried, narrowed, reachable, resolved, socket_of
from learnae_libp2p.streams.transport import Connection
from learnae_libp2p.yamux_frames import QuickMuxers, QuickYamux

if TYPE_CHECKING:
    from learnae_libp2p.host import Part

CLOSE_SECONDS = 3.0
INTERFACE_SECONDS = 2.0  # between two looks at the addresses of one that is named
RELAYED_SECONDS = 1.0  # that a relayed connection outlives the first direct one
PER_PEER = 2  # where two dial each other at once there are two for a while; with one, each side may close another


@attrs.define(eq=False)
class RunningHost:
    """libp2p's host with what runs beside it."""

    host: BasicHost
    network: GuardedSwarm
    context: Context
    tcp: ClosingTCP
    _parts: dict[int, trio.CancelScope] = attrs.field(factory=dict)
    _nursery: trio.Nursery | None = None
    _fell: trio.Event = attrs.field(factory=trio.Event)

    @classmethod
    def build(cls, context: Context, options: HostOptions, changed: Callable[[], None]) -> RunningHost:
        """Noise and yamux over TCP alone: nothing that does not encrypt is offered, and nothing that is slow."""
        keys, store, tcp, limits = key_pair(context), PeerStore(), ClosingTCP(options.interface), FrameLimits()
        name = ID.from_pubkey(keys.public_key)
        store.add_key_pair(name, keys)
        noise = QuickNoise(keys, noise_privkey=create_new_key_pair().private_key, limits=limits)
        upgrader = TransportUpgrader({NOISE: noise}, {YAMUX: QuickYamux})
        upgrader.muxer_multistream = QuickMuxers()
        network = GuardedSwarm(
            name,
            store,
            upgrader,
            transports=[tcp],
            retry_config=RetryConfig(max_retries=0),  # who dials again, and when, is not the library's affair
            connection_config=ConnectionConfig(
                max_connections=options.connections,
                min_connections=0,
                low_watermark=0,
                high_watermark=options.connections,
                max_connections_per_peer=PER_PEER,
                inbound_stream_protocol_negotiation_timeout=5.0,
                outbound_stream_protocol_negotiation_timeout=15.0,
            ),
        )
        network.auto_connector = NoAutoConnector(network)
        network.most_inbound = max(1, options.connections - 4)  # some are left for those whom we dial
        host = BasicHost(network, disable_identify_address_discovery=True, announce_addrs=[])
        bound_negotiations(host, upgrader.security_multistream, upgrader.muxer_multistream)
        host.remove_stream_handler(ID_PUSH)  # lets others write into what is remembered of them, without bound
        for notifee in list(network.notifees):
            if type(notifee).__name__ == "_IdentifyNotifee":  # asks each new peer what it can, which nobody here wants to know
                network.remove_notifee(notifee)
        network.set_stream_handler(StreamGuard(context.log).around(host._swarm_stream_handler))
        running = cls(host, network, context, tcp)
        network.register_notifee(Changes(store, name, changed, running.prefer_direct))
        return running

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """While this is open the host runs, without listening yet."""
        with libraries_logged(self.context.log, *LIBRARIES):
            async with self._opened():
                yield

    @asynccontextmanager
    async def _opened(self) -> AsyncIterator[None]:
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            try:
                async with background_trio_service(self.network):
                    nursery.start_soon(self._watch)
                    try:
                        yield
                    finally:
                        await self._close()
            finally:
                nursery.cancel_scope.cancel()

    async def fallen(self) -> None:
        """Returns when the host can no longer be used."""
        await self._fell.wait()

    async def begin(self, part: Part) -> None:
        """Run this beside the host; when it ends by itself, the host falls."""
        assert self._nursery is not None, "the host is open"
        await self._nursery.start(self._run_part, part)

    def end(self, part: Part) -> None:
        """Cancel what `begin` began."""
        if (scope := self._parts.pop(id(part), None)) is not None:
            scope.cancel()

    def handle(self, protocol: str, handler: Callable[[Any], Awaitable[None]]) -> None:
        """Serve streams of this protocol."""
        self.host.set_stream_handler(protocol, handler)

    async def listen(self, addresses: Sequence[str]) -> None:
        """Raises UnavailableError where a port is taken, or the interface is not there."""
        asked = [parse_address(text) for text in addresses or (EVERYWHERE,)]
        wanted = narrowed(asked, self.tcp.interface)
        for address in wanted:
            try:
                claim(address)
            except UnavailableError as error:
                raise UnavailableError(f"{error}: {remedy_for(address, error)}") from error
        if not await self.network.listen(*(Multiaddr(address.place) for address in wanted)):
            raise UnavailableError(f"cannot listen at {', '.join(map(str, wanted))}")
        self.tcp.listens = [parse_address(text) for text in self.bound()]
        if self.tcp.interface is not None and self._nursery is not None:
            self._nursery.start_soon(self._watch_interface, asked, wanted)

    @property
    def name(self) -> str:
        return str(self.host.get_id())

    def connected(self, peer: str) -> bool:
        """Whether there is a connection to this peer now."""
        return bool(self._open_to(peer))

    def connected_directly(self, peer: str) -> bool:
        """Whether one of them is carried by nobody."""
        return any(not is_carried(one) for one in self._open_to(peer))

    def connections(self) -> list[Connection]:
        """Those that are open, one for each peer: a direct one where there is one."""
        found = [_best(str(peer), several) for peer, several in list(self.network.connections.items())]
        return [one for one in found if one is not None]

    def connection(self, peer: str) -> Connection | None:
        """The one to this peer, as in `connections`."""
        return _best(peer, self._open_to(peer))

    async def ended(self, raw: Any) -> None:
        """Returns when there is no connection over this socket any more."""
        every = [one for several in self.network.connections.values() for one in several]
        if (found := next((one for one in every if socket_of(one) is raw), None)) is not None:
            await found.event_closed.wait()

    def start_soon(self, function: Callable[..., Awaitable[None]], *arguments: Any) -> None:
        """Run this for as long as the host lives. It raises nothing."""
        assert self._nursery is not None, "the host is open"
        self._nursery.start_soon(function, *arguments)

    def prefer_direct(self, connection: Any) -> None:
        """Where there is a direct one now, what was relayed is soon closed: until then both ends know of the new one."""
        peer = str(connection.muxed_conn.peer_id)
        relayed = [one for one in self._open_to(peer) if is_carried(one)]
        if relayed and self.connected_directly(peer):
            self.start_soon(self._close_relayed, peer, relayed)

    async def dial(self, peer: str, address: Address) -> None:
        """Connect at this address. Raises UnavailableError, OSError."""
        failure: Exception | None = None
        for found in await resolved(address):
            try:
                await self.network.dial_addr(Multiaddr(found.place), ID.from_string(peer))
                return
            except Exception as error:  # of many kinds: of the library, of noise, of the socket
                failure = error
        raise UnavailableError(f"{address}: {failure}"[:300]) from failure

    async def _close_relayed(self, peer: str, relayed: Sequence[Any]) -> None:
        await trio.sleep(RELAYED_SECONDS)
        if self.connected_directly(peer):
            for one in relayed:
                with suppress(Exception):  # it is closed already
                    await one.close()

    def _open_to(self, peer: str) -> list[Any]:
        found: list[Any] = next((several for name, several in self.network.connections.items() if str(name) == peer), [])
        return [one for one in found if not one.is_closed]

    async def disconnect(self, peer: str) -> None:
        """Close all connections to this peer."""
        with trio.move_on_after(CLOSE_SECONDS):
            await self.network.close_peer(ID.from_string(peer))

    async def open_stream(self, peer: str, protocol: str) -> Any:
        """Raises what the library raises. Cancelled, it returns at once.

        The library cannot be cancelled there: it resets what it has begun, and waits without end where the buffer of the connection is
        full. So that runs in a task of the host, which ends with its connection.
        """
        assert self._nursery is not None, "the host is open"
        opening = Opening()
        self._nursery.start_soon(opening.run, self.host, ID.from_string(peer), protocol)
        return await opening.result()

    def bound(self) -> list[str]:
        """Where it listens, with the ports that it got."""
        return [str(address) for listener in self.network.listeners.values() for address in listener.get_addrs()]

    def local_addresses(self) -> list[str]:
        """Where others can dial it, the best first: those that only this machine reaches only where there are no others."""
        found = self._places()
        far = [address for address in found if not address.local]
        return [f"{address.place}/p2p/{self.host.get_id()}" for address in far or found]

    def listens_at(self) -> list[str]:
        """At each address of this machine, where it listens at all of them."""
        return [address.place for address in self._places()]

    def _places(self) -> list[Address]:
        return [place for text in self.bound() for place in reachable(parse_address(text))]

    async def _run_part(self, part: Part, *, task_status: trio.TaskStatus[None]) -> None:
        with trio.CancelScope() as scope:
            self._parts[id(part)] = scope
            try:
                await part(self, task_status=task_status)
            except Exception as error:
                self.context.log.warning("libp2p.part_failed", error=repr(error)[:300])
        if not scope.cancelled_caught:
            self._fell.set()

    async def _watch(self) -> None:
        await self.network.manager.wait_finished()
        self._fell.set()

    async def _watch_interface(self, asked: Sequence[Address], wanted: Sequence[Address]) -> None:
        """Who listens at all addresses is reached at a new one at once; at one alone he must listen anew."""
        found = list(wanted)
        while found == wanted:
            await trio.sleep(INTERFACE_SECONDS)
            with suppress(UnavailableError):
                found = narrowed(asked, self.tcp.interface)
        self._fell.set()

    async def _close(self) -> None:
        """The library's listeners are system tasks: what is not closed here keeps its port for ever."""
        listeners = list(self.network.listeners.values())
        with trio.CancelScope(shield=True), trio.move_on_after(CLOSE_SECONDS):
            for listener in listeners:
                await listener.close()
            await self.network.close()


def _best(peer: str, several: Sequence[Any]) -> Connection | None:
    """Of those that are open, one that nobody carries if there is one."""
    usable = [one for one in several if not one.is_closed]
    return connection_of(peer, min(usable, key=is_carried)) if usable else None


class Opening:
    """A stream that is opened in a task of its own."""

    def __init__(self) -> None:
        self._over = trio.Event()
        self._scope = trio.CancelScope()
        self._abandoned = False
        self._stream: Any = None
        self._failure: Exception | None = None

    async def run(self, host: BasicHost, peer: ID, protocol: str) -> None:
        with self._scope:
            try:
                self._stream = await host.new_stream(peer, [protocol])
            except Exception as error:  # raised where the stream is waited for
                self._failure = error
            finally:
                self._over.set()
        if self._abandoned and self._stream is not None:
            await reset(self._stream)

    async def result(self) -> Any:
        try:
            await self._over.wait()
        except trio.Cancelled:
            self._abandoned = True
            self._scope.cancel()
            raise
        if self._failure is not None:
            raise self._failure
        if self._stream is None:
            raise UnavailableError("the host has ended meanwhile")
        return self._stream


class Changes(INotifee):  # type: ignore[misc]  # libp2p is not followed by mypy
    """Tells of connections that come and go, and lets nothing be remembered of peers that have gone."""

    def __init__(self, store: PeerStore, own: ID, changed: Callable[[], None], came: Callable[[Any], None]) -> None:
        self._store, self._own, self._changed, self._came = store, own, changed, came

    async def connected(self, network: Any, connection: Any) -> None:
        self._came(connection)
        self._changed()

    async def disconnected(self, network: Any, connection: Any) -> None:
        peer = connection.muxed_conn.peer_id
        if peer != self._own and not network.get_connections(peer):
            with suppress(PeerStoreError):  # nothing is remembered of it
                self._store.clear_peerdata(peer)
        self._changed()

    async def opened_stream(self, network: Any, stream: Any) -> None: ...

    async def closed_stream(self, network: Any, stream: Any) -> None: ...

    async def listen(self, network: Any, address: Any) -> None: ...

    async def listen_close(self, network: Any, address: Any) -> None: ...
