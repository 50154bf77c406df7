"""Fetches several updates at once, each until its own deadline, and keeps book on the peers that they came from (DESIGN 4, step 6)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import attrs
import trio

from learnae.errors import PluginError, Unavailable, UpdateRejected
from learnae.node.assembly import Assembly
from learnae.node.choosing import update
from learnae.node.decoding import Decoder
from learnae.node.fetching import Fetcher, Transfer
from learnae.node.history import PeerRecord
from learnae.node.inbox import Entry
from learnae.node.pace import Pace
from learnae.node.tally import Tally
from learnae.plugins.calls import naming
from learnae.records import PeerId, TensorSpec
from learnae.strategies import RunInThread


@attrs.frozen
class Obtained:
    """An update that is here, whole and checked."""

    entry: Entry
    decoder: Decoder


@attrs.define
class Obtainer:
    """`limit` is the most bytes that an update of the own model can have."""

    fetcher: Fetcher
    assembly: Assembly
    specs: Mapping[str, TensorSpec]
    peers: dict[PeerId, PeerRecord]
    limit: int
    pace: Pace
    clock: Callable[[], float]
    in_thread: RunInThread

    async def obtain(self, entries: Sequence[Entry], tally: Tally) -> list[Obtained]:
        """What has arrived by its deadline, in the order of `entries`."""
        arrived: dict[PeerId, Obtained] = {}

        async def one(entry: Entry) -> None:
            obtained = await self._obtain_one(entry, tally)
            if obtained is not None:
                arrived[entry.peer] = obtained

        async with trio.open_nursery() as nursery:
            for entry in entries:
                nursery.start_soon(one, entry)
        return [arrived[entry.peer] for entry in entries if entry.peer in arrived]

    async def _obtain_one(self, entry: Entry, tally: Tally) -> Obtained | None:
        record, transfer, started = self._tried(entry, tally), Transfer(), self.clock()
        seconds = self.pace.deadline_seconds(update(entry).bytes)
        failure = ("fetch", f"nothing whole within {seconds:.2f} s")
        obtained = None
        with trio.move_on_after(seconds):
            try:
                obtained = await self._fetch(entry, transfer)
            except Unavailable as error:
                failure = ("fetch", str(error))
            except (UpdateRejected, PluginError) as error:
                failure = ("decode", str(error))
        self._took(record, self.clock() - started, transfer, tally)
        if obtained is None:
            record.failures += 1
            tally.failed(entry, *failure)
            return None
        record.fetched_number = entry.announcement.number
        return obtained

    async def _fetch(self, entry: Entry, transfer: Transfer) -> Obtained:
        codec = self.assembly.codec_named(update(entry).codec)
        content = await self.fetcher.fetch(entry.announcement, self.limit, transfer)
        decoder = Decoder(content, codec, self.specs)
        with naming(update(entry).codec, "checking what it shall decode"):
            await self.in_thread(decoder.check)
        return Obtained(entry, decoder)

    def _tried(self, entry: Entry, tally: Tally) -> PeerRecord:
        record = self.peers.setdefault(entry.peer, PeerRecord())
        record.last_tried = tally.round
        return record

    def _took(self, record: PeerRecord, seconds: float, transfer: Transfer, tally: Tally) -> None:
        tally.fetched_bytes += transfer.bytes
        if transfer.bytes:
            self.pace.transfer_took(seconds, transfer.bytes)
            record.bytes_per_second = transfer.bytes / seconds if seconds > 0 else None
