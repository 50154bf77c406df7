"""Root, meta, parts, then blocks, from whichever storage has them; every hash checked here, every size bounded (DESIGN 4, step 6)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import attrs

from learnae.content.limits import MOST_TENSORS
from learnae.content.seals import OPEN, Seal
from learnae.content.unpack import Content, Manifest, Read
from learnae.errors import Unavailable, UpdateRejected
from learnae.node.assembly import Named
from learnae.node.reading import Manners, Reading
from learnae.node.services import Services
from learnae.node.transfer import Transfer
from learnae.records import Announcement, Cid, Kind, PeerId, Update
from learnae.strategies import Storage

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

Hints = Callable[[PeerId, str], Sequence[str]]


@attrs.define
class Fetcher:
    """Reads blocks from the storages in the order of the file; of more than `tensors` tensors none is read.

    A storage that is silent is not waited for where another has what is missing.
    """

    storages: Sequence[Named[Storage]]
    services: Services
    hints: Hints
    log: FilteringBoundLogger
    seal: Seal = OPEN
    tensors: int = MOST_TENSORS
    _manners: Manners = attrs.field(factory=Manners)

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
        if missing := transfer.missing(cids):
            storages = [storage for storage in self.storages if self.services.is_open(storage)]
            reading = Reading(transfer, dict.fromkeys(missing), self.services.outages, self.log, self._manners)
            await reading.run([(storage, self.hints(peer, storage.name)) for storage in self._manners.order(storages, transfer)])
        if transfer.overflowed:
            raise UpdateRejected("too-large", f"more than {transfer.limit} bytes came")
        if missing := transfer.missing(cids):
            raise Unavailable(f"{len(missing)} of {len(set(cids))} blocks are nowhere to be had", missing)
