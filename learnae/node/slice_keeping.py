"""Fetches slices that others give, keeps them, and offers them once more, as their givers have signed it, when these have gone.

A keeper trains on nothing, so it has no schema: it looks at what can be told without one. It gives on what was given under a licence
(docs/decisions/0058).
"""

from __future__ import annotations

from collections import OrderedDict, deque

import attrs
import trio

from learnae.content.unpack import Content, Manifest
from learnae.data.slices import SLICE_LIMITS, open_slice
from learnae.errors import UnavailableError, UpdateRejectedError
from learnae.node.fetching import Fetcher, Transfer
from learnae.node.inbox import InboxEntry
from learnae.node.kept import KeptSlice, KeptSlices, KeptSliceTable, reopened
from learnae.node.rate_limits import TimeShare
from learnae.node.relay import MessageRelays
from learnae.node.reports import RoundRecord
from learnae.node.sending import Sender
from learnae.node.sharing import LEAST_SECONDS
from learnae.node.slice_catalogue import KNOWN_FOR_SECONDS, GiverRecords, SliceCatalogue, SliceOffer, SliceOutcomes
from learnae.node.slice_fetching import LOOK_SECONDS, OF_CLAIM, REST_FOR_EACH_OFFER
from learnae.records import Block, Cid, PeerId, Slice

SLOWEST_BYTES_PER_SECOND = 50_000
MOST_LOOKED_AT = 16  # whether there is room for them, at once
TEND_SECONDS = 30.0
FIRST_REPEAT_SECONDS, REPEAT_SECONDS = 10.0, 300.0
GIVERS_AT_ONCE = 32
"""Of so many givers one offer each is repeated in `LEAST_SECONDS`, as fast as they would themselves: media may show the last one alone."""

_WHAT, _KEEPING = "history", "keeping rows"


@attrs.define
class SliceKeeping:
    """Two fetches at once, of which one is for peers that have proved themselves. It contains the roots that stay in the storages.

    `licences` are those under which rows are kept; none named: any that is said.
    """

    kept: KeptSlices
    table: KeptSliceTable
    catalogue: SliceCatalogue
    fetcher: Fetcher
    sender: Sender
    relays: MessageRelays
    first_seconds: float
    licences: tuple[str, ...]
    _fetched_bytes: int = 0  # since the last report
    _records: GiverRecords = attrs.field(factory=GiverRecords)
    _outcomes: SliceOutcomes = attrs.field(factory=SliceOutcomes)
    _busy: set[Cid] = attrs.field(factory=set)
    _said_again: set[Cid] = attrs.field(factory=set)  # since the table was written
    _news: trio.Event = attrs.field(factory=trio.Event)
    _storing: trio.Lock = attrs.field(factory=trio.Lock)
    _strangers: TimeShare = attrs.field(
        default=attrs.Factory(lambda self: TimeShare(self.sender.runtime.in_decoding_thread, self._clock), takes_self=True)
    )

    def __contains__(self, root: object) -> bool:
        return root in self.kept or root in self._busy

    def hear(self, entry: InboxEntry) -> None:
        """Take in a live announcement of another peer."""
        body, number = entry.announcement.body, entry.announcement.number
        if not isinstance(body, Slice):
            return
        self.catalogue.hear(entry)
        item = self.kept.items.get(body.root)
        if item is not None and item.peer == entry.peer and number > item.number:
            self.kept.items[body.root] = attrs.evolve(item, number=number, unsaid=0.0, message=entry.message)
            self._said_again.add(body.root)
        self._news.set()

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Until cancelled. It has started when it knows what an earlier run has kept."""
        for item in await self.sender.runtime.in_thread(self.table.rows):
            if reopened(item.message, self.sender.swarm) is None:  # it does not fit the swarm any more
                await self.sender.runtime.in_thread(self.table.remove, item.root)
            else:
                self.kept.items[item.root] = item
        task_status.started()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._keep_fetching, True)
            nursery.start_soon(self._keep_fetching, False)
            nursery.start_soon(self._keep_tending)
            nursery.start_soon(self._keep_repeating)

    def tell(self, record: RoundRecord) -> None:
        """Let this report say what has happened since the last one."""
        record.fetched_bytes += self._fetched_bytes
        record.slices += self._outcomes.take(record.round)
        self._fetched_bytes = 0

    async def _keep_fetching(self, proved_only: bool) -> None:
        while True:
            await trio.sleep(max(0.1, len(self.catalogue) * REST_FOR_EACH_OFFER))
            self._news = trio.Event() if self._news.is_set() else self._news
            if (offer := self._next(proved_only=proved_only)) is not None:
                if not await self._fetch(offer):
                    await trio.sleep(LOOK_SECONDS)  # this peer itself cannot store it: its giver has done nothing wrong
                continue
            with trio.move_on_after(LOOK_SECONDS):
                await self._news.wait()

    def _next(self, *, proved_only: bool) -> SliceOffer | None:
        """An offer of the giver with the highest rank, and of these of the one of which least is kept; if there is room for it."""
        now, held = self._clock(), self.kept.bytes_by_giver()
        wanted = [
            offer
            for offer in self.catalogue.offers()
            if offer.slice.root not in self.kept
            and not self._outcomes.is_settled(offer.slice.root)
            and offer.slice.root not in self._busy
            and self._records.of(offer).not_before <= now
            and not self._shut_out(offer.peer)
            and (self._proved(offer.peer) or not proved_only)
        ]
        wanted.sort(key=lambda offer: (-self.kept.rank(offer.peer), held[offer.peer], offer.heard_at))
        fitting = (offer for offer in wanted[:MOST_LOOKED_AT] if self.kept.to_drop(offer.peer, offer.slice.bytes) is not None)
        return next(fitting, None)

    async def _fetch(self, offer: SliceOffer) -> bool:
        """Fetch and keep this slice, or note why not. Returns False where this peer could not store it."""
        root, transfer, stored = offer.slice.root, Transfer(offer.slice.bytes), True
        self._busy.add(root)
        try:
            with trio.move_on_after(max(self.first_seconds, offer.slice.bytes / SLOWEST_BYTES_PER_SECOND)) as whole:
                await self._obtain(offer, transfer)
            if whole.cancelled_caught:
                raise UnavailableError("nothing whole came in time", [root])
        except UnavailableError as error:
            self._failed(offer, f"could not be fetched: {error}")
        except UpdateRejectedError as error:
            if error.reason != OF_CLAIM and not transfer.overflowed:  # else another peer may have announced it right
                self._outcomes.settle(root)
            self._failed(offer, str(error))
        else:
            if stored := await self._keep(offer, transfer):
                self._records.note(offer).was_kept()
        finally:
            self._busy.discard(root)
            self._fetched_bytes += transfer.bytes
        return stored

    async def _obtain(self, offer: SliceOffer, transfer: Transfer) -> None:
        """All blocks of this slice, checked."""
        decode_in = self.sender.runtime.in_decoding_thread if self._proved(offer.peer) else self._strangers
        read, encryption = self.fetcher.reader(offer.peer, transfer), self.fetcher.encryption
        manifest = await Manifest.read(offer.slice.root, read, SLICE_LIMITS, encryption, decode_in=decode_in)
        content = Content(manifest.meta, manifest.data_cids, await read(manifest.data_cids), encryption)
        await decode_in(self._check, content, offer.slice)

    def _check(self, content: Content, announced: Slice) -> None:
        """All that a slice says of itself, and that its licence is one that is accepted here."""
        content.check()
        licence = open_slice(content, announced).about.licence
        if not licence.strip():
            raise UpdateRejectedError("licence", "it names none")
        if self.licences and licence not in self.licences:
            raise UpdateRejectedError("licence", f"{licence!r} is none of those in data.licences")

    async def _keep(self, offer: SliceOffer, transfer: Transfer) -> bool:
        """Store it here, and then drop what gives way to it. Returns False where it could not, which is an outage of this peer."""
        async with self._storing:
            drop = self.kept.to_drop(offer.peer, transfer.bytes)
            if drop is None:
                return True  # another one has taken its place meanwhile
            root, blocks = offer.slice.root, [Block(cid, data) for cid, data in transfer.blocks.items()]
            item = KeptSlice(root, offer.peer, offer.number, transfer.bytes, 0.0, offer.message)
            try:
                if not await self.sender.put(root, blocks, self.sender.strategies.storages):
                    raise UnavailableError("no storage that this peer writes to takes it")
                await self.sender.runtime.in_thread(self.table.add, item)
                self.kept.items[root] = item
                for old in drop:
                    await self._drop(old)
            except UnavailableError as error:
                self.sender.runtime.outages.failed(_KEEPING, f"what was fetched cannot be stored here: {error}")
                return root in self.kept
        self.sender.runtime.outages.works(_KEEPING)
        return True

    async def _drop(self, item: KeptSlice) -> None:
        await self.sender.runtime.in_thread(self.table.remove, item.root)
        self.kept.items.pop(item.root, None)
        await self.sender.drop(item.root)

    async def _keep_tending(self) -> None:
        """Drop what its giver gives no more, and what is of peers that are not heard any more by the file; save what was said again."""
        while True:
            await trio.sleep(TEND_SECONDS)
            async with self._storing:
                try:
                    await self._tend()
                except UnavailableError as error:
                    self.sender.runtime.outages.failed(_WHAT, str(error))
                else:
                    self.sender.runtime.outages.works(_WHAT)

    async def _tend(self) -> None:
        changed, self._said_again = self._said_again, set()
        for item in list(self.kept.items.values()):
            if self._is_here(item.peer):
                item = self.kept.items[item.root] = attrs.evolve(item, unsaid=item.unsaid + TEND_SECONDS)
                changed.add(item.root)
            if item.unsaid > KNOWN_FOR_SECONDS or self._shut_out(item.peer):
                await self._drop(item)
        try:
            await self.sender.runtime.in_thread(self.table.change, [self.kept.items[root] for root in changed if root in self.kept])
        except UnavailableError:
            self._said_again |= changed
            raise

    async def _keep_repeating(self) -> None:
        """Offer what is kept of givers that are not heard any more, now and then, and when somebody has come."""
        await trio.sleep(FIRST_REPEAT_SECONDS)
        while True:
            there, until = self._there(), self._clock() + REPEAT_SECONDS
            await self._repeat_all()
            await trio.sleep(LEAST_SECONDS)
            while self._clock() < until and self._there() <= there:  # noqa: ASYNC110  # peers fall silent and come back by what is heard
                await trio.sleep(LEAST_SECONDS)

    async def _repeat_all(self) -> None:
        waiting: OrderedDict[PeerId, deque[KeptSlice]] = OrderedDict()
        for item in sorted(self.kept.items.values(), key=lambda item: item.number):
            waiting.setdefault(item.peer, deque()).append(item)
        while waiting:
            for peer in list(waiting)[:GIVERS_AT_ONCE]:
                self._repeat(waiting[peer].popleft().root)
                if not waiting[peer] or self._is_here(peer):
                    del waiting[peer]
            await trio.sleep(LEAST_SECONDS)

    def _repeat(self, root: Cid) -> None:
        item = self.kept.items.get(root)
        announcement = reopened(item.message, self.sender.swarm) if item is not None and not self._is_here(item.peer) else None
        if item is not None and announcement is not None:
            entry = InboxEntry(announcement, b"", item.message, self._clock(), 0, backlog=True)
            self.relays.repeat(entry, unless_newer=False)  # one of several that have the same place

    def _there(self) -> set[PeerId]:
        return {peer for peer, known in self.sender.receiver.inbox.known.items() if not known.silent}

    def _is_here(self, peer: PeerId) -> bool:
        known = self.sender.receiver.inbox.known.get(peer)
        return known is not None and not known.silent

    def _shut_out(self, peer: PeerId) -> bool:
        return bool(self.sender.receiver.admission.refuses(peer) or self.sender.receiver.peers.get(peer).refused)

    def _proved(self, peer: PeerId) -> bool:
        return self.kept.rank(peer) > 0 or self._records.proves(peer)

    def _failed(self, offer: SliceOffer, reason: str) -> None:
        self._records.note(offer).failed(self._clock())
        self._outcomes.refuse(offer, reason)

    def _clock(self) -> float:
        return self.sender.runtime.clock()
