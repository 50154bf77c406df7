"""Root, meta, parts, then blocks, from whichever storage has them; every hash checked here, every size bounded (DESIGN 4, step 6)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import attrs
import trio

from learnae.content.cids import check
from learnae.content.limits import MOST_TENSORS
from learnae.content.seals import OPEN, Seal
from learnae.content.unpack import Content, Manifest, Read
from learnae.errors import PluginError, Unavailable, UpdateRejected
from learnae.node.assembly import Named
from learnae.node.services import Services
from learnae.records import Announcement, Block, Cid, Kind, Octets, PeerId, Update
from learnae.strategies import Storage

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

Hints = Callable[[PeerId, str], Sequence[str]]


@attrs.define
class Transfer:
    """What came of one update so far: also of one that was cut off, so that its speed is known."""

    limit: int
    bytes: int = 0
    corrupt: int = 0
    overflowed: bool = False
    blocks: dict[Cid, Octets] = attrs.field(factory=dict)
    origin: str = ""  # the label of the storage that had the first block, the root; whoever has put that has put all

    def take(self, block: Block, source: str = "") -> None:
        """A block that is what it is named by, within the limit, once."""
        if block.cid in self.blocks:
            return
        if not check(block):
            self.corrupt += 1
        elif self.bytes + len(block.data) > self.limit:
            self.overflowed = True
        else:
            self.bytes += len(block.data)
            self.blocks[block.cid] = block.data
            self.origin = self.origin or source

    def missing(self, cids: Iterable[Cid]) -> list[Cid]:
        return [cid for cid in dict.fromkeys(cids) if cid not in self.blocks]


@attrs.define
class Fetcher:
    """Reads blocks from the storages in the order of the file; of more than `tensors` tensors none is read."""

    storages: Sequence[Named[Storage]]
    services: Services
    hints: Hints
    log: FilteringBoundLogger
    seal: Seal = OPEN
    tensors: int = MOST_TENSORS

    async def fetch(self, announcement: Announcement, transfer: Transfer) -> Content:
        """The content of an update. Raises Unavailable, or UpdateRejected for bytes that are not what was announced."""
        update = announcement.body
        assert isinstance(update, Update)
        if update.bytes > transfer.limit:
            raise UpdateRejected("too-large", f"{update.bytes} bytes announced, {transfer.limit} expected at most")
        read = self.reader(announcement.peer, transfer)
        manifest = await Manifest.read(update.root, read, transfer.limit, self.seal, tensors=self.tensors)
        if (manifest.meta.peer, manifest.meta.number) != (announcement.peer, announcement.number) or manifest.meta.kind != Kind.UPDATE:
            raise UpdateRejected("not-the-announced", "the meta names another peer, kind or number")
        return Content(manifest.meta, manifest.data_cids, await read(manifest.data_cids), self.seal)

    def reader(self, peer: PeerId, transfer: Transfer) -> Read:
        async def read(cids: Sequence[Cid]) -> Mapping[Cid, bytes]:
            await self._get(peer, cids, transfer)
            return {cid: transfer.blocks[cid] for cid in cids}

        return read

    async def _get(self, peer: PeerId, cids: Sequence[Cid], transfer: Transfer) -> None:
        storages = [storage for storage in self.storages if self.services.is_open(storage)]
        for storage in storages:
            if missing := transfer.missing(cids):
                await self._get_from(storage, missing, transfer, self.hints(peer, storage.name), last=storage is storages[-1])
        if missing := transfer.missing(cids):
            raise Unavailable(f"{len(missing)} of {len(set(cids))} blocks are nowhere to be had", missing)

    async def _get_from(
        self, storage: Named[Storage], cids: Sequence[Cid], transfer: Transfer, hints: Sequence[str], *, last: bool
    ) -> None:
        """What this storage has of it. One that is silent for half of the time that is left leaves the rest to the next one."""
        end, wanted, corrupt = trio.current_effective_deadline(), set(cids), transfer.corrupt

        def deliver(block: Block) -> None:
            if block.cid in wanted:
                transfer.take(block, storage.label)
                scope.deadline = end if last else _half_way_to(end)
            if transfer.overflowed:
                scope.cancel()

        delivered_all = False
        with trio.CancelScope(deadline=end if last else _half_way_to(end)) as scope:
            delivered_all = await self._call(storage, cids, deliver, hints, end - trio.current_time())
        if transfer.overflowed:
            raise UpdateRejected("too-large", f"more than {transfer.limit} bytes came")
        if transfer.corrupt > corrupt:
            self.services.outages.failed(f"reading {storage.label}", "it delivers blocks that are not what they are named by")
        elif delivered_all:
            self.services.outages.works(f"reading {storage.label}")

    async def _call(
        self, storage: Named[Storage], cids: Sequence[Cid], deliver: Callable[[Block], None], hints: Sequence[str], within: float
    ) -> bool:
        try:
            with storage.calling(f"getting blocks from {storage.label}", within=within):
                await storage.strategy.get(cids, deliver, hints=hints)
        except Unavailable as outage:
            self.log.debug("storage.unavailable", storage=storage.label, cause=str(outage))
        except PluginError as error:
            self.services.outages.failed(f"reading {storage.label}", str(error))
        else:
            return True
        return False


def _half_way_to(end: float) -> float:
    now = trio.current_time()
    return now + (end - now) / 2
