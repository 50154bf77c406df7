"""The storage `libp2p`: own and fetched blocks on the disk of this peer, served to others and fetched from them over direct connections."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AsyncExitStack
from functools import partial
from random import Random
from typing import ClassVar, Self

import attrs
import trio
from attrs.validators import ge

from learnae import Block, Cid, Context, PeerConnection, Problem, Storage, UnavailableError
from learnae.lowlevel import HINT_CHARACTERS, MEGABYTE, option
from learnae_libp2p.addresses import parse_address
from learnae_libp2p.check import HostCheck
from learnae_libp2p.connecting import Connecting, membership
from learnae_libp2p.host import Libp2pHost
from learnae_libp2p.libp2p_transport import Libp2pTransport
from learnae_libp2p.options import HostOptions
from learnae_libp2p.streams.block_store import BlockStore
from learnae_libp2p.streams.budgets import ByteBudget, FairBudget, RelayedBudgets
from learnae_libp2p.streams.circuit_addresses import read_circuit
from learnae_libp2p.streams.dialling import FROM_HINT
from learnae_libp2p.streams.fetching import BlockFetcher
from learnae_libp2p.streams.serving import BLOCK_PROTOCOL, BlockServer
from learnae_libp2p.streams.transport import Stream

MOST_HINTS = 8


@attrs.frozen(kw_only=True)
class Libp2pStorageOptions(HostOptions):
    """The keys of `[storage]` with `use = "libp2p"`."""

    cache_megabytes: int = option(1024, "Blocks of others that are kept to be served to others, at most.", ge(0))


class ActiveServers:
    """Made by `context.share`: of several storages of one peer the one that was opened last serves."""

    def __init__(self) -> None:
        self.servers: list[BlockServer] = []

    async def serve(self, stream: Stream) -> None:
        if self.servers:
            await self.servers[-1].serve(stream)


class SharedBudgets:
    """Made by `context.share`: several storages of one peer send and fetch from one account."""

    def __init__(self) -> None:
        self._made: tuple[FairBudget, ByteBudget] | None = None

    def of(self, context: Context) -> tuple[FairBudget, ByteBudget]:
        """What may be sent, and what may be fetched."""
        if self._made is None:
            allowed = context.budgets
            upload = ByteBudget(allowed.upload_bytes_per_second, allowed.upload_bytes_per_hour, context.clock)
            download = ByteBudget(allowed.download_bytes_per_second, allowed.download_bytes_per_hour, context.clock)
            self._made = FairBudget(upload), download
        return self._made


class Libp2pStorage(Storage):
    """Blocks lie in the peer's home. What was fetched is served to others, so that popular updates do not all come from their authors."""

    Options = Libp2pStorageOptions
    keeps_budgets: ClassVar[bool] = True

    def __init__(self, options: Libp2pStorageOptions, context: Context) -> None:
        super().__init__(options, context)
        self.options: Libp2pStorageOptions = options
        self.store = BlockStore(
            folder=context.home / "blocks",
            in_thread=context.in_thread,
            log=context.log,
            cache_bytes=options.cache_megabytes * MEGABYTE,
            existing_only=context.existing_only,
        )
        self.host = context.share(Libp2pHost)
        self.host.configure(options, context, "storage")
        self.transport = Libp2pTransport(self.host)
        self.active = context.share(ActiveServers)
        self.connecting = context.share(Connecting)
        self.fetcher: BlockFetcher | None = None
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        await self.store.open()
        if self.context.existing_only:
            return self
        async with AsyncExitStack() as stack:
            nursery = await stack.enter_async_context(trio.open_nursery())
            stack.callback(nursery.cancel_scope.cancel)
            nursery.start_soon(self.host.serve)
            await self.host.ready()
            await self._begin(nursery, stack)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._stack.aclose()

    async def check(self) -> Sequence[str | Problem]:
        return await self.context.share(HostCheck).check("storage", self.host, self.context)

    async def put(self, root: Cid, blocks: Iterable[Block]) -> None:
        await self.store.put(root, blocks)

    async def get(self, cids: Sequence[Cid], deliver: Callable[[Block], None], *, hints: Sequence[str] = ()) -> None:
        missing = await self.store.deliver(cids, deliver)
        if missing and self.fetcher is None:
            raise UnavailableError(f"{len(missing)} of {len(cids)} blocks are not in {self.store.folder}", missing)
        if missing and self.fetcher is not None:
            await self.fetcher.fetch(missing, deliver, hints=hints)

    async def drop(self, root: Cid) -> None:
        await self.store.drop(root)

    async def roots(self) -> Sequence[Cid]:
        return await self.store.roots()

    def hints(self) -> Sequence[str]:
        """Where others can dial this peer, or reach it through others."""
        every = [*self.connecting.outside_addresses(), *self.transport.local_addresses()]
        return [text for text in dict.fromkeys(every) if len(text) <= HINT_CHARACTERS][:MOST_HINTS]

    def connections(self) -> Sequence[PeerConnection]:
        """Of the host, which the announcer may share: it tells of the same ones."""
        return self.connecting.connections()

    def addresses(self) -> Sequence[str]:
        """What others write into `peers`."""
        return [text for text in self.hints() if read_circuit(text) is None]

    async def _dial(self, peer: str, addresses: Sequence[str]) -> None:
        """What answers is remembered, if anybody keeps the book. Raises UnreachableError."""
        if self.connecting.dialler is not None:
            await self.connecting.dialler.dial(peer, addresses, FROM_HINT)
        else:
            await self.transport.connect(peer, addresses)

    async def _begin(self, nursery: trio.Nursery, stack: AsyncExitStack) -> None:
        """All that others see of this storage, once the host runs."""
        context, transport = self.context, self.transport
        upload, download = context.share(SharedBudgets).of(context)
        proof = membership(context, transport)
        rng = Random(int(context.rng.integers(1 << 62)))
        relayed = partial(
            RelayedBudgets, transport=transport, bytes_per_minute=self.host.options.relayed_bytes_per_minute, clock=context.clock
        )
        self.fetcher = BlockFetcher(
            transport=transport,
            proof=proof,
            store=self.store,
            budget=download,
            relayed=relayed(),
            in_thread=context.in_thread,
            rng=rng,
            log=context.log,
            dial=self._dial,
            read_hint=read_hint,
        )
        server = BlockServer(
            store=self.store,
            proof=proof,
            budget=upload,
            relayed=relayed(),
            in_thread=context.in_thread,
            clock=context.clock,
            log=context.log,
        )
        self.active.servers.append(server)
        stack.callback(self.active.servers.remove, server)
        transport.serve(BLOCK_PROTOCOL, self.active.serve)
        nursery.start_soon(self.connecting.serve, self.host)
        nursery.start_soon(self.fetcher.run)


def read_hint(text: str) -> tuple[str, str] | None:
    """The peer and its address in what a stranger gave as a hint; None for all that cannot be dialled."""
    if (circuit := read_circuit(text)) is not None:
        return circuit.peer, text
    try:
        address = parse_address(text)
    except ValueError:
        return None
    return (address.peer, text) if address.peer and address.port else None
