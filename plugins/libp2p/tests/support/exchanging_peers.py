"""Peers of the fake network that keep connections up and tell each other of peers, under virtual time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from random import Random
from typing import TypeVar

import attrs
import structlog
import trio

from learnae.testing.swarm import run_in_virtual_time
from learnae_libp2p.streams.address_book import AddressBook
from learnae_libp2p.streams.circuits import Circuits
from learnae_libp2p.streams.dialling import Dialler
from learnae_libp2p.streams.exchange import PEERS_PROTOCOL, PeerExchange
from learnae_libp2p.streams.frames import FrameReader
from learnae_libp2p.streams.greeting import greet_as_asker, greet_as_holder
from learnae_libp2p.streams.heartbeats import HEARTBEAT_PROTOCOL, Heartbeats
from learnae_libp2p.streams.outside_views import Outlook
from learnae_libp2p.streams.peer_lists import ListedPeer, list_frame, read_list
from learnae_libp2p.streams.punching import PUNCH_PROTOCOL, HolePuncher
from learnae_libp2p.streams.reachability import OUTSIDE_PROTOCOL, Reachability
from learnae_libp2p.streams.redialling import ENOUGH, WANTED, Redialler
from learnae_libp2p.streams.relay import RELAY_PROTOCOL, RELAYED_PROTOCOL, CircuitRelay
from learnae_libp2p.streams.told_peers import ToldPeers
from learnae_libp2p.streams.transport import Stream
from plugins.libp2p.tests.support.network import FakeNetwork, FakeTransport
from plugins.libp2p.tests.support.stream_peers import inline, membership

T = TypeVar("T")


@attrs.frozen(eq=False)
class BeyondRouters:
    """What a peer has for routers, its own and those of others."""

    relay: CircuitRelay
    reachability: Reachability
    circuits: Circuits
    puncher: HolePuncher

    @classmethod
    def of(cls, transport: FakeTransport, book: AddressBook, bytes_per_minute: int) -> BeyondRouters:
        log, proof = structlog.get_logger().bind(own=transport.peer), membership(transport.peer)
        relay = CircuitRelay(transport=transport, proof=proof, bytes_per_minute=bytes_per_minute, clock=trio.current_time, log=log)
        rng = Random(f"observers of {transport.peer}")
        reachability = Reachability(transport=transport, proof=proof, news=lambda: circuits.look_again(), rng=rng, log=log)
        circuits = Circuits(
            transport=transport,
            proof=proof,
            book=book,
            needed=lambda: reachability.seen.outlook is Outlook.UNREACHABLE,
            rng=Random(f"circuits of {transport.peer}"),
            log=log,
        )
        return cls(relay, reachability, circuits, HolePuncher(transport=transport, proof=proof, reachability=reachability, log=log))

    def serve(self, transport: FakeTransport, *, relays: bool) -> None:
        transport.serve(OUTSIDE_PROTOCOL, self.reachability.answer)
        transport.serve(RELAYED_PROTOCOL, self.circuits.accept)
        transport.serve(PUNCH_PROTOCOL, self.puncher.answer)
        if relays:
            transport.serve(RELAY_PROTOCOL, self.relay.serve)


@attrs.define(eq=False)
class ExchangingPeer:
    """One peer with all that keeps it connected."""

    name: str
    transport: FakeTransport
    book: AddressBook
    told: ToldPeers
    dialler: Dialler
    routers: BeyondRouters | None = None

    @property
    def beyond(self) -> BeyondRouters:
        assert self.routers is not None, "it was started without"
        return self.routers

    def directly(self) -> set[str]:
        return {connection.peer for connection in self.transport.connections() if connection.direct}

    def connected(self) -> set[str]:
        return set(self.transport.links)

    def known(self) -> set[str]:
        return {known.peer for known in self.book.peers()}


@attrs.define
class ExchangingSwarm:
    """Starts and ends peers. `told` is all that anybody was told, by who was told it."""

    network: FakeNetwork
    folder: Path
    peers: dict[str, ExchangingPeer] = attrs.field(factory=dict)
    scopes: dict[str, trio.CancelScope] = attrs.field(factory=dict)

    def start(
        self,
        name: str,
        *named: str,
        wanted: int = WANTED,
        enough: int = ENOUGH,
        secret: bytes | None = None,
        listens: Sequence[str] | None = None,
        seen_at: str = "",
        exchanges: bool = True,
        at: str | None = None,
        routers: bool = False,
        router: str = "",
        symmetric: bool = False,
        relays: bool = True,
        bytes_per_minute: int = 1 << 22,
    ) -> ExchangingPeer:
        transport, log = self.network.host(name), structlog.get_logger().bind(own=name)
        if router:
            listens, seen_at, routers = listens or [f"lan-{router}:{name}"], seen_at or f"{router}:{name}", True
            self.network.answers[seen_at] = (name, 0.0)
        transport.listens, transport.seen_at, transport.router, transport.symmetric = listens, seen_at, router, symmetric
        self.network.answers |= dict.fromkeys(listens or (), (name, 0.0))
        if listens is not None:
            self.network.answers.pop(name, None)
        book = AddressBook(path=self.folder / name, now=trio.current_time, log=log)
        heartbeats = Heartbeats(transport=transport, nonce=lambda: name.encode().ljust(32), log=log)
        transport.serve(HEARTBEAT_PROTOCOL, heartbeats.answer)
        beyond = BeyondRouters.of(transport, book, bytes_per_minute) if routers else None
        dialler = Dialler(transport=transport, book=book, through=beyond.circuits.dial if beyond is not None else None)
        redialler = Redialler(
            transport=transport,
            book=book,
            dialler=dialler,
            heartbeats=heartbeats,
            rng=Random(name),
            in_thread=inline,
            log=log,
            named={peer: [f"{at}:{peer}"] if at else self.addresses(peer) for peer in named},
            wanted=wanted,
            enough=enough,
        )
        told = ToldPeers(transport=transport, book=book, clock=trio.current_time)
        exchange = PeerExchange(
            transport=transport,
            proof=membership(name, secret),
            book=book,
            told=told,
            rng=Random(f"exchange of {name}"),
            news=redialler.look_again,
            log=log,
        )
        running = [redialler.run]
        if beyond is not None:
            beyond.serve(transport, relays=relays)
            exchange.own_addresses = lambda: [*beyond.reachability.seen.outside, *beyond.circuits.addresses()]
            exchange.reserved = beyond.relay.reserved
            running += [beyond.reachability.run, beyond.circuits.run, beyond.puncher.run]
        if exchanges:
            transport.serve(PEERS_PROTOCOL, exchange.answer)
            running.append(exchange.run)
        self.peers[name] = ExchangingPeer(name, transport, book, told, dialler, beyond)
        self.scopes[name] = scope = trio.CancelScope()
        self.network.nursery.start_soon(_within, scope, *running)
        return self.peers[name]

    def addresses(self, peer: str) -> Sequence[str]:
        return self.network.transports[peer].local_addresses() if peer in self.network.transports else [peer]

    def kill(self, name: str) -> None:
        self.scopes[name].cancel()
        self.network.kill(name)
        del self.peers[name]


async def _within(scope: trio.CancelScope, *running: Callable[[], Awaitable[None]]) -> None:
    with scope:
        async with trio.open_nursery() as nursery:
            for one in running:
                nursery.start_soon(one)


def in_exchanging_swarm(folder: Path, main: Callable[[ExchangingSwarm], Awaitable[T]]) -> T:
    """What `main` returns, in virtual time."""

    async def run() -> T:
        async with trio.open_nursery() as nursery:
            result = await main(ExchangingSwarm(FakeNetwork(nursery), folder))
            nursery.cancel_scope.cancel()
        return result

    return run_in_virtual_time(run)


def liar(swarm: ExchangingSwarm, name: str, says: Callable[[str], bytes], *, seen_at: str = "") -> FakeTransport:
    """A member that answers each question with these bytes, which may be made for who asks."""
    transport = swarm.network.host(name)
    transport.seen_at = seen_at

    async def answer(stream: Stream) -> None:
        reader = FrameReader(stream)
        await greet_as_holder(stream, reader, membership(name))
        await stream.send_all(says(stream.peer))
        await stream.aclose()
        await stream.receive_some(1 << 16)

    transport.serve(PEERS_PROTOCOL, answer)
    return transport


async def asked(swarm: ExchangingSwarm, asker: str, holder: str, *says: str, secret: bytes | None = None) -> list[ListedPeer]:
    """What somebody hears who says these addresses of itself."""
    stream = await swarm.network.transports[asker].open_stream(holder, PEERS_PROTOCOL)
    reader = FrameReader(stream)
    await greet_as_asker(stream, reader, membership(asker, secret))
    await stream.send_all(list_frame([ListedPeer(asker, says)]))
    header = await reader.header()
    assert header is not None
    found = read_list(await reader.body(header[1]))
    await stream.reset()
    return found
