"""Updates of others that were fetched whole from one storage, put as they are into the others, for peers that read only those."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence

import attrs
import trio

from learnae.node.assembly import Named
from learnae.node.choosing import update
from learnae.node.inbox import Entry, Inbox
from learnae.node.keeping import Keeping
from learnae.node.pace import Pace
from learnae.node.peers import Peers
from learnae.node.publishing import Publisher
from learnae.node.transfer import Transfer
from learnae.records import Block, Cid, Kind, PeerId
from learnae.strategies import Storage

NEWEST = 2  # of each peer: while others hear of the last one, the one before is still fetched
LONGEST = 4  # of each peer beside them: those that have been there longest, so that slow readers get something whole


@attrs.frozen
class Carried:
    """An update of another peer that this one keeps in storages where its owner has not put it."""

    root: Cid
    peer: PeerId
    number: int
    bytes: int
    since: float


@attrs.define
class Carrying:
    """At most `most` updates wait in memory. In the quota, what is kept of the own ones comes first."""

    publisher: Publisher
    keeping: Keeping
    inbox: Inbox
    peers: Peers
    pace: Pace
    most: int
    clock: Callable[[], float]
    carried: dict[Cid, Carried] = attrs.field(factory=dict)
    _waiting: OrderedDict[PeerId, tuple[Entry, Transfer]] = attrs.field(factory=OrderedDict)
    _news: trio.Event = attrs.field(factory=trio.Event)

    @property
    def needed(self) -> bool:
        """Whether what lies in one storage may be missing in another that this peer writes to."""
        storages = self.publisher.assembly.storages
        return len(storages) > 1 and any(storage.writes for storage in storages)

    def add(self, entry: Entry, transfer: Transfer) -> None:
        """In the place of an older one of the same peer. Of too many, the one that was fetched first is left out."""
        self._waiting.pop(entry.peer, None)
        self._waiting[entry.peer] = entry, transfer
        if len(self._waiting) > self.most:
            self._waiting.popitem(last=False)
        self._news.set()

    async def run(self, done: Callable[[Entry], None]) -> None:
        """Until cancelled; `done` is told what can be had elsewhere too."""
        while True:
            await self._news.wait()
            if not self._waiting:
                self._news = trio.Event()
                continue
            entry, transfer = self._waiting.popitem(last=False)[1]
            if await self._carry(entry, transfer) and self.still_there(entry):
                done(entry)

    def still_there(self, entry: Entry) -> bool:
        """Whether its peer has neither left nor been refused since."""
        newest = self.inbox.get(*entry.key)
        return newest is not None and not newest.backlog

    async def _carry(self, entry: Entry, transfer: Transfer) -> bool:
        """True when it can be had wherever it came from, and in one storage more."""
        root, outages = update(entry).root, self.publisher.outages
        if not await self._make_room(entry.peer, transfer.bytes):
            outages.failed("relaying", "beside the own updates, peer.quota_bytes leaves no room for those of others")
            return False
        outages.works("relaying")
        item = self.carried[root] = Carried(root, entry.peer, entry.announcement.number, transfer.bytes, self.clock())
        if await self.publisher.put(root, [Block(cid, data) for cid, data in transfer.blocks.items()], self.targets(transfer)):
            return True
        await self._drop(item)
        return False

    def targets(self, transfer: Transfer) -> list[Named[Storage]]:
        """Where it is to be put: in a peer that only reads some of its storages, there may be no such place."""
        storages = self.publisher.assembly.storages
        return [storage for storage in storages if storage.writes and storage.label != transfer.origin]

    @property
    def _room(self) -> int:
        return self.keeping.quota_bytes - self.keeping.kept_bytes - sum(item.bytes for item in self.carried.values())

    async def _make_room(self, peer: PeerId, size: int) -> bool:
        """Drop what nobody wants or the own updates leave no room for, and then as much as is needed, unless that is too little."""
        for item in list(self._superfluous()):
            await self._drop(item)
        await self._free(0, self.carried.values())
        dispensable = list(self._dispensable(peer))
        if self._room + sum(item.bytes for item in dispensable) < size:
            return False
        await self._free(size, dispensable)
        return True

    async def _free(self, size: int, items: Iterable[Carried]) -> None:
        """What was carried first goes first, strangers' before all, and before the newest of anybody what is kept beside them."""
        newest = {item.root for items in self._by_peer() for item in items[:NEWEST]}
        for item in sorted(items, key=lambda item: (self.peers.trusts(item.peer), item.root in newest, item.since)):
            if self._room < size:
                await self._drop(item)

    def _dispensable(self, peer: PeerId) -> Iterator[Carried]:
        """What may give way to an update of that peer: to that of a stranger, nothing of a peer that was merged."""
        trusted = self.peers.trusts(peer)
        return (item for item in self.carried.values() if trusted or not self.peers.trusts(item.peer))

    def _superfluous(self) -> Iterator[Carried]:
        """All but the newest of each peer that is known, and a few of those that someone may still be fetching."""
        for items in self._by_peer():
            known = self.inbox.get(items[0].peer, Kind.UPDATE) is not None
            late = [item for item in items[NEWEST:] if self.clock() - item.since < self.pace.retention_seconds]
            kept = [*items[:NEWEST], *late[-LONGEST:]] if known else []
            yield from (item for item in items if item not in kept)

    def _by_peer(self) -> Iterable[Sequence[Carried]]:
        """Of each peer the newest first."""
        peers: dict[PeerId, list[Carried]] = {}
        for item in sorted(self.carried.values(), key=lambda item: -item.number):
            peers.setdefault(item.peer, []).append(item)
        return peers.values()

    async def _drop(self, item: Carried) -> None:
        await self.publisher.drop(item.root)
        self.carried.pop(item.root, None)
