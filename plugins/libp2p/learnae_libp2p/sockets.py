"""The sockets of the library: counted, closed where it forgets them, and asked where they lead."""

from __future__ import annotations

import socket
from typing import Any

import attrs
import psutil
import trio
from libp2p.io.trio import TrioTCPStream
from libp2p.network.connection.raw_connection import RawConnection
from libp2p.transport.exceptions import OpenConnectionError
from libp2p.transport.tcp.tcp import TCP

from learnae import UnavailableError
from learnae_libp2p.addresses import Address, parse_address
from learnae_libp2p.streams.transport import Connection

RESOLVE_SECONDS = 5.0
MOST_RESOLVED = 4
WRAPPERS = 10
WRAPPED = ("secured_conn", "conn", "read_writer", "read_write_closer", "stream")


class CountedSocket(TrioTCPStream):  # type: ignore[misc]  # libp2p is not followed by mypy
    """Counts all that goes over the line, what encryption and gossip add, too."""

    def __init__(self, stream: trio.SocketStream) -> None:
        super().__init__(stream)
        self.received = 0
        self.sent = 0
        self._interface: str | None = None

    async def write(self, data: bytes) -> None:
        await super().write(data)
        self.sent += len(data)

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


class ClosingTCP(TCP):  # type: ignore[misc]  # libp2p is not followed by mypy
    """The library's own leaves the sockets open that did not connect."""

    async def dial(self, maddr: Any) -> RawConnection:
        address = parse_address(str(maddr))
        try:
            stream = await trio.open_tcp_stream(address.host, address.port)
        except OSError as error:
            raise OpenConnectionError(str(error)) from error
        return RawConnection(CountedSocket(stream), True)


def connection_of(peer: str, found: Any) -> Connection:
    """What is known of a connection of the library's, whose socket lies some wrappers deep."""
    inner = found.muxed_conn
    for _ in range(WRAPPERS):
        if isinstance(inner, CountedSocket):
            break
        inner = next((getattr(inner, name) for name in WRAPPED if hasattr(inner, name)), None)
    inbound = str(found.direction) == "inbound"
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
    )


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


def reachable(address: Address) -> list[Address]:
    """Itself, or for "all addresses" those of the interfaces that are up."""
    if address.ip is None or not address.ip.is_unspecified:
        return [address]
    family = socket.AF_INET6 if address.kind == "ip6" else socket.AF_INET
    up = {name for name, facts in psutil.net_if_stats().items() if facts.isup}
    return [
        attrs.evolve(address, host=found.address.partition("%")[0])
        for name, addresses in psutil.net_if_addrs().items()
        for found in addresses
        if name in up and found.family == family
    ]
