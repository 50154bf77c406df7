"""Fetches several updates at once, each until its own deadline, and keeps book on the peers that they came from (DESIGN 4, step 6)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import attrs
import trio

from learnae.errors import PluginError, Unavailable, UpdateRejected
from learnae.node.assembly import Assembly
from learnae.node.bench import OnTheBench
from learnae.node.choosing import update
from learnae.node.decoding import Decoder
from learnae.node.fetching import Fetcher
from learnae.node.history import PeerRecord
from learnae.node.inbox import Entry
from learnae.node.pace import Pace
from learnae.node.peers import Peers
from learnae.node.tally import Tally, stage_of
from learnae.node.transfer import Transfer
from learnae.records import TensorSpec
from learnae.strategies import RunInThread

LEAST_SHARE = 0.25
"""What was cut off counts as a quarter of the whole at least: the next deadline is longer, but not by any factor."""
CREDIBLE = 2
"""So many times its own size this peer believes at most, when it comes to how long an update may take."""
SILENT_SHARE = 0.75
"""Where nothing came at all, the next deadline is twice as long: most who are silent have vanished, and each try holds a round up."""


@attrs.frozen
class Obtained:
    """An update that is here, whole and checked; so long it took to come."""

    entry: Entry
    decoder: Decoder
    seconds: float = 0.0
    bytes: int = 0


@attrs.define
class Obtainer:
    """`limit` is the most bytes that an update of the own model can have, `own_bytes` is what the last one took."""

    fetcher: Fetcher
    assembly: Assembly
    specs: Mapping[str, TensorSpec]
    peers: Peers
    limit: int
    pace: Pace
    clock: Callable[[], float]
    in_thread: RunInThread
    on_fetched: Callable[[Entry, Transfer], None] | None = None
    on_tried: Callable[[Entry, bool], None] | None = None
    own_bytes: float = math.inf

    def believed(self, size: int) -> int:
        """Of an announced size, as much as may set deadlines."""
        return int(min(size, CREDIBLE * self.own_bytes))

    async def obtain_one(
        self, entry: Entry, tally: Tally, limit: trio.CancelScope, *, beside: bool = False, transfer: Transfer | None = None
    ) -> Obtained | None:
        """One, by its deadline or until `limit` is cancelled; None when nothing whole has come, which the tally tells.

        `beside`: no round waits for those that were never accepted, so they have the time that a slow line needs. `transfer` tells
        meanwhile what has come. Who is cancelled from outside was not waited for, and nothing is noted of the peer.
        """
        transfer, started = transfer or Transfer(self.limit), self.clock()
        known_speed = self.peers.get(entry.peer, again=entry.again).bytes_per_second
        seconds = self.pace.deadline_seconds(self.believed(update(entry).bytes), known_speed)
        generous = beside and not self.peers.trusts(entry.peer)
        limit.deadline = trio.current_time() + (max(seconds, self.pace.first_seconds) if generous else seconds)
        failure, obtained, blame = ("", ""), None, True
        with limit:
            try:
                obtained = await self._fetch(entry, transfer)
            except Unavailable as error:
                failure = ("fetch", str(error))
            except (UpdateRejected, PluginError) as error:
                failure, blame = (stage_of(error), str(error)), not isinstance(error, OnTheBench)
        took, record = self.clock() - started, self.peers.note(entry.peer, again=entry.again)
        record.last_tried = tally.round
        if limit.cancelled_caught:
            failure = ("fetch", f"nothing whole within {took:.2f} s")
        tally.fetched_bytes += transfer.bytes
        if self.on_tried:
            self.on_tried(entry, obtained is not None or failure[0] != "fetch" or transfer.bytes > 0)
        if obtained is None:
            if limit.cancelled_caught:
                self._guess(record, took, self.believed(update(entry).bytes), transfer.bytes)
            if blame:
                self.peers.failed(entry.peer, again=entry.again)
            tally.failed(entry, *failure)
            return None
        if self.peers.trusts(entry.peer):
            self.pace.transfer_took(took, transfer.bytes)
        _measure(record, took, transfer.bytes)
        self.peers.note(entry.peer).fetched_number = entry.announcement.number
        if self.on_fetched:
            self.on_fetched(entry, transfer)
        return attrs.evolve(obtained, seconds=took, bytes=transfer.bytes)

    def _guess(self, record: PeerRecord, seconds: float, size: int, came: int) -> None:
        """Of what was cut off: the next deadline is longer, also where nothing came, for a slow line may be silent until its end."""
        _measure(record, seconds, max(came, round((LEAST_SHARE if came else SILENT_SHARE) * size)))
        if not came and record.bytes_per_second is not None:
            record.bytes_per_second = max(record.bytes_per_second, self.pace.speed_of_silence(size))

    async def _fetch(self, entry: Entry, transfer: Transfer) -> Obtained:
        codec = await self.in_thread(self.assembly.codec_named, update(entry).codec)  # may be imported now
        content = await self.fetcher.fetch(entry.announcement, transfer)
        decoder = Decoder(content, codec, self.specs)
        await self.in_thread(decoder.check)
        return Obtained(entry, decoder)


def _measure(record: PeerRecord, seconds: float, size: int) -> None:
    if seconds > 0:
        record.bytes_per_second = size / seconds
