"""Peers that train another architecture under the same name: their meta is fetched once, and the first difference is logged."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence

import attrs
import trio

from learnae.content.meta import Limits, first_difference
from learnae.content.unpack import Manifest
from learnae.errors import LearnaeError
from learnae.node.fetching import Fetcher, Transfer
from learnae.node.inbox import InboxEntry
from learnae.node.reports import RoundRecord
from learnae.node.runtime import Runtime
from learnae.records import BLOCK_BYTES, PeerId, TensorSpec
from learnae.waiting import RunInThread

SECONDS = 5.0
WAIT_SECONDS = 60.0  # from one look to the next
EAGER = 8  # looks that wait no longer; from then on each wait is twice as long as the one before, since identities cost nothing
LONGEST_WAIT_SECONDS = 600.0
REMEMBERED = 1024
SMALL_BYTES = BLOCK_BYTES  # of a meta, some 5,000 tensors; a longer one is read only where the own model has as long a one


@attrs.define
class Architectures:
    """Looks at one peer at a time, beside the rounds, and at each peer once, whatever else it announces. A round reports the result.

    `largest_bytes` bounds the size that an update of such a peer may announce. `decode_in` is the thread that decodes its meta.
    """

    fetcher: Fetcher
    specs: Sequence[TensorSpec]
    largest_bytes: int
    decode_in: RunInThread
    runtime: Runtime
    _asked: InboxEntry | None = None
    _answer: str = ""
    _news: trio.Event = attrs.field(factory=trio.Event)
    _looks: int = 0
    _not_before: float = -math.inf
    _told: OrderedDict[PeerId, None] = attrs.field(factory=OrderedDict)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._news.wait()
            self._news = trio.Event()
            if self._asked is not None:
                self._answer = await self._difference(self._asked)

    def explain(self, strangers: Sequence[InboxEntry], round_record: RoundRecord) -> None:
        """Report what the last look has found, and begin the next look if one is due."""
        if self._asked is not None and self._answer:
            self._tell(self._asked, round_record)
            self._asked, self._answer = None, ""
        if self._asked is None and self.runtime.clock() >= self._not_before:
            self._asked = next((entry for entry in strangers if entry.peer not in self._told), None)
            if self._asked is not None:
                self._news.set()

    def _tell(self, entry: InboxEntry, round_record: RoundRecord) -> None:
        self._told[entry.peer] = None
        if len(self._told) > REMEMBERED:
            self._told.popitem(last=False)
        self._looks += 1
        self._not_before = self.runtime.clock() + self._wait_seconds
        round_record.failed(entry, "architecture", self._answer)
        self.runtime.log.warning("architecture.differs", peer=entry.peer[:8], first_difference=self._answer)

    @property
    def _wait_seconds(self) -> float:
        return min(LONGEST_WAIT_SECONDS, WAIT_SECONDS * 2.0 ** min(max(0, self._looks - EAGER), 32))

    async def _difference(self, entry: InboxEntry) -> str:
        limits = Limits(self.largest_bytes, meta_bytes=max(SMALL_BYTES, self.fetcher.meta_bytes))
        transfer = Transfer(2 * limits.meta_bytes)  # with a root and parts
        with trio.move_on_after(SECONDS):
            try:
                read = self.fetcher.reader(entry.peer, transfer)
                manifest = await Manifest.read(entry.update.root, read, limits, self.fetcher.encryption, decode_in=self.decode_in)
                theirs = [tensor.spec for tensor in manifest.meta.tensors]
                return first_difference(self.specs, theirs) or "the signatures differ, names and shapes do not"
            except LearnaeError as error:
                return f"another architecture; its meta could not be read: {error}"
        return "another architecture; its meta did not come in time"
