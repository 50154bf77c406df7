"""Fetches blocks from several holders at once. Each block is checked, cached, and given to all who wait for it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from random import Random
from typing import TYPE_CHECKING

import attrs
import trio

from learnae import Block, Cid, UnavailableError
from learnae.lowlevel import RunInThread, cid_bytes, cid_text, is_intact
from learnae_libp2p.streams.asking import HolderStream
from learnae_libp2p.streams.block_store import BlockStore
from learnae_libp2p.streams.budgets import ByteBudget, RelayedBudgets
from learnae_libp2p.streams.fetch_job import FetchJob
from learnae_libp2p.streams.greeting import SwarmProof
from learnae_libp2p.streams.holders import Holders
from learnae_libp2p.streams.transport import Transport

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

LIAR_SECONDS, SILENT_SECONDS = 600.0, 60.0
CHECKED_AT_ONCE = 16  # blocks in memory that wait for a thread

Dial = Callable[[str, Sequence[str]], Awaitable[object]]
"""Connects to a peer by any of these addresses. Raises UnreachableError."""


@attrs.define(eq=False, kw_only=True)
class BlockFetcher:
    """`run` keeps it going. `read_hint` makes a peer and an address of a hint, None of what it is not; `dial` connects to them."""

    transport: Transport
    proof: SwarmProof
    store: BlockStore
    budget: ByteBudget
    relayed: RelayedBudgets
    in_thread: RunInThread
    rng: Random
    log: FilteringBoundLogger
    dial: Dial
    read_hint: Callable[[str], tuple[str, str] | None]
    holders: Holders = attrs.field(init=False)
    dialling: trio.Semaphore = attrs.field(factory=lambda: trio.Semaphore(4))  # for hints of strangers
    _jobs: dict[FetchJob, None] = attrs.field(factory=dict)
    _checking: trio.Semaphore = attrs.field(factory=lambda: trio.Semaphore(CHECKED_AT_ONCE))

    def __attrs_post_init__(self) -> None:
        self.holders = Holders(
            transport=self.transport,
            proof=self.proof,
            log=self.log,
            came=self._came,
            took=self._took,
            lacking=self._lacking,
            lost=self._lost,
        )

    async def run(self) -> None:
        """Until cancelled."""
        async with trio.open_nursery() as nursery:
            self.holders.nursery = nursery
            try:
                await trio.sleep_forever()
            finally:
                self.holders.nursery = None

    async def fetch(self, cids: Sequence[Cid], deliver: Callable[[Block], None], *, hints: Sequence[str] = ()) -> None:
        """As `Storage.get`, of what is not in the store."""
        if not cids:
            return
        job = FetchJob(fetcher=self, left={cid_bytes(cid): cid for cid in cids}, deliver=deliver, hinted=self._hinted(hints))
        self._jobs[job] = None
        try:
            await job.run()
        finally:
            del self._jobs[job]
            job.over()
            self._forget(job)
        if job.left:
            raise UnavailableError(f"{len(job.left)} of {len(cids)} blocks cannot be had now: {job.why()}", list(job.left.values()))

    def silent(self, holder: HolderStream) -> None:
        """It was asked, and sends next to nothing: others are asked for a while."""
        self.log.info("blocks.silent", holder=holder.peer, waiting=len(holder.outstanding))
        self.holders.rest(holder.peer, SILENT_SECONDS)

    def _hinted(self, hints: Sequence[str]) -> dict[str, list[str]]:
        """Addresses by peer."""
        found: dict[str, list[str]] = {}
        for hint in hints[:8]:
            if (read := self.read_hint(hint)) is not None and read[0] != self.transport.peer:
                found.setdefault(read[0], []).append(read[1])
        return found

    def _came(self, holder: HolderStream, count: int) -> None:
        """Paid piece by piece: what a holder's own budget has spread over time is not waited for once more, and what breaks off counts."""
        self.budget.spend(count)
        if (relayed := self.relayed.of(holder.peer)) is not None:
            relayed.spend(count)

    async def _took(self, holder: HolderStream, cid: bytes, data: bytearray) -> None:
        """A block has come, which nobody has looked at."""
        await self._checking.acquire()
        assert self.holders.nursery is not None
        self.holders.nursery.start_soon(self._check, holder, cid, data)

    async def _check(self, holder: HolderStream, cid: bytes, data: bytearray) -> None:
        name = cid_text(cid)
        try:
            block = await self.in_thread(self._checked, name, data)
        finally:
            self._checking.release()
        if block is None:
            self.log.warning("blocks.wrong_block", holder=holder.peer, cid=name)
            self.holders.rest(holder.peer, LIAR_SECONDS)
            return
        for job in tuple(self._jobs):
            job.take(holder, cid, block)

    def _checked(self, cid: Cid, data: bytearray) -> Block | None:
        """The block, cached; None if it is not what it is named by. In a thread."""
        block = Block(cid, bytes(data))
        if not is_intact(block):
            return None
        self.store.keep(block)
        return block

    def _lacking(self, holder: HolderStream, cids: Sequence[bytes], for_now: bool) -> None:
        for job in tuple(self._jobs):
            job.lacking(holder, cids, for_now)

    def _lost(self, holder: HolderStream, why: str) -> None:
        for job in tuple(self._jobs):
            job.lost(holder, why)

    def _forget(self, job: FetchJob) -> None:
        """Say so to the holders who were asked for what nobody waits for any more."""
        for holder, cids in job.asked_of().items():
            holder.forget([cid for cid in cids if not any(cid in other.left for other in self._jobs)])
