"""Root, meta, parts, then blocks, from whichever storage has them; every hash checked here, every size bounded (DESIGN 4, step 6)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import attrs

from learnae.content.cids import check
from learnae.content.unpack import Content, Manifest, Read
from learnae.errors import Unavailable, UpdateRejected
from learnae.node.assembly import Named
from learnae.plugins.calls import naming
from learnae.records import Announcement, Block, Cid, Kind, Octets, PeerId, Present, Update
from learnae.strategies import Storage

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger


@attrs.define
class Transfer:
    """What came of one update so far: also of one that was cut off, so that its speed is known."""

    bytes: int = 0
    blocks: dict[Cid, Octets] = attrs.field(factory=dict)


@attrs.define
class Fetcher:
    """Reads blocks from the storages in the order of the file."""

    storages: Sequence[Named[Storage]]
    present: Mapping[PeerId, Present]
    log: FilteringBoundLogger

    async def fetch(self, announcement: Announcement, limit: int, transfer: Transfer) -> Content:
        """The content of an update. Raises Unavailable, or UpdateRejected for bytes that are not what was announced."""
        update = announcement.body
        assert isinstance(update, Update)
        if update.bytes > limit:
            raise UpdateRejected("too-large", f"{update.bytes} bytes announced, {limit} expected at most")
        read = self.reader(announcement.peer, limit, transfer)
        manifest = await Manifest.read(update.root, read, limit)
        if (manifest.meta.peer, manifest.meta.number) != (announcement.peer, announcement.number) or manifest.meta.kind != Kind.UPDATE:
            raise UpdateRejected("not-the-announced", "the meta names another peer, kind or number")
        return Content(manifest.meta, manifest.data_cids, await read(manifest.data_cids))

    def reader(self, peer: PeerId, limit: int, transfer: Transfer) -> Read:
        async def read(cids: Sequence[Cid]) -> Mapping[Cid, bytes]:
            await self._get(peer, cids, limit, transfer)
            return {cid: transfer.blocks[cid] for cid in cids}

        return read

    async def _get(self, peer: PeerId, cids: Sequence[Cid], limit: int, transfer: Transfer) -> None:
        def deliver(block: Block) -> None:
            if block.cid not in wanted or block.cid in transfer.blocks:
                return
            if not check(block):
                self.log.warning("block.corrupt", cid=block.cid, peer=peer[:8])
                return
            transfer.bytes += len(block.data)
            if transfer.bytes > limit:
                raise UpdateRejected("too-large", f"more than {limit} bytes came")
            transfer.blocks[block.cid] = block.data

        wanted = set(cids)
        for storage in self.storages:
            missing = [cid for cid in dict.fromkeys(cids) if cid not in transfer.blocks]
            if not missing:
                return
            await self._get_from(storage, missing, deliver, self._hints(peer, storage.name))
        missing = [cid for cid in wanted if cid not in transfer.blocks]
        if missing:
            raise Unavailable(f"{len(missing)} of {len(wanted)} blocks are nowhere to be had", missing)

    async def _get_from(self, storage: Named[Storage], cids: Sequence[Cid], deliver: Callable[[Block], None], hints: Sequence[str]) -> None:
        try:
            with naming(storage.plugin, f"getting blocks by storage {storage.name!r}"):
                await storage.strategy.get(cids, deliver, hints=hints)
        except Unavailable as outage:
            self.log.debug("storage.unavailable", storage=storage.name, cause=str(outage))

    def _hints(self, peer: PeerId, storage: str) -> Sequence[str]:
        present = self.present.get(peer)
        return present.hints.get(storage, ()) if present else ()
