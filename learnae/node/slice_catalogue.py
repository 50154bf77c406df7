"""Which slices others offer, within bounds.

Nothing here was fetched yet: rows and labels are what the announcements claim.
"""

from __future__ import annotations

import heapq
import math
from collections import OrderedDict
from collections.abc import Callable, Iterator

import attrs

from learnae.data.schema import MOST_ROWS, Schema
from learnae.data.slices import SLICE_LIMITS
from learnae.node.inbox import InboxEntry
from learnae.node.reports import REASON_CHARACTERS, SLICE
from learnae.observations import UpdateVerdict
from learnae.records import Cid, Octets, PeerId, Slice

MOST_OFFERS = 4096
REMEMBERED = 4096  # roots that were fetched or refused, and peers that failed
MOST_TOLD = 64  # in one round
KNOWN_FOR_SECONDS = 3600.0
"""So long after it was announced last, an offer is forgotten."""


@attrs.frozen
class SliceOffer:
    """One slice, as one peer has announced it last, and when that was heard. Peers that offer the same root have an offer each.

    `message` is the announcement as that peer has signed it. `overtaken` means that a newer one of that peer was heard before: a keeper
    may have repeated it, or anybody else, long after its peer has given something else.
    """

    peer: PeerId
    number: int
    slice: Slice
    heard_at: float
    message: Octets = b""
    overtaken: bool = False


WAIT_SECONDS = 30.0
"""How long a peer waits whose slice has failed; twice as long with each further failure in a row, up to an hour."""
LONGEST_WAIT_SECONDS = 3600.0


@attrs.define
class GiverRecord:
    """How the slices of one peer have turned out in this run."""

    kept: int = 0
    failures: int = 0  # in a row
    not_before: float = -math.inf  # on the node's clock
    away: bool = False  # when its slice could not be had last, neither could its update
    bytes_per_second: float | None = None

    def was_kept(self, count: int = 1) -> None:
        self.kept, self.failures = self.kept + count, 0

    def failed(self, now: float) -> None:
        self.failures += 1
        self.not_before = now + min(LONGEST_WAIT_SECONDS, WAIT_SECONDS * 2.0 ** (min(self.failures, 16) - 1))


@attrs.define
class GiverRecords:
    """Those of the peers that were fetched from last. Of offers that were overtaken they are kept apart.

    Anybody can repeat what a peer gave long ago: whether that can be had says nothing of what it gives now.
    """

    _records: OrderedDict[tuple[PeerId, bool], GiverRecord] = attrs.field(factory=OrderedDict)

    def get(self, peer: PeerId, *, overtaken: bool = False) -> GiverRecord:
        """To be read."""
        return self._records.get((peer, overtaken)) or GiverRecord()

    def of(self, offer: SliceOffer) -> GiverRecord:
        """That of its giver, for such offers, to be read."""
        return self.get(offer.peer, overtaken=offer.overtaken)

    def note(self, offer: SliceOffer) -> GiverRecord:
        """The same, to be changed."""
        key = offer.peer, offer.overtaken
        record = self._records.setdefault(key, GiverRecord())
        self._records.move_to_end(key)
        if len(self._records) > 2 * REMEMBERED:
            self._records.popitem(last=False)
        return record

    def proves(self, peer: PeerId) -> bool:
        """Whether a slice of this peer was kept, and none has failed since that it offers itself."""
        kept = self.get(peer).kept + self.get(peer, overtaken=True).kept
        return kept > 0 and not self.get(peer).failures


@attrs.define
class SliceOutcomes:
    """What became of offers since the last report, and the roots that are not fetched again in this run."""

    _verdicts: list[UpdateVerdict] = attrs.field(factory=list)
    _settled: OrderedDict[Cid, None] = attrs.field(factory=OrderedDict)

    def refuse(self, offer: SliceOffer, reason: str) -> None:
        """Tell why it was not taken. Of very many in one round the rest is not told."""
        if len(self._verdicts) < MOST_TOLD:
            verdict = UpdateVerdict(
                round=0,
                peer=offer.peer,
                number=offer.number,
                root=offer.slice.root,
                merged=False,
                weight=0.0,
                scale=1.0,
                stage=SLICE,
                reason=reason[:REASON_CHARACTERS],
            )
            self._verdicts.append(verdict)

    def take(self, round_: int) -> list[UpdateVerdict]:
        """The verdicts since the last call, as those of this round."""
        taken, self._verdicts = self._verdicts, []
        return [attrs.evolve(verdict, round=round_) for verdict in taken]

    def settle(self, root: Cid) -> None:
        self._settled[root] = None
        if len(self._settled) > REMEMBERED:
            self._settled.popitem(last=False)

    def is_settled(self, root: Cid) -> bool:
        return root in self._settled


@attrs.define
class SliceCatalogue:
    """The offers of all peers. If there are too many, the oldest goes of the peer that has most.

    It goes from strangers first: who sends much displaces itself, and no stranger displaces a peer of which an update was merged.
    """

    trusted: Callable[[PeerId], bool]
    clock: Callable[[], float]
    _offers: dict[PeerId, OrderedDict[Cid, SliceOffer]] = attrs.field(factory=dict)
    _count: int = 0
    _newest: OrderedDict[PeerId, int] = attrs.field(factory=OrderedDict)  # the highest number of each that was heard lately

    def hear(self, entry: InboxEntry) -> None:
        """Note an announcement of a slice, which the receiver has taken."""
        body = entry.announcement.body
        assert isinstance(body, Slice)
        number, overtaken = entry.announcement.number, self._note_number(entry)
        offers = self._offers.get(entry.peer, OrderedDict())
        if not _possible(body) or (body.root in offers and offers[body.root].number > number):
            return
        self._offers[entry.peer] = offers
        self._count += body.root not in offers
        offers[body.root] = SliceOffer(entry.peer, number, body, self.clock(), entry.message, overtaken)
        offers.move_to_end(body.root)
        if self._count > MOST_OFFERS:
            self._make_room()

    def _note_number(self, entry: InboxEntry) -> bool:
        """Whether a newer offer of that peer was heard before."""
        number, newest = entry.announcement.number, self._newest.pop(entry.peer, -1)
        self._newest[entry.peer] = max(number, newest)
        if len(self._newest) > REMEMBERED:
            self._newest.popitem(last=False)
        return number < newest

    def forget(self, peer: PeerId) -> None:
        """It has left, or is not heard any more."""
        self._count -= len(self._offers.pop(peer, ()))

    def remove(self, offer: SliceOffer) -> None:
        """This peer does not have it, or has said of it what is not so."""
        offers = self._offers.get(offer.peer)
        if offers is not None and offers.pop(offer.slice.root, None) is not None:
            self._count -= 1
            if not offers:
                del self._offers[offer.peer]

    def offers(self, schema: Schema | None = None) -> Iterator[SliceOffer]:
        """Those of this schema, or of any, that were announced lately."""
        now = self.clock()
        for peer in list(self._offers):
            while peer in self._offers and now - next(iter(self._offers[peer].values())).heard_at > KNOWN_FOR_SECONDS:
                self._remove_oldest(peer)
            yield from (offer for offer in list(self._offers.get(peer, {}).values()) if _fits(offer.slice, schema))

    def __len__(self) -> int:
        return self._count

    def _make_room(self) -> None:
        """A few go at once: to find out who has most takes a look at all peers."""
        by_size = [(self.trusted(peer), -len(offers), peer) for peer, offers in self._offers.items()]
        heapq.heapify(by_size)
        for _ in range(1 + MOST_OFFERS // 64):
            trusted, size, peer = heapq.heappop(by_size)
            self._remove_oldest(peer)
            if size < -1:
                heapq.heappush(by_size, (trusted, size + 1, peer))

    def _remove_oldest(self, peer: PeerId) -> None:
        self.remove(next(iter(self._offers[peer].values())))


def _possible(body: Slice) -> bool:
    """Whether any slice could be as this one claims to be."""
    return (
        1 <= body.rows <= MOST_ROWS
        and 1 <= body.bytes <= SLICE_LIMITS.bytes
        and (not body.labels or sum(body.labels.values()) == body.rows)
    )


def _fits(body: Slice, schema: Schema | None) -> bool:
    return schema is None or (body.schema == schema.digest and body.rows * schema.row_bytes <= body.bytes)
