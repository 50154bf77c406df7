"""Peers of the fake network that hold and fetch blocks, under virtual time."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any, TypeVar

import attrs
import structlog
import trio

from learnae import Block, Cid, UnavailableError
from learnae.lowlevel import MEGABYTE, cid_bytes, raw_cid
from learnae.testing.published import payloads
from learnae.testing.swarm import run_in_virtual_time
from learnae_libp2p.streams.block_store import BlockStore
from learnae_libp2p.streams.budgets import ByteBudget, FairBudget, RelayedBudgets
from learnae_libp2p.streams.fetching import BlockFetcher
from learnae_libp2p.streams.frames import FrameKind, FrameReader, frame
from learnae_libp2p.streams.greeting import SwarmProof, greet_as_asker, greet_as_holder
from learnae_libp2p.streams.serving import BLOCK_PROTOCOL, BlockServer
from learnae_libp2p.streams.transport import Stream
from plugins.libp2p.tests.support.network import FakeNetwork, FakeTransport

T = TypeVar("T")
NONCES = itertools.count(1)


async def inline(function: Callable[..., T], /, *args: Any) -> T:
    """Under virtual time a real thread's work would look like seconds."""
    await trio.lowlevel.checkpoint()
    return function(*args)


def blocks(count: int, length: int = 100_000, seed: int = 0) -> list[Block]:
    return [Block(raw_cid(data), data) for data in payloads(count, seed, length)]


def membership(peer: str, secret: bytes | None = None) -> SwarmProof:
    return SwarmProof.of(peer, secret, "c", lambda: next(NONCES).to_bytes(32, "big"))


@attrs.define(eq=False)
class StreamPeer:
    """One peer with all of it."""

    transport: FakeTransport
    store: BlockStore
    server: BlockServer
    fetcher: BlockFetcher

    async def put(self, blocks: Sequence[Block]) -> None:
        """Keep these, as if they had been fetched."""
        for block in blocks:
            self.store.keep(block)

    async def fetch(self, blocks: Sequence[Block], *hints: str) -> dict[Cid, bytes]:
        """Raises UnavailableError."""
        found: dict[Cid, bytes] = {}
        await self.fetcher.fetch([block.cid for block in blocks], lambda block: found.update({block.cid: block.data}), hints=hints)
        return found

    async def lacking(self, blocks: Sequence[Block], *hints: str) -> set[Cid]:
        try:
            await self.fetch(blocks, *hints)
        except UnavailableError as error:
            return set(error.missing)
        return set()


@attrs.define
class StreamSwarm:
    """Makes peers; all are connected to each other unless they are told not to be."""

    network: FakeNetwork
    folder: Path
    peers: dict[str, StreamPeer] = attrs.field(factory=dict)

    async def add(
        self,
        name: str,
        *,
        secret: bytes | None = None,
        upload: tuple[int | None, int | None] = (None, None),
        download: tuple[int | None, int | None] = (None, None),
        cache_bytes: int = 100 * MEGABYTE,
        relayed: int = 4 * MEGABYTE,
        connected: bool = True,
    ) -> StreamPeer:
        transport, log = self.network.host(name), structlog.get_logger().bind(peer=name)
        store = BlockStore(folder=self.folder / name, in_thread=inline, log=log, cache_bytes=cache_bytes)
        await store.open()
        member = membership(name, secret)
        server = BlockServer(
            store=store,
            proof=member,
            budget=FairBudget(ByteBudget(*upload, trio.current_time)),
            relayed=RelayedBudgets(transport=transport, bytes_per_minute=relayed, clock=trio.current_time),
            in_thread=inline,
            clock=trio.current_time,
            log=log,
        )
        transport.serve(BLOCK_PROTOCOL, server.serve)
        fetcher = BlockFetcher(
            transport=transport,
            proof=member,
            store=store,
            budget=ByteBudget(*download, trio.current_time),
            relayed=RelayedBudgets(transport=transport, bytes_per_minute=relayed, clock=trio.current_time),
            in_thread=inline,
            rng=Random(name),
            log=log,
            dial=transport.connect,
            read_hint=lambda hint: (hint.split("/")[0], hint) if hint.startswith("peer") else None,
        )
        self.network.nursery.start_soon(fetcher.run)
        await trio.testing.wait_all_tasks_blocked()
        for other in self.network.transports if connected else ():
            if other != name:
                self.network.join(name, other)
        self.peers[name] = StreamPeer(transport, store, server, fetcher)
        return self.peers[name]


def in_swarm(folder: Path, main: Callable[[StreamSwarm], Awaitable[T]], **network: Any) -> T:
    """What `main` returns, in virtual time."""

    async def run() -> T:
        async with trio.open_nursery() as nursery:
            result = await main(StreamSwarm(FakeNetwork(nursery, **network), folder))
            nursery.cancel_scope.cancel()
        return result

    return run_in_virtual_time(run)


def odd_holder(
    swarm: StreamSwarm, name: str, behave: Callable[[Stream, FrameReader], Awaitable[None]], *, connected: bool = True
) -> FakeTransport:
    """A holder that belongs to the swarm, and then does what it likes."""
    transport = swarm.network.host(name)

    async def serve(stream: Stream) -> None:
        reader = FrameReader(stream)
        await greet_as_holder(stream, reader, membership(name))
        await behave(stream, reader)

    transport.serve(BLOCK_PROTOCOL, serve)
    for other in swarm.network.transports if connected else ():
        if other != name:
            swarm.network.join(name, other)
    return transport


async def greeted_stream(swarm: StreamSwarm, name: str, holder: str) -> tuple[Stream, FrameReader]:
    """A stream of an asker that belongs to the swarm, and then does what it likes."""
    if name not in swarm.network.transports:
        swarm.network.host(name)
        swarm.network.join(name, holder)
    stream = await swarm.network.transports[name].open_stream(holder, BLOCK_PROTOCOL)
    reader = FrameReader(stream)
    await greet_as_asker(stream, reader, membership(name))
    return stream, reader


def want(blocks: Sequence[Block]) -> bytes:
    return frame(FrameKind.WANT, *(cid_bytes(block.cid) for block in blocks))
