"""A relay joins peers that share no medium.

It announces on one medium what it hears on another, and copies blocks (docs/decisions/0016).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import attrs
import trio

from learnae.identity.envelopes import place_of
from learnae.node.fetching import Transfer
from learnae.node.inbox import Inbox, InboxEntry, Key
from learnae.node.obtaining import TransferPace
from learnae.node.peers import Peers
from learnae.node.retention import RetentionPolicy
from learnae.node.sending import SEND_SECONDS, Sender
from learnae.node.services import Services
from learnae.node.strategy_set import ConfiguredStrategy
from learnae.records import AnnouncementKind, Block, Cid, PeerId
from learnae.strategies import Announcer, Storage

NEWEST = 2  # of each peer: while others hear of the last one, the one before is still fetched
LONGEST = 4  # of each peer beside them: those that have been there longest, so that slow readers get something whole


@attrs.frozen
class RelayedUpdate:
    """An update of another peer. The relay keeps it in storages where its owner has not put it."""

    root: Cid
    peer: PeerId
    number: int
    bytes: int
    since: float
    needs: tuple[Cid, ...] = ()  # the roots that it builds on


@attrs.define
class BlockRelay:
    """Copies updates from one storage to others. At most `most` updates wait in memory. Own updates come first in the quota."""

    sender: Sender
    retention: RetentionPolicy
    inbox: Inbox
    peers: Peers
    pace: TransferPace
    most: int
    clock: Callable[[], float]
    carried: dict[Cid, RelayedUpdate] = attrs.field(factory=dict)
    _waiting: OrderedDict[PeerId, tuple[InboxEntry, Transfer]] = attrs.field(factory=OrderedDict)
    _news: trio.Event = attrs.field(factory=trio.Event)

    @property
    def needed(self) -> bool:
        """Whether blocks that lie in one storage may be missing in another that this peer writes to."""
        storages = self.sender.strategies.storages
        return len(storages) > 1 and any(storage.writes for storage in storages)

    def add(self, entry: InboxEntry, transfer: Transfer) -> None:
        """Add an update, in the place of an older one of the same peer. If there are too many, the one fetched first is left out."""
        self._waiting.pop(entry.peer, None)
        self._waiting[entry.peer] = entry, transfer
        if len(self._waiting) > self.most:
            self._waiting.popitem(last=False)
        self._news.set()

    async def run(self, done: Callable[[InboxEntry], None]) -> None:
        """Run until cancelled. `done` is called with each update that is in another storage now."""
        while True:
            await self._news.wait()
            if not self._waiting:
                self._news = trio.Event()
                continue
            entry, transfer = self._waiting.popitem(last=False)[1]
            if await self._carry(entry, transfer) and self.still_there(entry):
                done(entry)

    def still_there(self, entry: InboxEntry) -> bool:
        """Whether the owner of this update has neither left nor been refused since."""
        newest = self.inbox.get(*entry.key)
        return newest is not None and not newest.backlog

    async def _carry(self, entry: InboxEntry, transfer: Transfer) -> bool:
        """Copy an update. Returns True if it is now in one storage more than before."""
        root, outages = entry.update.root, self.sender.runtime.outages
        roots = {**{root: blocks for root, blocks in transfer.needed.items() if root not in self.carried}, root: transfer.blocks}
        sizes = {root: sum(map(len, blocks.values())) for root, blocks in roots.items()}
        if not await self._make_room(entry.peer, sum(sizes.values())):
            outages.failed("relaying", "beside the own updates, peer.quota_bytes leaves no room for those of others")
            return False
        outages.works("relaying")
        number, chain = entry.announcement.number, tuple(transfer.needed)
        for one, blocks in roots.items():  # what it builds on comes first
            own = one == root  # a base that was carried for its own sake has its number already
            item = RelayedUpdate(one, entry.peer, number if own else 0, sizes[one], self.clock(), chain if own else ())
            self.carried[one] = item
            if not await self.sender.put(one, [Block(cid, data) for cid, data in blocks.items()], self.targets(transfer)):
                await self._drop(item)
                return False
        return True

    def targets(self, transfer: Transfer) -> list[ConfiguredStrategy[Storage]]:
        """The storages to put an update into. There may be none, if this peer only reads some of its storages."""
        storages = self.sender.strategies.storages
        return [storage for storage in storages if storage.writes and storage.label != transfer.origin]

    @property
    def _room(self) -> int:
        return self.retention.quota_bytes - self.retention.kept_bytes - sum(item.bytes for item in self.carried.values())

    async def _make_room(self, peer: PeerId, size: int) -> bool:
        """Make room for an update. Drops what nobody wants, what own updates leave no room for, and then as much as is needed.

        If even that is not enough, it drops nothing more.
        """
        for item in list(self._superfluous()):
            await self._drop(item)
        await self._free(0, self.carried.values())
        dispensable = list(self._dispensable(peer))
        if self._room + sum(item.bytes for item in dispensable) < size:
            return False
        await self._free(size, dispensable)
        return True

    async def _free(self, size: int, items: Iterable[RelayedUpdate]) -> None:
        """Drop updates in this order: those of strangers, then those that are not the newest of their peer; the oldest first in each."""
        newest = self._with_needs(item for items in self._by_peer() for item in items[:NEWEST])
        for item in sorted(items, key=lambda item: (self.peers.trusts(item.peer), item.root in newest, item.since)):
            if self._room < size:
                await self._drop(item)

    def _dispensable(self, peer: PeerId) -> Iterator[RelayedUpdate]:
        """The updates that may be dropped for an update of that peer. For a stranger's, no update of a peer that was ever merged goes."""
        trusted = self.peers.trusts(peer)
        return (item for item in self.carried.values() if trusted or not self.peers.trusts(item.peer))

    def _superfluous(self) -> Iterator[RelayedUpdate]:
        """All but the newest of each known peer, and but a few that somebody may still be fetching."""
        for items in self._by_peer():
            known = self.inbox.get(items[0].peer, AnnouncementKind.UPDATE) is not None
            late = [item for item in items[NEWEST:] if self.clock() - item.since < self.pace.retention_seconds]
            kept = self._with_needs([*items[:NEWEST], *late[-LONGEST:]] if known else [])
            yield from (item for item in items if item.root not in kept)

    def _with_needs(self, items: Iterable[RelayedUpdate]) -> set[Cid]:
        """The roots of these, and those that they build on."""
        return {root for item in items for root in (item.root, *item.needs)}

    def _by_peer(self) -> Iterable[Sequence[RelayedUpdate]]:
        """The updates of each peer, the newest first."""
        peers: dict[PeerId, list[RelayedUpdate]] = {}
        for item in sorted(self.carried.values(), key=lambda item: -item.number):
            peers.setdefault(item.peer, []).append(item)
        return peers.values()

    async def _drop(self, item: RelayedUpdate) -> None:
        await self.sender.drop(item.root)
        self.carried.pop(item.root, None)


MOST_WAITING = 256
LONGEST_SECONDS = 30.0  # of what has waited for longer, nobody knows whether it still holds
MESSAGES_A_SECOND = 50
MOST_KNOWN = 4096  # keys of which it is remembered what was heard


@attrs.frozen
class RelayedMessage:
    """An announcement that waits to be sent, and since when. `again` means that it is sent although it was heard here."""

    entry: InboxEntry
    since: float
    again: bool


@attrs.define
class MessageRelay:
    """Sends announcements of others to one announcer. `trusted` says whether a peer was ever accepted. Such peers go first."""

    announcer: ConfiguredStrategy[Announcer]
    channel: str
    services: Services
    trusted: Callable[[PeerId], bool]
    _waiting: OrderedDict[bytes, RelayedMessage] = attrs.field(factory=OrderedDict)  # by what they replace
    _heard: OrderedDict[Key, int] = attrs.field(factory=OrderedDict)  # the highest number that is known to be there
    _news: trio.Event = attrs.field(factory=trio.Event)

    def note(self, entry: InboxEntry) -> None:
        """This announcement is on the medium, whoever has sent it."""
        self._heard[entry.key] = max(entry.announcement.number, self._heard.pop(entry.key, 0))
        if len(self._heard) > MOST_KNOWN:
            self._heard.popitem(last=False)

    def lacks(self, entry: InboxEntry) -> bool:
        """Whether neither this announcement nor a newer one, which it would replace, is on the medium."""
        return entry.announcement.number > self._heard.get(entry.key, -1)

    def has_newer(self, entry: InboxEntry) -> bool:
        """Whether a newer one of the same peer and kind was heard there."""
        return entry.announcement.number < self._heard.get(entry.key, -1)

    def add(self, entry: InboxEntry, replaces: bytes, *, again: bool = False) -> None:
        """Add an announcement, in the place of an older one with the same key. If there are too many, the last stranger is left out."""
        self._waiting[replaces] = RelayedMessage(entry, trio.current_time(), again)
        if len(self._waiting) > MOST_WAITING:
            strangers = (key for key, letter in reversed(self._waiting.items()) if not self.trusted(letter.entry.peer))
            del self._waiting[next(strangers, next(iter(self._waiting)))]
        self._news.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._news.wait()
            await self.services.opened(self.announcer)
            if not self._waiting:
                self._news = trio.Event()
                continue
            replaces = self._next()
            letter = self._waiting.pop(replaces)
            if self._wanted(letter) and self.services.ready(self.announcer):
                await self._send(letter.entry, replaces)

    def _next(self) -> bytes:
        known = (key for key, letter in self._waiting.items() if self.trusted(letter.entry.peer))
        return next(known, next(iter(self._waiting)))

    def _wanted(self, letter: RelayedMessage) -> bool:
        """Whether to send it: it was not heard here since, and does not wait for too long."""
        return (letter.again or self.lacks(letter.entry)) and trio.current_time() - letter.since <= LONGEST_SECONDS

    async def _send(self, entry: InboxEntry, replaces: bytes) -> None:
        self.note(entry)
        with self.services.using(self.announcer, "announcing", SEND_SECONDS):
            await self.announcer.strategy.announce(entry.message, channel=self.channel, replaces=replaces)
        await trio.sleep(1 / MESSAGES_A_SECOND)


@attrs.define
class MessageRelays:
    """The messages of others, for all announcers of this peer. `alias` is a key's outside name."""

    own: PeerId
    message_relays: Mapping[ConfiguredStrategy[Announcer], MessageRelay]
    alias: Callable[[str], bytes]

    def announce(self, entry: InboxEntry) -> bool:
        """Announce it on each medium where it was not heard. Returns False if there is no such medium."""
        lacking = [message_relay for message_relay in self.message_relays.values() if message_relay.lacks(entry)]
        for message_relay in lacking:
            message_relay.add(entry, self._key(entry))
        return bool(lacking)

    def announce_stored(self, entry: InboxEntry) -> None:
        """Announce a copied update once more where it was heard before its blocks could be had.

        Its owner may have announced a newer one there.
        """
        if not self.announce(entry):
            for message_relay in self.message_relays.values():
                message_relay.add(entry, self.alias(f"{entry.peer}/{entry.announcement.kind.value} by {self.own}"), again=True)

    def repeat(self, entry: InboxEntry, *, unless_newer: bool) -> None:
        """Announce it once more in the place of its owner, who is not heard any more; `unless_newer`: where nothing newer was heard."""
        for message_relay in self.message_relays.values():
            if not (unless_newer and message_relay.has_newer(entry)):
                message_relay.add(entry, self._key(entry), again=True)

    async def run_all(self) -> None:
        """Until cancelled."""
        async with trio.open_nursery() as nursery:
            for message_relay in self.message_relays.values():
                nursery.start_soon(message_relay.run)

    def _key(self, entry: InboxEntry) -> bytes:
        return self.alias(place_of(entry.announcement))


@attrs.define
class Relay(MessageRelays):
    """The relay. It passes an update on when its blocks are in the other storages, and all else at once."""

    block_relay: BlockRelay

    def hear(self, announcer: ConfiguredStrategy[Announcer], entry: InboxEntry, *, news: bool) -> None:
        """Take in an announcement that an announcer has delivered.

        It is admitted and live. Another announcer may have delivered it before.
        """
        self.message_relays[announcer].note(entry)
        if news and not (entry.announcement.kind is AnnouncementKind.UPDATE and self.block_relay.needed):
            self.announce(entry)

    def fetched(self, entry: InboxEntry, transfer: Transfer) -> None:
        """Take in an update that has come whole.

        One that was left behind is not passed on, because others would think that its peer lives.
        """
        if not self.block_relay.needed or entry.backlog:
            return
        if self.block_relay.targets(transfer):
            self.block_relay.add(entry, transfer)
        elif self.block_relay.still_there(entry):
            self.announce(entry)

    async def run(self) -> None:
        """Until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.block_relay.run, self.announce_stored)
            nursery.start_soon(self.run_all)
