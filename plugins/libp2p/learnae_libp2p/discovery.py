"""Peers of one swarm on one local network find each other by multicast DNS: each says now and then at which port it listens.

What is said is one DNS answer of a fixed form, and is read by comparing bytes: nothing is looked up, nothing is kept of what has another
form. Where a peer is says the network itself: the address from which the datagram came. This module is light.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import math
import socket
import struct
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

import attrs
import psutil
import trio

from learnae import Context, PeerId
from learnae_libp2p.addresses import Address, key_of, name_of, parse_address
from learnae_libp2p.streams.transport import Transport

GROUP, PORT = "224.0.0.251", 5353  # of multicast DNS (RFC 6762); no router passes it on
LOOK_SECONDS = 2.0
AGAIN_SECONDS = 60.0
FIRST_SECONDS, LATER_SECONDS = (0.0, 1.0, 3.0), 15.0  # between what is said
ANSWER_SECONDS = 1.0  # after a newcomer was heard
DATAGRAM_BYTES = 1500
AT_ONCE, PAUSE_SECONDS = 100, 0.1  # datagrams, after which this peer does something else: who floods the network floods the kernel
WINDOW_SECONDS = 60.0
MOST_OF_HOST, MOST_FOUND = 16, 128  # peers in that time, from one address and from all
KEY_BYTES, TAG_BYTES = 32, 16
MULTICAST_ALL = 49  # of Linux: whether what other programs have joined comes here, too
_HEADER = struct.pack("!HHHHHH", 0, 0x8400, 0, 1, 0, 0)  # an answer with authority, with one record
_TXT, _IN, _TTL = 16, 1, 120
_PAYLOAD_BYTES = 1 + 2 + KEY_BYTES + TAG_BYTES
_VERSION = b"\x01"

Found = Callable[[str, Sequence[str]], None]


def service_name(channel: str) -> bytes:
    """As in a DNS message. Peers of other swarms pass it over; whoever does not know the channel cannot tell which swarm it is."""
    labels = (f"_learnae-{hashlib.sha256(channel.encode()).hexdigest()[:7]}", "_udp", "local")
    return b"".join(bytes([len(label)]) + label.encode() for label in labels) + b"\0"


@attrs.frozen
class Beacon:
    """What the peers of one swarm say. In a private one nobody else can say it, and nobody can say it again from another address."""

    start: bytes
    key: bytes

    @classmethod
    def of(cls, context: Context) -> Beacon:
        record = service_name(context.channel) + struct.pack("!HHIH", _TXT, _IN, _TTL, 1 + _PAYLOAD_BYTES) + bytes([_PAYLOAD_BYTES])
        key = context.secret("libp2p multicast") or hashlib.sha256(b"libp2p multicast " + context.channel.encode()).digest()
        return cls(_HEADER + record, key)

    def write(self, peer: PeerId, host: str, port: int) -> bytes:
        """The datagram of this peer, which will come from this address."""
        said = _VERSION + struct.pack("!H", port) + bytes.fromhex(peer)
        return self.start + said + self._tag(said, host)

    def read(self, datagram: bytes, host: str) -> tuple[PeerId, int] | None:
        """Who says so, and the port; None for all else."""
        if not datagram.startswith(self.start + _VERSION) or len(datagram) != len(self.start) + _PAYLOAD_BYTES:
            return None
        said, tag = datagram[len(self.start) : -TAG_BYTES], datagram[-TAG_BYTES:]
        (port,) = struct.unpack_from("!H", said, 1)
        return (PeerId(said[3:].hex()), port) if port and hmac.compare_digest(tag, self._tag(said, host)) else None

    def _tag(self, said: bytes, host: str) -> bytes:
        return hmac.digest(self.key, said + socket.inet_aton(host), "sha256")[:TAG_BYTES]


@attrs.define
class Newcomers:
    """Who was heard lately: few from one address, and few in all. Who comes first is not pushed out by those who come later."""

    clock: Callable[[], float] = trio.current_time
    _since: float = -math.inf
    _heard: set[tuple[PeerId, str, int]] = attrs.field(factory=set)
    _of_host: Counter[str] = attrs.field(factory=Counter)

    def add(self, peer: PeerId, host: str, port: int) -> bool:
        """Whether this is news."""
        if self.clock() - self._since > WINDOW_SECONDS:
            self._since, self._heard, self._of_host = self.clock(), set(), Counter()
        if (peer, host, port) in self._heard or len(self._heard) >= MOST_FOUND or self._of_host[host] >= MOST_OF_HOST:
            return False
        self._heard.add((peer, host, port))
        self._of_host[host] += 1
        return True


class LocalDiscovery:
    """Tells others on the networks that this peer listens at where it is, and tells `found` of those that it hears of."""

    def __init__(self, transport: Transport, context: Context, found: Found) -> None:
        self._transport = transport
        self._context = context
        self._found = found
        self._beacon = Beacon.of(context)
        self._newcomers = Newcomers()
        self._answer = trio.Event()

    async def run(self) -> None:
        """Until cancelled. Where there is no multicast, it is tried again now and then."""
        while True:
            addresses = list(self._transport.local_addresses())
            if not addresses:
                await trio.sleep(LOOK_SECONDS)
                continue
            try:
                await self._while_here(addresses)
            except* OSError as errors:
                self._context.log.info("libp2p.no_mdns", error=str(errors.exceptions[0])[:200])
                await trio.sleep(AGAIN_SECONDS)

    async def _while_here(self, addresses: list[str]) -> None:
        """Until the own addresses are others. Raises OSError, in a group."""
        ports = own_ports([parse_address(text) for text in addresses])
        with open_socket(list(ports)) as heard:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._speak, heard, ports)
                nursery.start_soon(self._listen, heard, networks_of(list(ports)))
                while list(self._transport.local_addresses()) == addresses:  # noqa: ASYNC110  # nobody tells of a new interface
                    await trio.sleep(LOOK_SECONDS)
                nursery.cancel_scope.cancel()

    async def _speak(self, sender: trio.socket.SocketType, ports: Mapping[str, int]) -> None:
        pauses = iter(FIRST_SECONDS)
        own = key_of(self._transport.peer)
        while own is not None:
            with trio.move_on_after(next(pauses, LATER_SECONDS)):
                await self._answer.wait()
                await trio.sleep(ANSWER_SECONDS)
            self._answer = trio.Event()
            for host, port in ports.items():
                with suppress(OSError):  # of one interface: the others may work
                    sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(host))
                    await sender.sendto(self._beacon.write(own, host, port), (GROUP, PORT))

    async def _listen(self, heard: trio.socket.SocketType, networks: Sequence[ipaddress.IPv4Network]) -> None:
        read = 0
        while True:
            datagram, source = await heard.recvfrom(DATAGRAM_BYTES)
            self.hear(datagram, str(source[0]), networks)
            read += 1
            if read % AT_ONCE == 0:
                await trio.sleep(PAUSE_SECONDS)

    def hear(self, datagram: bytes, host: str, networks: Sequence[ipaddress.IPv4Network]) -> None:
        """Whatever comes, from whatever address. Raises nothing."""
        said = self._beacon.read(datagram, host)
        if said is None or not any(ipaddress.IPv4Address(host) in network for network in networks):
            return
        (peer, port), name = said, name_of(said[0])
        if name != self._transport.peer and self._newcomers.add(peer, host, port):
            self._answer.set()
            self._found(name, [f"/ip4/{host}/tcp/{port}/p2p/{name}"])


def own_ports(addresses: Sequence[Address]) -> dict[str, int]:
    """Of each own IPv4 address its first port."""
    ports: dict[str, int] = {}
    for address in addresses:
        if address.kind == "ip4":
            ports.setdefault(address.host, address.port)
    return ports


def networks_of(hosts: Sequence[str]) -> list[ipaddress.IPv4Network]:
    """The networks on which these addresses of this machine lie: those that are private."""
    found = (one for several in psutil.net_if_addrs().values() for one in several if one.address in hosts and one.netmask)
    networks = [ipaddress.IPv4Network(f"{one.address}/{one.netmask}", strict=False) for one in found]
    return [network for network in networks if network.is_private]


def open_socket(hosts: Sequence[str]) -> trio.socket.SocketType:
    """What is said to the group on the interfaces with these addresses comes here. Raises OSError."""
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if hasattr(socket, "SO_REUSEPORT") and not hasattr(socket, "SO_BINDTODEVICE"):  # elsewhere than on Linux
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        with suppress(OSError):
            made.setsockopt(socket.IPPROTO_IP, MULTICAST_ALL, 0)
        made.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 1)
        made.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 1)
        made.bind((GROUP, PORT))  # what is sent to this machine alone does not come here: it may be from far away
        for host in hosts:
            made.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton(GROUP) + socket.inet_aton(host))
    except BaseException:
        made.close()
        raise
    made.setblocking(False)
    return trio.socket.from_stdlib_socket(made)
