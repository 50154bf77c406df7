"""A network in memory: streams with delay, speed and a window, for virtual time. Peers can be cut off, frozen and killed."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress

import attrs
import trio

from learnae_libp2p.streams.circuit_addresses import CircuitAddress
from learnae_libp2p.streams.transport import (
    Circuit,
    Connection,
    Handler,
    Place,
    Scope,
    SilentError,
    Stream,
    StreamClosedError,
    UnreachableError,
)

WINDOW_BYTES = 1 << 18
OPEN_SECONDS, STALL_SECONDS = 10.0, 5.0  # as our transport and yamux do it: a writer whose reader does not read is reset


@attrs.define(eq=False)
class Pipe:
    """One direction of a stream."""

    network: FakeNetwork
    source: str
    target: str
    waiting: deque[tuple[float, bytes]] = attrs.field(factory=deque)
    size: int = 0
    ended: bool = False
    broken: bool = False
    free_at: float = 0.0
    lot: trio.lowlevel.ParkingLot = attrs.field(factory=trio.lowlevel.ParkingLot)

    def break_off(self) -> None:
        self.broken = True
        self.lot.unpark_all()

    async def send(self, data: bytes) -> None:
        for start in range(0, len(data), 1 << 16):
            piece = data[start : start + (1 << 16)]
            with trio.move_on_after(STALL_SECONDS) as stall:
                while self.size and self.size + len(piece) > WINDOW_BYTES and not self.broken:
                    await self.lot.park()
            if stall.cancelled_caught:
                self.break_off()
            if self.broken or self.ended:
                raise StreamClosedError("reset")
            now = trio.current_time()
            self.free_at = max(self.free_at, now) + len(piece) / self.network.speed(self.source, self.target)
            self.waiting.append((self.free_at + self.network.delay, piece))
            self.size += len(piece)
            self.lot.unpark_all()

    async def receive(self, most: int) -> bytes:
        while True:
            await trio.lowlevel.checkpoint()
            if self.broken:
                raise StreamClosedError("reset")
            if self.network.frozen & {self.source, self.target}:
                await self.lot.park()
            elif self.waiting and self.waiting[0][0] > trio.current_time():
                await trio.sleep_until(self.waiting[0][0])
            elif self.waiting:
                break
            elif self.ended:
                return b""
            else:
                await self.lot.park()
        taken = bytearray()
        while self.waiting and self.waiting[0][0] <= trio.current_time() and len(taken) < most:
            arrived, piece = self.waiting.popleft()
            room = most - len(taken)
            taken += piece[:room]
            if piece[room:]:
                self.waiting.appendleft((arrived, piece[room:]))
        self.size -= len(taken)
        self.network.carried[self.source, self.target] = self.network.carried.get((self.source, self.target), 0) + len(taken)
        self.lot.unpark_all()
        return bytes(taken)


@attrs.define(eq=False)
class FakeStream:
    """One end of a stream."""

    peer: str
    incoming: Pipe
    outgoing: Pipe

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await trio.lowlevel.checkpoint()
        await self.outgoing.send(bytes(data))

    async def receive_some(self, max_bytes: int) -> bytes:
        return await self.incoming.receive(max_bytes)

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()
        self.outgoing.ended = True
        self.outgoing.lot.unpark_all()

    async def reset(self) -> None:
        self.incoming.break_off()
        self.outgoing.break_off()

    @property
    def broken(self) -> bool:
        return self.incoming.broken


@attrs.frozen(eq=False)
class Punch:
    """Somebody dials these addresses of somebody again and again."""

    source: str
    target: str
    addresses: frozenset[str]


@attrs.define
class FakeNetwork:
    """Who can reach whom, how fast, and by which addresses. `nursery` runs the handlers."""

    nursery: trio.Nursery
    delay: float = 0.0  # seconds, one way
    bytes_per_second: float = math.inf  # of each stream
    transports: dict[str, FakeTransport] = attrs.field(factory=dict)
    frozen: set[str] = attrs.field(factory=set)
    stuck: set[str] = attrs.field(factory=set)  # to these no stream can be opened, and whoever tries cannot even be cancelled
    slow: dict[str, float] = attrs.field(factory=dict)  # what this peer sends a second
    apart: Callable[[str, str], bool] = lambda one, other: False
    answers: dict[str, tuple[str, float]] = attrs.field(factory=dict)  # by address: which peer, after how many seconds
    carried: dict[tuple[str, str], int] = attrs.field(factory=dict)  # bytes that arrived, by sender and receiver
    dialled: list[str] = attrs.field(factory=list)
    dialling: int = 0
    most_dialling: int = 0
    punches: list[Punch] = attrs.field(factory=list)

    def host(self, peer: str) -> FakeTransport:
        """A new host of this name, reachable by the address that is its name. One before it is gone."""
        if peer in self.transports:
            self.kill(peer)
        self.answers.setdefault(peer, (peer, 0.0))
        self.transports[peer] = FakeTransport(self, peer)
        return self.transports[peer]

    def join(self, one: str, other: str) -> None:
        """As if one had dialled the other."""
        self.transports[one].links[other] = Link(other, inbound=False)
        self.transports[other].links[one] = Link(one, inbound=True)
        self.tell(one, other)

    def join_by_relay(self, one: str, other: str, bytes_per_minute: int) -> None:
        """As if a third one carried it, which is not there."""
        self.join(one, other)
        for own, peer in ((one, other), (other, one)):
            stream, _ = stream_pair(self)
            circuit = Circuit(peer=peer, relay="relay", stream=stream, bytes_per_minute=bytes_per_minute)
            self.transports[own].links[peer].circuit = circuit
        self.tell(one, other)

    def part(self, one: str, other: str) -> None:
        """The connection of these two is lost, and both notice."""
        for peer, at in ((one, other), (other, one)):
            if at in self.transports and (link := self.transports[at].links.pop(peer, None)):
                link.lost.set()
                for pipe in [pipe for stream in link.streams for pipe in (stream.incoming, stream.outgoing)]:
                    pipe.break_off()
        self.tell(one, other)

    def kill(self, peer: str) -> None:
        for other in list(self.transports[peer].links):
            self.part(peer, other)
        del self.transports[peer]

    def thaw(self, peer: str) -> None:
        self.frozen.discard(peer)
        for link in [link for transport in self.transports.values() for link in transport.links.values()]:
            for stream in link.streams:
                stream.incoming.lot.unpark_all()

    def tell(self, *peers: str) -> None:
        for peer in peers:
            for changed in self.transports[peer].watchers if peer in self.transports else ():
                changed()

    def speed(self, source: str, target: str) -> float:
        return min(self.bytes_per_second, self.slow.get(source, math.inf))


@attrs.define(eq=False)
class Link:
    """A connection, as one end knows it."""

    peer: str
    inbound: bool
    address: str = ""
    streams: list[FakeStream] = attrs.field(factory=list)
    circuit: Circuit | None = None
    punched: bool = False
    lost: trio.Event = attrs.field(factory=trio.Event)


@attrs.define(eq=False)
class FakeTransport:
    """A host of the fake network."""

    network: FakeNetwork
    peer: str
    links: dict[str, Link] = attrs.field(factory=dict)
    handlers: dict[str, Handler] = attrs.field(factory=dict)
    watchers: list[Callable[[], None]] = attrs.field(factory=list)
    opened: list[str] = attrs.field(factory=list)
    listens: Sequence[str] | None = None  # None: at the address that is its name
    seen_at: str = ""  # where its connections come from; empty: from that address, too
    router: str = ""  # behind which it can only dial out; the same one for neighbours
    symmetric: bool = False  # that router takes another port for each whom it speaks to
    looked_for: list[str] = attrs.field(factory=list)  # addresses at which others asked it whether somebody answers

    async def connect(self, peer: str, addresses: Sequence[str]) -> str | None:
        await trio.lowlevel.checkpoint()
        if peer in self.links:
            return None
        self.network.dialling += 1
        self.network.most_dialling = max(self.network.dialling, self.network.most_dialling)
        try:
            address = await self._first_answer(peer, addresses)
        finally:
            self.network.dialling -= 1
        if peer not in self.links:
            self.network.join(self.peer, peer)
            self.links[peer].address = address
        return address

    async def _first_answer(self, peer: str, addresses: Sequence[str]) -> str:
        last = "no address"
        for address in addresses:
            self.network.dialled.append(address)
            answering, seconds = self.network.answers.get(address, (None, 0.0))
            await trio.sleep(seconds + 2 * self.network.delay)
            there = answering == peer and peer in self.network.transports and not self.network.apart(self.peer, peer)
            there = there and self.network.transports[peer].router in ("", self.router)
            if there and not self.network.frozen & {self.peer, peer}:
                return address
            last = "does not answer"
        raise UnreachableError(last)

    async def adopt(self, circuit: Circuit, *, dialled: bool) -> None:
        """A byte each way stands for the handshake; what is said over the link goes past the relay, and ends with its stream."""
        for send in (dialled, not dialled):
            if send:
                await circuit.stream.send_all(b"x")
            elif not await circuit.stream.receive_some(1):
                raise UnreachableError("nobody shakes hands")
        link = Link(circuit.peer, inbound=not dialled, address=str(CircuitAddress(circuit.relay, circuit.peer)), circuit=circuit)
        self.links[circuit.peer] = link
        self.network.nursery.start_soon(self._while_carried, link, circuit)
        self.network.tell(self.peer)

    async def _while_carried(self, link: Link, circuit: Circuit) -> None:
        with suppress(StreamClosedError):
            await circuit.stream.receive_some(1)
        await circuit.stream.reset()
        if self.links.get(circuit.peer) is link:
            self.network.part(self.peer, circuit.peer)

    async def punch(self, peer: str, addresses: Sequence[str], *, first: bool, seconds: float) -> None:
        """Cone routers let in what comes to the port from which something went there at about the same time."""
        self.network.dialled += addresses
        mine = Punch(self.peer, peer, frozenset(addresses))
        self.network.punches.append(mine)
        try:
            with trio.move_on_after(seconds):
                while not self._meets(mine):  # noqa: ASYNC110  # it is a model of packets that come now and then
                    await trio.sleep(0.1)
                if (link := self.links.get(peer)) is None or link.circuit is not None:
                    for one, other in ((self.peer, peer), (peer, self.peer)):
                        at = self.network.transports[one].links
                        if (relayed := at.get(other)) is not None and relayed.circuit is not None:
                            self.network.nursery.start_soon(relayed.circuit.stream.reset)
                        at[other] = Link(other, inbound=one != self.peer, punched=True)
                    self.network.tell(self.peer, peer)
                return
        finally:
            self.network.nursery.start_soon(self._end_punch, mine)
        raise UnreachableError(f"{peer} was not met")

    async def _end_punch(self, punch: Punch) -> None:
        await trio.sleep(0.5)
        self.network.punches.remove(punch)

    def _meets(self, mine: Punch) -> bool:
        other = self.network.transports.get(mine.target)
        if other is None or mine.addresses.isdisjoint({other.seen_at or other.peer, *other.listens_at()}):
            return False
        back = any(one.source == mine.target and one.target == self.peer for one in self.network.punches)
        return back and not self.symmetric and not other.symmetric

    async def answers(self, peer: str, address: str) -> bool:
        if peer in self.network.transports:
            self.network.transports[peer].looked_for.append(address)
        try:
            return bool(await self._first_answer(peer, [address]))
        except UnreachableError:
            return False

    def outside(self, seen_at: str) -> Sequence[str]:
        return [seen_at]

    async def disconnect(self, peer: str) -> None:
        await trio.lowlevel.checkpoint()
        self.network.part(self.peer, peer)

    async def open_stream(self, peer: str, protocol: str) -> Stream:
        await trio.sleep(4 * self.network.delay)
        if peer in self.network.stuck and peer in self.links:
            with trio.CancelScope(shield=True):
                await self.links[peer].lost.wait()
        other = self.network.transports.get(peer)
        with trio.move_on_after(1.0):
            while other is not None and self.peer not in other.links and peer in self.links:  # noqa: ASYNC110  # as an end of a circuit
                await trio.sleep(0.01)  # may be there a moment before the other
        if peer not in self.links or other is None or self.peer not in other.links or protocol not in other.handlers:
            raise UnreachableError(f"no {protocol} at {peer}")
        if peer in self.network.frozen:
            await trio.sleep(OPEN_SECONDS)
            raise SilentError(f"{peer} does not answer")
        self.opened.append(peer)
        mine, theirs = stream_pair(self.network, self.peer, peer)
        self.links[peer].streams.append(mine)
        other.links[self.peer].streams.append(theirs)
        self.network.nursery.start_soon(self._served, other.handlers[protocol], theirs)
        return mine

    async def _served(self, handler: Handler, stream: FakeStream) -> None:
        try:
            await handler(stream)
        except StreamClosedError:
            pass
        finally:
            await stream.reset()

    def serve(self, protocol: str, handler: Handler) -> None:
        self.handlers[protocol] = handler

    def connections(self) -> Sequence[Connection]:
        return [found for found in map(self.connection, self.links) if found is not None]

    def connection(self, peer: str) -> Connection | None:
        if (link := self.links.get(peer)) is None:
            return None
        own, other, circuit = self.place(self.seen_at or self.peer), self.network.transports.get(peer), link.circuit
        return Connection(
            peer=peer,
            address=link.address or (other and other.seen_from(self.peer)) or peer,
            own_host=own and own.host,
            inbound=link.inbound,
            direct=circuit is None,
            relay=circuit and circuit.relay,
            bytes_per_minute=circuit and circuit.bytes_per_minute,
            seen_at=circuit and circuit.seen_at,
            punched=link.punched,
            from_listening_port=bool(self.router) and not link.inbound,
        )

    def seen_from(self, peer: str) -> str:
        """Where this one sees it: a symmetric router takes a port for each."""
        return f"{self.seen_at}-{peer}" if self.seen_at and self.symmetric else self.seen_at

    def local_addresses(self) -> Sequence[str]:
        return [address for address in self.listens_at() if not address.startswith("lo")] or self.listens_at()

    def listens_at(self) -> Sequence[str]:
        return [self.peer] if self.listens is None else self.listens

    def place(self, address: str) -> Place | None:
        """The host stands before a colon, and tells by its first letters how far it can be reached from."""
        host = address.partition(":")[0]
        scopes = {"lo": Scope.LOOPBACK, "lan": Scope.PRIVATE}
        scope = next((scope for start, scope in scopes.items() if host.startswith(start)), Scope.PUBLIC)
        return None if host.startswith("dns") else Place(address=address, host=host, scope=scope)

    def watch(self, changed: Callable[[], None]) -> None:
        self.watchers.append(changed)


def stream_pair(network: FakeNetwork, one: str = "one", other: str = "other") -> tuple[FakeStream, FakeStream]:
    """Two ends of one stream, without hosts."""
    there, back = Pipe(network, one, other), Pipe(network, other, one)
    return FakeStream(other, back, there), FakeStream(one, there, back)
