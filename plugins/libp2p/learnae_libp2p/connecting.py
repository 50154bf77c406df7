"""Whom this peer is connected to: peers of its file, of earlier runs, of the local network, and those that these know, dialled for ever.

This module is light: the library comes with the host.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from random import Random

import trio

from learnae import Context, PeerConnection
from learnae_libp2p.addresses import key_of, parse_address
from learnae_libp2p.discovery import LocalDiscovery
from learnae_libp2p.host import Libp2pHost
from learnae_libp2p.libp2p_transport import Libp2pTransport
from learnae_libp2p.options import HostOptions
from learnae_libp2p.streams.address_book import AddressBook
from learnae_libp2p.streams.circuits import Circuits
from learnae_libp2p.streams.dialling import FROM_MDNS, Dialler
from learnae_libp2p.streams.exchange import PEERS_PROTOCOL, PeerExchange
from learnae_libp2p.streams.greeting import SwarmProof
from learnae_libp2p.streams.heartbeats import BEAT_BYTES, HEARTBEAT_PROTOCOL, Heartbeats
from learnae_libp2p.streams.outside_views import Outlook
from learnae_libp2p.streams.punching import PUNCH_PROTOCOL, HolePuncher
from learnae_libp2p.streams.reachability import OUTSIDE_PROTOCOL, Reachability
from learnae_libp2p.streams.redialling import Redialler
from learnae_libp2p.streams.relay import RELAY_PROTOCOL, RELAYED_PROTOCOL, CircuitRelay
from learnae_libp2p.streams.shown_connections import ShownConnections
from learnae_libp2p.streams.told_peers import ToldPeers
from learnae_libp2p.streams.transport import Transport

BOOK = "peers.json"
FIRST_SECONDS = 2.0


class Connecting:
    """Made by `context.share`. Strategies run `serve` in a nursery of their own: whoever is first does it for all."""

    def __init__(self) -> None:
        self.dialler: Dialler | None = None  # while it is served
        self.reachability: Reachability | None = None
        self._circuits: Circuits | None = None
        self._shown: ShownConnections | None = None
        self._turn = trio.Lock()

    async def serve(self, host: Libp2pHost) -> None:
        """Until cancelled."""
        assert host.context is not None, "configured before it is served"
        async with self._turn:
            try:
                await self._connect(host, host.context, host.options)
            finally:
                self.dialler = self._shown = self.reachability = self._circuits = None

    def connections(self) -> Sequence[PeerConnection]:
        """Those that are open, and those that are missing; none while it is not served."""
        return self._shown() if self._shown is not None else ()

    def outside_addresses(self) -> Sequence[str]:
        """Where others have reached this peer beyond a router, and through whom they reach it; each with its name."""
        if self.reachability is None or self._circuits is None or self.dialler is None:
            return ()
        return [f"{address}/p2p/{self.dialler.transport.peer}" for address in self.reachability.seen.outside] + list(
            self._circuits.addresses()
        )

    async def _connect(self, host: Libp2pHost, context: Context, options: HostOptions) -> None:
        transport = Libp2pTransport(host)
        proof = membership(context, transport)
        book = AddressBook(path=context.home / BOOK, now=time.time, log=context.log)
        await context.in_thread(_open, book, context.existing_only)
        heartbeats = Heartbeats(transport=transport, nonce=lambda: secrets.token_bytes(BEAT_BYTES), log=context.log)
        self.dialler = dialler = Dialler(transport=transport, book=book)
        redialler = Redialler(
            transport=transport,
            book=book,
            dialler=dialler,
            heartbeats=heartbeats,
            rng=_random(context),
            in_thread=context.in_thread,
            log=context.log,
            named=_named(options.peers),
            read_only=context.existing_only,
        )
        self._shown = ShownConnections(
            transport=transport,
            heartbeats=heartbeats,
            redialler=redialler,
            key_of=key_of,
            is_stranger=lambda peer: exchange.is_stranger(peer),  # which is made below
        )

        def found(peer: str, addresses: Sequence[str]) -> None:
            book.heard(peer, addresses, FROM_MDNS)
            redialler.look_again()

        relay = CircuitRelay(
            transport=transport, proof=proof, bytes_per_minute=options.relayed_bytes_per_minute, clock=context.clock, log=context.log
        )
        reachability = Reachability(
            transport=transport, proof=proof, news=lambda: circuits.look_again(), rng=_random(context), log=context.log
        )
        circuits = Circuits(
            transport=transport,
            proof=proof,
            book=book,
            needed=lambda: reachability.seen.outlook is Outlook.UNREACHABLE,
            rng=_random(context),
            log=context.log,
        )
        dialler.through = circuits.dial
        self.reachability, self._circuits = reachability, circuits
        puncher = HolePuncher(transport=transport, proof=proof, reachability=reachability, log=context.log, account=dialler.account)
        exchange = PeerExchange(
            transport=transport,
            proof=proof,
            book=book,
            told=ToldPeers(transport=transport, book=book, clock=context.clock),
            rng=_random(context),
            news=redialler.look_again,
            log=context.log,
            own_addresses=lambda: [*reachability.seen.outside, *circuits.addresses()],
            reserved=relay.reserved,
        )
        handlers = {
            HEARTBEAT_PROTOCOL: heartbeats.answer,
            PEERS_PROTOCOL: exchange.answer,
            OUTSIDE_PROTOCOL: reachability.answer,
            RELAYED_PROTOCOL: circuits.accept,
            PUNCH_PROTOCOL: puncher.answer,
        }
        if options.relay_connections:
            handlers[RELAY_PROTOCOL] = relay.serve
        for protocol, handler in handlers.items():
            transport.serve(protocol, handler)
        async with trio.open_nursery() as nursery:
            for part in (redialler, exchange, reachability, circuits, puncher):
                nursery.start_soon(part.run)
            if options.mdns:
                nursery.start_soon(LocalDiscovery(transport, context, found).run)


async def first_connection(host: Libp2pHost) -> None:
    """Returns when somebody is connected, where the file names anybody, and soon all the same."""
    if host.options.peers:
        transport = Libp2pTransport(host)
        with trio.move_on_after(FIRST_SECONDS):
            while not transport.connections():
                await host.news.wait()


def membership(context: Context, transport: Transport) -> SwarmProof:
    """What it takes to greet others of the swarm. The host must run."""
    return SwarmProof.of(transport.peer, context.secret("libp2p"), context.channel, lambda: secrets.token_bytes(32))


def _random(context: Context) -> Random:
    return Random(int(context.rng.integers(1 << 62)))


def _open(book: AddressBook, existing_only: bool) -> None:
    if not existing_only:
        book.path.parent.mkdir(parents=True, exist_ok=True)
    book.load()


def _named(addresses: Sequence[str]) -> dict[str, list[str]]:
    named: dict[str, list[str]] = {}
    for text in addresses:
        if (peer := parse_address(text).peer) is not None:
            named.setdefault(peer, []).append(text)
    return named
