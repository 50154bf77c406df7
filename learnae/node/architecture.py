"""Another architecture under the same name: its meta is fetched once, and the first difference told (DESIGN 6)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import attrs
import trio

from learnae.content.signature import first_difference
from learnae.content.unpack import Manifest
from learnae.errors import LearnaeError
from learnae.node.choosing import update
from learnae.node.fetching import Fetcher
from learnae.node.inbox import Entry
from learnae.node.tally import Tally
from learnae.node.transfer import Transfer
from learnae.records import MEGABYTE, PeerId, TensorSpec

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

META_BYTES = 64 * MEGABYTE
SECONDS = 5.0
EXPLAINED = 64  # each may take seconds of a round, and identities cost nothing


@attrs.define
class Architectures:
    fetcher: Fetcher
    specs: Sequence[TensorSpec]
    largest_bytes: int
    log: FilteringBoundLogger
    _explained: dict[tuple[PeerId, bytes], str] = attrs.field(factory=dict)

    async def explain(self, strangers: Sequence[Entry], tally: Tally) -> None:
        """At most one a round, so that a crowd of strangers costs no more than one."""
        for entry in strangers:
            key = (entry.peer, update(entry).signature)
            if key not in self._explained and len(self._explained) < EXPLAINED:
                self._explained[key] = await self._difference(entry)
                tally.failed(entry, "architecture", self._explained[key])
                self.log.error("architecture.differs", peer=entry.peer[:8], first_difference=self._explained[key])
                return

    async def _difference(self, entry: Entry) -> str:
        transfer = Transfer(META_BYTES)
        with trio.move_on_after(SECONDS):
            try:
                read = self.fetcher.reader(entry.peer, transfer)
                manifest = await Manifest.read(update(entry).root, read, self.largest_bytes, self.fetcher.seal)
                theirs = [tensor.spec for tensor in manifest.meta.tensors]
                return first_difference(self.specs, theirs) or "the signatures differ, names and shapes do not"
            except LearnaeError as error:
                return f"another architecture; its meta could not be read: {error}"
        return "another architecture; its meta did not come in time"
