"""The sockets of the library: counted, closed where it forgets them, and asked where they lead."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import attrs
import psutil
import trio
from libp2p.abc import ConnectionType
from libp2p.io.abc import ReadWriteCloser
from libp2p.io.exceptions import ConnectionClosedError
from libp2p.io.trio import TrioTCPStream
from libp2p.network.connection.raw_connection import RawConnection
from libp2p.transport.exceptions import OpenConnectionError
from libp2p.transport.tcp.tcp import TCP

from learnae import UnavailableError
from learnae_libp2p.addresses import Address, parse_address
from learnae_libp2p.streams.circuit_addresses import CircuitAddress
from learnae_libp2p.streams.transport import FAST_READ, Circuit, Connection, StreamClosedError

RESOLVE_SECONDS = 5.0
MOST_RESOLVED = 4
CUT_SECONDS = 2.0  # that a cancelled writer has to send what cannot be cut
WRAPPERS = 10
WRAPPED = ("secured_conn", "conn", "read_writer", "read_write_closer", "stream")


class CountedSocket(TrioTCPStream):  # type: ignore[misc]  # libp2p is not followed by mypy
    """Counts all that goes over the line, what encryption and gossip add, too."""

    def __init__(self, stream: trio.SocketStream) -> None:
        super().__init__(stream)
        self.received = 0
        self.sent = 0
        self.punched = False
        self.from_listening_port = False
        self._interface: str | None = None
        self._left = memoryview(b"")  # of what was written, and is not on its way

    async def write(self, data: bytes) -> None:
        """Cancelled, it keeps what is left, and the next writer sends that first: half a message would end the connection for all."""
        self._left = memoryview(b"".join((self._left, data)) if self._left else data)
        await self.send_left()

    async def send_left(self) -> None:
        """What writers have left that were cancelled. Raises ConnectionClosedError; nothing where it is this end that has closed."""
        if not self._left:
            return
        try:
            async with self.write_lock:
                while self._left:
                    count = await self.stream.socket.send(self._left)
                    self._left = self._left[count:]
                    self.sent += count
        except trio.ClosedResourceError:
            self._left = memoryview(b"")
        except OSError as error:
            self._left = memoryview(b"")
            if self.stream.socket.fileno() != -1:
                raise ConnectionClosedError(f"the other end has closed: {error}", transport="tcp") from error

    async def read(self, n: int | None = None) -> bytes:
        data: bytes = await super().read(n)
        self.received += len(data)
        return data

    @property
    def remote(self) -> str:
        """Where the other end is; empty where nobody knows any more."""
        try:
            host, port = self.stream.socket.getpeername()[:2]
        except OSError:
            return ""
        return f"/{'ip6' if ':' in host else 'ip4'}/{host.partition('%')[0]}/tcp/{port}"

    @property
    def own_host(self) -> str | None:
        """The address of the own end."""
        try:
            return str(self.stream.socket.getsockname()[0]).partition("%")[0]
        except OSError:
            return None

    @property
    def interface(self) -> str | None:
        """By the address of the own end. Looked up once: connections are asked about often."""
        if self._interface is None:
            if (own := self.own_host) is None:
                return None
            found = (
                name for name, addresses in psutil.net_if_addrs().items() if any(one.address.partition("%")[0] == own for one in addresses)
            )
            self._interface = next(found, "")
        return self._interface or None


class CarriedSocket(ReadWriteCloser):  # type: ignore[misc]  # libp2p is not followed by mypy
    """What looks like a socket to the library, and is a stream that another peer carries."""

    def __init__(self, circuit: Circuit) -> None:
        self.circuit = circuit
        self.received = 0
        self.sent = 0

    async def write(self, data: bytes) -> None:
        """Cancelled, it has a moment to send all the same, or its circuit ends: half a message would break it for all."""
        scope, over = trio.CancelScope(shield=True), trio.Event()
        failure = list[StreamClosedError]()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._send, data, scope, over, failure)
            try:
                await over.wait()
            except trio.Cancelled:
                scope.deadline = trio.current_time() + CUT_SECONDS
                raise
        if failure:
            raise ConnectionClosedError(str(failure[0])) from failure[0]

    async def _send(self, data: bytes, scope: trio.CancelScope, over: trio.Event, failure: list[StreamClosedError]) -> None:
        try:
            with scope:
                await self.circuit.stream.send_all(data)
                self.sent += len(data)
        except StreamClosedError as error:
            failure.append(error)
        if scope.cancelled_caught:
            await self.circuit.stream.reset()
        over.set()

    async def read(self, n: int | None = None) -> bytes | bytearray:
        try:
            data = await self.circuit.stream.receive_some(n or FAST_READ)
        except StreamClosedError as error:
            raise ConnectionClosedError(str(error)) from error
        self.received += len(data)
        return data

    async def close(self) -> None:
        await self.circuit.stream.reset()

    def get_remote_address(self) -> None:
        """It has none of its own."""


def raw_connection(raw: CountedSocket | CarriedSocket, *, initiator: bool) -> RawConnection:
    """Under the library's name. Which of two connections to a peer is the better one, it tells by the type."""
    kind = ConnectionType.DIRECT if isinstance(raw, CountedSocket) else ConnectionType.RELAYED
    return RawConnection(raw, initiator, connection_type=kind, addresses=None if isinstance(raw, CountedSocket) else [])


def host_of(place: str) -> str:
    """The host in what `CountedSocket.remote` says."""
    return place.split("/")[2] if place else ""


class ClosingTCP(TCP):  # type: ignore[misc]  # libp2p is not followed by mypy
    """The library's own leaves the sockets open that did not connect.

    What goes out through a router goes from the port at which this host listens: then others see it where they may reach it.
    """

    def __init__(self, interface: str | None = None) -> None:
        super().__init__()
        self.listens: Sequence[Address] = ()
        self.interface = interface  # that all goes out from; None where the kernel chooses

    async def dial(self, maddr: Any) -> RawConnection:
        address = parse_address(str(maddr))
        try:
            if (source := source_towards(address, self.listens)) is not None:
                with suppress(OSError):
                    return RawConnection(await dial_from(source, address), True)
            own = narrowed([unspecified(address.kind)], self.interface)[0].host if self.interface is not None else None
            stream = await trio.open_tcp_stream(address.host, address.port, local_address=own)
        except (OSError, UnavailableError) as error:
            raise OpenConnectionError(str(error)) from error
        return RawConnection(CountedSocket(stream), True)


def source_towards(address: Address, listens: Sequence[Address]) -> Address | None:
    """Where this host listens, if the way leads through a router that may translate; None for neighbours, and from a public address."""
    source = next((one for one in listens if one.kind == address.kind and one.port), None)
    if source is None or (own := own_end(address)) is None or own.is_global or own.is_loopback:
        return None
    for found in (one for several in psutil.net_if_addrs().values() for one in several):
        if found.address.partition("%")[0] == str(own) and found.netmask:
            try:
                near = ipaddress.ip_network(f"{own}/{found.netmask}", strict=False)
            except ValueError:
                continue
            if address.ip in near:
                return None
    return source


def own_end(address: Address) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """From which address of this machine a way leads there; nothing is sent."""
    family = socket.AF_INET6 if address.kind == "ip6" else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((address.host, address.port))
            return ipaddress.ip_address(str(probe.getsockname()[0]).partition("%")[0])
    except (OSError, ValueError):
        return None


async def dial_from(source: Address, address: Address) -> CountedSocket:
    """Connect from a port at which this host listens. Raises OSError, also where such a connection is there already."""
    family = socket.AF_INET6 if address.kind == "ip6" else socket.AF_INET
    found = trio.socket.socket(family, socket.SOCK_STREAM)
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        await found.bind((source.host, source.port))
        await found.connect((address.host, address.port))
    except BaseException:
        found.close()
        raise
    counted = CountedSocket(trio.SocketStream(found))
    counted.from_listening_port = True
    return counted


def connection_of(peer: str, found: Any) -> Connection:
    """What is known of a connection of the library's, whose socket lies some wrappers deep."""
    inner = socket_of(found)
    inbound = str(found.direction) == "inbound"
    if isinstance(inner, CarriedSocket):
        circuit = inner.circuit
        return Connection(
            peer=peer,
            address=str(CircuitAddress(circuit.relay, peer)),
            direct=False,
            relay=circuit.relay,
            bytes_per_minute=circuit.bytes_per_minute,
            seen_at=circuit.seen_at,
            inbound=inbound,
            bytes_in=inner.received,
            bytes_out=inner.sent,
        )
    if not isinstance(inner, CountedSocket):
        return Connection(peer=peer, address="", inbound=inbound)
    return Connection(
        peer=peer,
        address=inner.remote,
        inbound=inbound,
        own_host=inner.own_host,
        interface=inner.interface,
        bytes_in=inner.received,
        bytes_out=inner.sent,
        punched=inner.punched,
        from_listening_port=inner.from_listening_port,
    )


def remote_of(found: Any) -> str:
    """The address of the other end of a connection of the library's; who relays it, where one does."""
    inner = socket_of(found)
    if isinstance(inner, CarriedSocket):
        return f"/p2p/{inner.circuit.relay}"
    return inner.remote if isinstance(inner, CountedSocket) else ""


def is_carried(found: Any) -> bool:
    """Whether another peer relays this connection of the library's."""
    return isinstance(socket_of(found), CarriedSocket)


def socket_of(found: Any) -> Any:
    """The innermost of a connection of the library's."""
    inner = found.muxed_conn
    for _ in range(WRAPPERS):
        if inner is None or isinstance(inner, CountedSocket | CarriedSocket):
            break
        inner = next((getattr(inner, name) for name in WRAPPED if hasattr(inner, name)), None)
    return inner


def claim(address: Address) -> None:
    """libp2p lets several of one user's processes listen at one port, and the kernel gives each some of the connections.

    Raises UnavailableError where the port is taken.
    """
    if address.port == 0:
        return
    family = socket.AF_INET6 if address.kind == "ip6" else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address.host, address.port))
        except OSError as error:
            raise UnavailableError(f"cannot listen at {address}: {error.strerror}") from error


async def resolved(address: Address) -> list[Address]:
    """Itself, or for a name its addresses. Raises OSError."""
    if address.ip is not None:
        return [address]
    family = {"dns4": socket.AF_INET, "dns6": socket.AF_INET6}.get(address.kind, socket.AF_UNSPEC)
    with trio.move_on_after(RESOLVE_SECONDS):
        found = await trio.socket.getaddrinfo(address.host, address.port, family, socket.SOCK_STREAM)
        return [
            attrs.evolve(address, kind="ip6" if one[0] == socket.AF_INET6 else "ip4", host=str(one[4][0]).partition("%")[0])
            for one in found[:MOST_RESOLVED]
        ]
    raise OSError(f"no address of {address.host} was found in time")


def interfaces() -> list[str]:
    """The names of those of this machine."""
    return sorted(psutil.net_if_addrs())


def unspecified(kind: str) -> Address:
    """All addresses of this machine."""
    return Address(kind="ip6", host="::", port=0) if kind == "ip6" else Address(kind="ip4", host="0.0.0.0", port=0)


def narrowed(addresses: Sequence[Address], interface: str | None) -> list[Address]:
    """The same, but for "all addresses" those of this interface, if one is named. Raises UnavailableError where it has none."""
    if interface is None:
        return list(addresses)
    found = [place for address in addresses for place in reachable(address, interface)]
    if not found:
        raise UnavailableError(f"the interface {interface} has no address, or there is none")
    return found


def reachable(address: Address, interface: str | None = None) -> list[Address]:
    """Itself, or for "all addresses" those of the interfaces that are up, or of this one."""
    if address.ip is None or not address.ip.is_unspecified:
        return [address]
    family = socket.AF_INET6 if address.kind == "ip6" else socket.AF_INET
    up = {name for name, facts in psutil.net_if_stats().items() if facts.isup}
    return [
        attrs.evolve(address, host=found.address.partition("%")[0])
        for name, addresses in psutil.net_if_addrs().items()
        for found in addresses
        if name in up and interface in (None, name) and found.family == family
    ]
