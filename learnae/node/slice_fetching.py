"""Fetches slices of others beside the rounds, checks them, and keeps them in the pool.

What becomes of each that was not kept is told by the next round, as it is of updates. A peer whose slices fail waits, longer each time.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TypeVar

import attrs
import trio

from learnae.config.tables import DataTable
from learnae.content.unpack import Content, Manifest
from learnae.data.fitting import Expected, fit
from learnae.data.pool import Pool, PoolAdmission
from learnae.data.pool_index import MOST_PROVIDERS, MOST_SLICES, PooledSlice, PoolIndex, mark_of, open_data
from learnae.data.slices import SLICE_LIMITS, SliceRows, open_slice
from learnae.data.trained_on import FILE as TOLD
from learnae.data.trained_on import TrainedOn, told
from learnae.data.worth import rows_by_label, worth
from learnae.errors import ConfigError, UnavailableError, UpdateRejectedError
from learnae.node.contributions import ServedRows
from learnae.node.fetching import Fetcher, Transfer
from learnae.node.inbox import InboxEntry
from learnae.node.obtaining import TransferPace
from learnae.node.rate_limits import TimeShare
from learnae.node.receive import Receiver
from learnae.node.reports import RoundRecord
from learnae.node.runtime import Runtime
from learnae.node.slice_catalogue import GiverRecord, GiverRecords, SliceCatalogue, SliceOffer, SliceOutcomes
from learnae.records import AnnouncementKind, Candidate, Cid, Leaving, PeerId, Slice

T = TypeVar("T")

LOOK_SECONDS = 5.0
REST_FOR_EACH_OFFER = 4e-4
"""Seconds between two looks at all offers, for each of them, which costs some 5 us of the loop: whatever strangers announce, and however
often, takes a fortieth of the time."""
MOST_SHOWN = 64  # to a selector
MOST_ORDERED = 64  # that a selector has chosen, and that were not fetched yet
OF_CLAIM = "announced"  # the announcement has lied, and the slice may be what another one says


@attrs.frozen
class _Need:
    """What this peer has: its own rows, and those in its pool."""

    trained_on: TrainedOn
    index: PoolIndex
    have: Mapping[str, int]
    by_root: Mapping[Cid, PooledSlice] = attrs.field(
        init=False, default=attrs.Factory(lambda self: {one.root: one for one in self.index.slices}, takes_self=True)
    )


@attrs.define
class SliceFetches:
    """Two fetches at once, of which one is for peers that have proved themselves: an update of theirs was merged, or a slice kept.

    Which offer is next: the one that is worth most for its bytes (`learnae.data.worth`), or what the selector has ordered, if it sees
    slices: `only_ordered`. Nothing is fetched that has no place in `accept_bytes`: full, it takes only what makes the shares of the
    providers more equal. Each root is fetched once in a run.
    """

    catalogue: SliceCatalogue
    pool: Pool
    fetcher: Fetcher
    receiver: Receiver
    pace: TransferPace
    rules: DataTable
    runtime: Runtime
    only_ordered: bool = False
    served: ServedRows = attrs.field(factory=ServedRows)  # since the last round
    _ordered: OrderedDict[tuple[PeerId, Cid], SliceOffer] = attrs.field(factory=OrderedDict)
    _records: GiverRecords = attrs.field(factory=GiverRecords)
    _outcomes: SliceOutcomes = attrs.field(factory=SliceOutcomes)
    _busy: set[Cid] = attrs.field(factory=set)
    _givers: dict[Cid, set[PeerId]] = attrs.field(factory=dict)  # to be noted, of slices in the pool
    _looked: tuple[tuple[object, object], _Need | None] = ((None, None), None)
    _news: trio.Event = attrs.field(factory=trio.Event)
    _strangers: TimeShare = attrs.field(
        default=attrs.Factory(lambda self: TimeShare(self.runtime.in_decoding_thread, self.runtime.clock), takes_self=True)
    )

    def hear(self, entry: InboxEntry) -> None:
        """Take in what a peer has announced."""
        if isinstance(entry.announcement.body, Slice):
            self.catalogue.hear(entry)
            self._note_giver(entry.peer, entry.announcement.body)
            self._news.set()
        elif isinstance(entry.announcement.body, Leaving) and not self.receiver.keepers.all():
            self.catalogue.forget(entry.peer)  # else a keeper may have what it gave

    def _note_giver(self, peer: PeerId, claim: Slice) -> None:
        """Of a slice in the pool. Only who has proved itself and says of it what is so: it costs nothing to announce a root."""
        need = self._looked[1]
        slice_ = need.by_root.get(claim.root) if need else None
        if slice_ is None or peer in slice_.providers or len(slice_.providers) >= MOST_PROVIDERS:
            return
        honest = claim.rows == slice_.rows and (not claim.labels or dict(claim.labels) == dict(slice_.labels))
        if honest and self._proved(peer) and not self._records.get(peer).failures and not self._shut_out(peer):
            self._givers.setdefault(claim.root, set()).add(peer)

    async def _note_givers(self) -> None:
        if self._givers:
            noted, self._givers = self._givers, {}
            await self._guarded(partial(self.pool.note, noted))

    async def run(self) -> None:
        """Until cancelled."""
        await self._guarded(self.pool.clean)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._keep_fetching, True)
            nursery.start_soon(self._keep_fetching, False)

    def tell(self, round_record: RoundRecord) -> None:
        """Let this round report what has happened since the last one."""
        round_record.fetched_bytes += self.served.bytes.total()
        round_record.served.add(self.served)
        round_record.slices += self._outcomes.take(round_record.round)
        self.served = ServedRows()

    async def _keep_fetching(self, proved_only: bool) -> None:
        while True:
            await trio.sleep(len(self.catalogue) * REST_FOR_EACH_OFFER)
            await self._note_givers()
            need = await self._guarded(self._look)
            self._tell_of_ranges(need)
            offer = self._choose(need, proved_only=proved_only) if need else None
            if need and offer:
                await self._fetch(offer, need)
                continue
            self._news = trio.Event() if self._news.is_set() else self._news
            with trio.move_on_after(LOOK_SECONDS):
                await self._news.wait()

    def _tell_of_ranges(self, need: _Need | None) -> None:
        """A range of a column that there is not refuses nothing: its user thinks that it does."""
        unknown = sorted(self.rules.ranges.keys() - need.trained_on.schema.by_name.keys()) if need else []
        if need and unknown:
            there = ", ".join(sorted(need.trained_on.schema.by_name))
            missing = f"no column of this peer's rows is called {', '.join(unknown)}"
            self.runtime.outages.failed("data.ranges", f"{missing}: such a range refuses nothing; there are {there}")
        elif need:
            self.runtime.outages.works("data.ranges")

    def _look(self) -> _Need | None:
        """Read again only what has changed. None before the trainer has told what it trains on."""
        marks = self._marks()
        if marks != self._looked[0]:
            self._looked = marks, self._read()
        return self._looked[1]

    def _marks(self) -> tuple[object, object]:
        try:
            with open_data(self.runtime.home, looking=True) as data:
                return mark_of(data), mark_of(data, TOLD)
        except FileNotFoundError:
            return None, None

    def _read(self) -> _Need | None:
        trained_on = told(self.runtime.home)
        if trained_on is None:
            return None
        index = self.pool.index()
        return _Need(trained_on, index, rows_by_label(trained_on.labels, *(one.labels for one in index.slices)))

    def candidates(self, round_seconds: float | None) -> list[tuple[Candidate, SliceOffer]]:
        """What a selector may choose of, the offers that are worth most, as they were when this peer last looked at its pool."""
        need = self._looked[1]
        if need is None:
            return []
        offers = (offer for offer in self._wanted(need) if (offer.peer, offer.slice.root) not in self._ordered)
        best = heapq.nlargest(MOST_SHOWN, offers, key=lambda offer: self._value(offer, need))
        return [(self._candidate(offer, round_seconds), offer) for offer in best]

    @property
    def have(self) -> Mapping[str, int]:
        """Rows by label, own ones and those of others."""
        return self._looked[1].have if self._looked[1] else {}

    def order(self, offers: Sequence[SliceOffer]) -> None:
        """Fetch these next, in this order. If there are too many, the oldest orders are forgotten."""
        for offer in offers:
            self._ordered[offer.peer, offer.slice.root] = offer
        while len(self._ordered) > MOST_ORDERED:
            self._ordered.popitem(last=False)
        if offers:
            self._news.set()

    def _choose(self, need: _Need, *, proved_only: bool) -> SliceOffer | None:
        wanted = (offer for offer in self._wanted(need) if self._proved(offer.peer) or not proved_only)
        if not self.only_ordered:
            return max(wanted, key=lambda offer: self._value(offer, need), default=None)
        there = {(offer.peer, offer.slice.root): offer for offer in wanted}
        place = next((place for place in self._ordered if place in there), None)
        if place is None:
            return None
        del self._ordered[place]
        return there[place]

    def _value(self, offer: SliceOffer, need: _Need) -> tuple[float, Cid]:
        return worth(offer.slice.rows, offer.slice.labels, offer.slice.bytes, need.have), offer.slice.root

    def _wanted(self, need: _Need) -> Iterator[SliceOffer]:
        """The offers that may be fetched now."""
        there, held = need.by_root, need.index.bytes_by_provider()
        room, most = self.rules.accept_bytes - need.index.bytes, max(held.values(), default=0)
        forgotten, now = set(need.index.forgotten), self.runtime.clock()
        counted = need.index.slices_by_provider() if len(there) >= MOST_SLICES else {}
        largest = max(counted.values(), default=0)
        for offer in self.catalogue.offers(need.trained_on.schema):
            root, peer, size = offer.slice.root, offer.peer, offer.slice.bytes
            known = root in there or self._outcomes.is_settled(root) or root in self._busy
            if known or peer in forgotten or self._shut_out(peer) or self._waits(offer, now):
                continue
            if counted and counted.get(peer, 0) + 1 >= largest:
                continue
            if size <= room or held.get(peer, 0) + size < most:
                yield offer

    def _waits(self, offer: SliceOffer, now: float) -> bool:
        """Whether slices of its giver have failed lately. Who was away with its updates too is back as soon as one of them is merged."""
        record = self._records.of(offer)
        back = record.away and not self.receiver.peers.get(offer.peer).failures
        return now < record.not_before and not back

    def _candidate(self, offer: SliceOffer, round_seconds: float | None) -> Candidate:
        record, slice_, about = self._records.of(offer), offer.slice, self.receiver.peers.get(offer.peer)
        return Candidate(
            peer=offer.peer,
            kind=AnnouncementKind.SLICE,
            bytes=slice_.bytes,
            age=0,
            staleness=(self.runtime.clock() - offer.heard_at) / round_seconds if round_seconds else 0.0,
            sketch=slice_.sketch,
            bytes_per_second=record.bytes_per_second,
            failures=record.failures,
            ever_accepted=about.ever_accepted,
            trust=about.trust,
            root=slice_.root,
            rows=slice_.rows,
            labels=slice_.labels,
        )

    def _shut_out(self, peer: PeerId) -> bool:
        return bool(self.receiver.admission.refuses(peer) or self.receiver.peers.get(peer).refused)

    def _proved(self, peer: PeerId) -> bool:
        return self.receiver.peers.trusts(peer) or self._records.proves(peer)

    async def _fetch(self, offer: SliceOffer, need: _Need) -> None:
        root, record = offer.slice.root, self._records.note(offer)
        transfer, began = Transfer(offer.slice.bytes), self.runtime.clock()
        self._busy.add(root)
        try:
            rows = await self._obtain(offer, need, transfer)
            admission = await self._guarded(partial(self.pool.add, root, rows, offer.peer))
        except UnavailableError as error:
            self._failed(offer, record, f"could not be fetched: {error}", missing=True)
        except UpdateRejectedError as error:
            if error.reason != OF_CLAIM and not transfer.overflowed:  # more came than was announced: others may have announced it right
                self._outcomes.settle(root)
            self._failed(offer, record, str(error))
        else:
            if admission is None:
                await trio.sleep(LOOK_SECONDS)  # the disk is full, or another process changes the pool: its giver has done nothing wrong
            else:
                self._outcomes.settle(root)
                self._kept(offer, record, admission)
        finally:
            self._busy.discard(root)
            self.served.bytes[offer.peer] += transfer.bytes
            if (took := self.runtime.clock() - began) > 0:
                record.bytes_per_second = max(1, transfer.bytes) / took

    async def _obtain(self, offer: SliceOffer, need: _Need, transfer: Transfer) -> SliceRows:
        decode_in = self.runtime.in_decoding_thread if self._proved(offer.peer) else self._strangers
        size, speed = offer.slice.bytes, self._records.of(offer).bytes_per_second
        with trio.move_on_after(max(self.pace.first_seconds, self.pace.deadline_seconds(size, speed))) as limit:
            read, encryption = self.fetcher.reader(offer.peer, transfer), self.fetcher.encryption
            manifest = await Manifest.read(offer.slice.root, read, SLICE_LIMITS, encryption, decode_in=decode_in)
            content = Content(manifest.meta, manifest.data_cids, await read(manifest.data_cids), encryption)
        if limit.cancelled_caught:
            raise UnavailableError("nothing whole came in time", [offer.slice.root])
        return await decode_in(self._opened, content, offer, need.trained_on)

    def _opened(self, content: Content, offer: SliceOffer, trained_on: TrainedOn) -> SliceRows:
        content.check()
        rows = open_slice(content, offer.slice)
        if not self.rules.licences and not rows.about.licence.strip():
            raise UpdateRejectedError("licence", "it names none")
        expected = Expected(
            schema=trained_on.schema,
            labels=trained_on.known_labels,
            ranges={name: pair for name, pair in self.rules.ranges.items() if name in trained_on.schema.by_name},
            licences=self.rules.licences or None,
        )
        return fit(rows, expected)

    def _kept(self, offer: SliceOffer, record: GiverRecord, admission: PoolAdmission) -> None:
        record.was_kept(admission.kept)
        self.served.rows[offer.peer] += offer.slice.rows if admission.kept else 0
        if not admission.kept:
            self._outcomes.refuse(offer, admission.reason)
        self.runtime.log.debug("slice.kept", peer=offer.peer[:8], root=offer.slice.root, rows=offer.slice.rows, kept=admission.kept)

    def _failed(self, offer: SliceOffer, record: GiverRecord, reason: str, *, missing: bool = False) -> None:
        record.failed(self.runtime.clock())
        record.away = missing and self.receiver.peers.get(offer.peer).failures > 0
        if not (missing and self._is_left(offer.peer)):
            self.catalogue.remove(offer)
        self._outcomes.refuse(offer, reason)

    def _is_left(self, peer: PeerId) -> bool:
        """Whether a keeper may still have what this peer gave: a repeated offer is heard once, so it stays until it is too old."""
        known = self.receiver.inbox.known.get(peer)
        return (known is None or known.silent) and bool(self.receiver.keepers.all())

    async def _guarded(self, function: Callable[[], T]) -> T | None:
        """Run it in a thread. None, and an outage, where what lies in the home cannot be used."""
        what = "the pool of rows of others"
        try:
            result = await self.runtime.in_thread(function)
        except (ConfigError, UnavailableError, OSError) as error:
            self.runtime.outages.failed(what, str(error))
            return None
        self.runtime.outages.works(what)
        return result
