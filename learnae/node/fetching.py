"""Fetches the blocks of one update: root, meta, parts, data. Each hash is checked, each size is bounded."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import attrs
import trio

from learnae.content.cids import check
from learnae.content.encryption import NO_ENCRYPTION, Encryption
from learnae.content.meta import MOST_META_BYTES, MOST_TENSORS, Limits, Meta
from learnae.content.unpack import Content, Manifest, Read, at_once
from learnae.errors import PluginError, UnavailableError, UpdateRejectedError
from learnae.node.runtime import Outages
from learnae.node.services import REST_SECONDS, Delivery, Services
from learnae.node.strategy_set import ConfiguredStrategy
from learnae.records import Announcement, AnnouncementKind, Block, Cid, Octets, PeerId, Update
from learnae.strategies import Storage
from learnae.waiting import RunInThread

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger


@attrs.define
class Transfer:
    """The blocks of one update that have come so far. It is kept when a fetch is cut off, so that the speed is known."""

    limit: int
    bytes: int = 0
    corrupt: int = 0
    overflowed: bool = False
    blocks: dict[Cid, Octets] = attrs.field(factory=dict)
    origin: str = ""  # the label of the storage that had the first block, the root; whoever has put that has put all
    silent: set[str] = attrs.field(factory=set)  # labels of storages that others are asked before
    lock: threading.Lock = attrs.field(factory=threading.Lock, eq=False, repr=False)  # held by storages that deliver
    heard_at: float = -math.inf  # when something came last, in the loop's time; before that when it was begun
    longest_silence: float = 0.0
    within: Transfer | None = None  # the transfer of the update for which this one brings a base; that counts the bytes too
    most: int = attrs.field(default=attrs.Factory(lambda self: 2 * self.limit, takes_self=True))  # with all that it builds on
    needed: dict[Cid, Mapping[Cid, Octets]] = attrs.field(factory=dict)  # the roots that the update builds on, with all their blocks

    def part(self) -> Transfer:
        """A transfer of what this update builds on."""
        return Transfer(self.most - self.bytes, silent=self.silent, heard_at=self.heard_at, within=self)

    def heard(self) -> None:
        """Something has come, or the transfer has ended. Call it in the thread of the event loop."""
        now = trio.current_time()
        if self.within is not None:
            self.within.heard()
        if self.heard_at > -math.inf:
            self.longest_silence = max(self.longest_silence, now - self.heard_at)
        self.heard_at = now

    def take(self, block: Block, source: str = "") -> bool:
        """Take a block once, if it matches its CID and the limit of bytes allows it. Returns False otherwise."""
        if block.cid in self.blocks:
            return True
        if not check(block):
            self.corrupt += 1
            return False
        if self.bytes + len(block.data) > self.limit:
            self.overflowed = True
        else:
            self.bytes += len(block.data)
            self.blocks[block.cid] = block.data
            if self.within is not None:
                self.within.bytes += len(block.data)
            self.origin = self.origin or source
        return True

    def missing(self, cids: Iterable[Cid]) -> list[Cid]:
        return [cid for cid in dict.fromkeys(cids) if cid not in self.blocks]


Asked = tuple[ConfiguredStrategy[Storage], Sequence[str]]
"""A storage, and the hints for it."""


@attrs.define
class StorageOrder:
    """The order in which storages are asked: that of the file, but a storage that was silent comes last in the same transfer.

    If another storage had the block, the silent one comes last for a while longer. If nobody had it, it does not: a storage that searches
    is always silent about a block that does not exist. Otherwise a stranger who announces such blocks would change the order for all.
    """

    _silent: dict[str, tuple[int, float]] = attrs.field(factory=dict)  # by label: how often in a row, and until when

    def order(self, storages: Iterable[ConfiguredStrategy[Storage]], transfer: Transfer) -> list[ConfiguredStrategy[Storage]]:
        now = trio.current_time()
        return sorted(storages, key=lambda one: one.label in transfer.silent or now < self._silent.get(one.label, (0, -math.inf))[1])

    def was_silent(self, label: str) -> None:
        """This storage was silent: ask it last for a while, longer each time.

        Ignored while it rests, as several transfers notice at once.
        """
        times, until = self._silent.get(label, (0, -math.inf))
        if trio.current_time() >= until:
            self._silent[label] = times + 1, trio.current_time() + REST_SECONDS[min(times, len(REST_SECONDS) - 1)]

    def answered(self, label: str) -> None:
        self._silent.pop(label, None)


@attrs.define(eq=False)
class StorageCall:
    """One call of one storage, which may take until `end`. The next storage is asked when this call is over, or silent for too long."""

    storage: ConfiguredStrategy[Storage]
    hints: Sequence[str]
    delivery: Delivery
    end: float
    patience: trio.CancelScope
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    over: trio.Event = attrs.field(factory=trio.Event)
    silent: bool = False
    outdone: bool = False  # another has delivered what this one was silent about


@attrs.define
class BlockReader:
    """Reads the blocks that are `left` into a transfer. What a storage does wrong is logged, and never raised."""

    transfer: Transfer
    left: dict[Cid, None]
    outages: Outages
    log: FilteringBoundLogger
    storage_order: StorageOrder
    _turns: dict[Delivery, StorageCall] = attrs.field(factory=dict)

    async def run(self, storages: Sequence[Asked]) -> None:
        """Read until all blocks are there, or no storage has more. A storage that is silent for half of the time left is not waited for."""
        async with trio.open_nursery() as nursery:
            for number, asked in enumerate(storages, 1):
                if not self.transfer.missing(self.left) or self.transfer.overflowed:
                    break
                turn = self._begin(asked)
                nursery.start_soon(self._take, turn)
                if number < len(storages):
                    await self._wait(turn)

    def _begin(self, asked: Asked) -> StorageCall:
        storage, hints = asked
        delivery = Delivery(dict(self.left), self.transfer, storage.label, self._arrived)
        end = trio.current_effective_deadline()
        turn = self._turns[delivery] = StorageCall(storage, hints, delivery, end, trio.CancelScope(deadline=_half_way_to(end)))
        return turn

    async def _wait(self, turn: StorageCall) -> None:
        with turn.patience:
            await turn.over.wait()
        if turn.patience.cancelled_caught:
            turn.silent = True
            self.transfer.silent.add(turn.storage.label)

    def _arrived(self, delivery: Delivery, cid: Cid) -> None:
        """A block has come: its storage gets more time.

        When all blocks are there, no silent storage is waited for, and others not for long.
        """
        self.left.pop(cid, None)
        self.transfer.heard()
        turn = self._turns[delivery]
        turn.patience.deadline = _half_way_to(turn.end)
        self.storage_order.answered(turn.storage.label)
        self._note_silence(cid, turn)
        if self.transfer.overflowed or not self.left:
            for each in self._turns.values():
                each.scope.deadline = -math.inf if self.transfer.overflowed or each.silent else _half_way_to(each.end)

    def _note_silence(self, cid: Cid, by: StorageCall) -> None:
        for turn in self._turns.values():
            if turn is not by and turn.silent and not turn.outdone and cid in turn.delivery.wanted:
                turn.outdone = True
                self.storage_order.was_silent(turn.storage.label)

    async def _take(self, turn: StorageCall) -> None:
        whole = False
        try:
            with turn.scope:
                whole = await self._call(turn)
        finally:
            turn.delivery.end()
            turn.over.set()
            self._tell(turn, whole=whole)

    async def _call(self, turn: StorageCall) -> bool:
        """Call one storage. Returns whether the call returned, as it does after delivering all blocks."""
        storage = turn.storage
        try:
            with storage.calling(f"getting blocks from {storage.label}", within=turn.end - trio.current_time()):
                await storage.strategy.get(tuple(turn.delivery.wanted), turn.delivery, hints=turn.hints)
        except UnavailableError as outage:
            self.log.debug("storage.unavailable", storage=storage.label, cause=str(outage))
        except PluginError as error:
            turn.delivery.flaw = turn.delivery.flaw or str(error)
        else:
            return True
        return False

    def _tell(self, turn: StorageCall, *, whole: bool) -> None:
        what = f"reading {turn.storage.label}"
        if turn.delivery.flaw:
            self.outages.failed(what, turn.delivery.flaw)
        elif whole and self.transfer.missing(turn.delivery.wanted) and not self.transfer.overflowed:
            self.outages.failed(what, "it returned, but has not delivered all that it was asked for, nor said what is missing")
        elif whole:
            self.outages.works(what)


def _half_way_to(end: float) -> float:
    now = trio.current_time()
    return now + (end - now) / 2


Hints = Callable[[PeerId, str], Sequence[str]]


def _nobody_told(peer: PeerId, whole: bool) -> None:
    """For whom it does not matter where blocks were found."""


@attrs.define
class Fetcher:
    """Fetches updates from the storages, in the order of the file. It reads no update of more than `tensors` tensors, and no longer meta.

    `tell` is told of each peer whether what was looked for by its hints has come.

    It does not wait for a silent storage if another one has the missing blocks.
    """

    storages: Sequence[ConfiguredStrategy[Storage]]
    services: Services
    hints: Hints
    log: FilteringBoundLogger
    encryption: Encryption = NO_ENCRYPTION
    tensors: int = MOST_TENSORS
    meta_bytes: int = MOST_META_BYTES
    tell: Callable[[PeerId, bool], None] = _nobody_told
    _storage_order: StorageOrder = attrs.field(factory=StorageOrder)

    async def fetch(self, announcement: Announcement, transfer: Transfer, decode_in: RunInThread = at_once) -> Content:
        """The content of an update. Raises UnavailableError, or UpdateRejectedError for bytes that are not what was announced."""
        update = announcement.body
        assert isinstance(update, Update)
        if update.bytes > transfer.limit:
            raise UpdateRejectedError("too-large", f"{update.bytes} bytes announced, {transfer.limit} expected at most")
        expected = announcement.peer, announcement.number, AnnouncementKind.UPDATE, update.codec, update.base

        def check(meta: Meta) -> None:
            if (meta.peer, meta.number, meta.kind, meta.codec, meta.base) != expected:
                raise UpdateRejectedError("not-the-announced", "the meta names another peer, kind, number, codec or base")

        return await self.fetch_root(update.root, announcement.peer, transfer, check, decode_in)

    async def fetch_root(
        self, root: Cid, peer: PeerId, transfer: Transfer, check: Callable[[Meta], None], decode_in: RunInThread = at_once
    ) -> Content:
        """What this root names. `check` looks at its meta before the data is fetched. Raises UnavailableError, UpdateRejectedError."""
        read, limits = self.reader(peer, transfer), Limits(transfer.limit, self.tensors, meta_bytes=self.meta_bytes)
        manifest = await Manifest.read(root, read, limits, self.encryption, decode_in=decode_in)
        check(manifest.meta)
        blocks = await read((*manifest.data_cids, *manifest.other_cids))
        return Content(manifest.meta, manifest.data_cids, blocks, self.encryption)

    def reader(self, peer: PeerId, transfer: Transfer) -> Read:
        async def read(cids: Sequence[Cid]) -> Mapping[Cid, bytes]:
            await self._get(peer, cids, transfer)
            return {cid: transfer.blocks[cid] for cid in cids}

        return read

    async def _get(self, peer: PeerId, cids: Sequence[Cid], transfer: Transfer) -> None:
        if missing := transfer.missing(cids):
            storages = [storage for storage in self.storages if self.services.is_open(storage)]
            reading = BlockReader(transfer, dict.fromkeys(missing), self.services.outages, self.log, self._storage_order)
            asked = [(storage, self.hints(peer, storage.name)) for storage in self._storage_order.order(storages, transfer)]
            try:
                await reading.run(asked)
            finally:  # also where its time is over
                self.tell(peer, not transfer.missing(cids))
        if transfer.overflowed:
            raise UpdateRejectedError("too-large", f"more than {transfer.limit} bytes came")
        if missing := transfer.missing(cids):
            raise UnavailableError(f"{len(missing)} of {len(set(cids))} blocks are nowhere to be had", missing)
