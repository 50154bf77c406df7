"""Fetches the newest updates of others, keeps them, and announces them once more for those who come when their owners have gone.

A keeper has no model of its own: it looks at what can be judged without one, and merges nothing (docs/decisions/0052).
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Mapping

import attrs
import numpy as np
import trio

from learnae.content.meta import architecture_of
from learnae.content.unpack import Content
from learnae.errors import PluginError, UnavailableError, UpdateRejectedError
from learnae.node.bases import HeldUpdates, fetch_needed, needs
from learnae.node.decoding import Decoder
from learnae.node.fetching import Fetcher, Transfer
from learnae.node.inbox import InboxEntry
from learnae.node.kept import KeptTable, KeptUpdate, KeptUpdates, reopened
from learnae.node.rate_limits import TimeShare
from learnae.node.relay import MessageRelays
from learnae.node.reports import RoundRecord, stage_of
from learnae.node.sending import Sender
from learnae.node.strategy_set import ConfiguredStrategy
from learnae.records import AnnouncementKind, Block, Cid, PeerId, Update
from learnae.strategies import Announcer

LOOK_SECONDS, LEAST_SECONDS = 30.0, 0.1
PAUSE_SECONDS = 5.0
PAUSES = 4
"""An update of a peer is fetched so many times as long after the last one as that took, and not before `PAUSE_SECONDS`: so slow readers get
one of the last two whole, and a peer that publishes fast does not fill the line."""
WAIT_SECONDS, LONGEST_WAIT_SECONDS = 10.0, 600.0  # after a failure, twice as long with each further one
SLOWEST_BYTES_PER_SECOND = 50_000
PROVED = 3
"""After so many whole updates a peer is no stranger: it has a lane of its own, and is remembered before others."""
REMEMBERED = 4096
MOST_LOOKED_AT = 16  # whether there is room for them, at once
REST_FOR_A_LOOK = 20  # times as long: beside thousands of kept peers, a look at 16 that find no room takes a tenth of a second
FIRST_REPEAT_SECONDS, REPEAT_SECONDS, REPEAT_PAUSE_SECONDS = 10.0, 300.0, 0.1
BASE_SHARE = 64
"""Times the bytes that have come of an update, at most, for which there is time to fetch what it builds on."""
MOST_UNPACKED = 5
"""Times its own bytes, at most, that an update may take unpacked to be looked at for numbers that are not finite."""

_KEEPING = "keeping"


@attrs.define
class _FetchTurn:
    """How the fetches of one peer went, in this run."""

    whole: int = 0
    failures: int = 0  # in a row
    not_before: float = -math.inf  # on the node's clock


@attrs.define
class UpdateKeeping:
    """Two fetches at once, one of which is for peers of which several whole updates have come. `limit` is the most bytes of an update."""

    kept: KeptUpdates
    table: KeptTable
    fetcher: Fetcher
    sender: Sender
    relays: MessageRelays
    first_seconds: float
    limit: int
    held: HeldUpdates = attrs.field(factory=HeldUpdates)
    record: RoundRecord = attrs.field(factory=lambda: RoundRecord(0, 0.0))  # of what has happened since the last report
    stored: int = 0  # since the last report
    _turns: OrderedDict[PeerId, _FetchTurn] = attrs.field(factory=OrderedDict)
    _busy: set[PeerId] = attrs.field(factory=set)
    _news: trio.Event = attrs.field(factory=trio.Event)
    _storing: trio.Lock = attrs.field(factory=trio.Lock)
    _strangers: TimeShare = attrs.field(
        default=attrs.Factory(lambda self: TimeShare(self.sender.runtime.in_decoding_thread, self._clock), takes_self=True)
    )

    def hear(self, announcer: ConfiguredStrategy[Announcer], entry: InboxEntry, *, news: bool) -> None:
        """Take in a live announcement of another peer."""
        self.relays.message_relays[announcer].note(entry)
        if not news:
            return
        if not (entry.announcement.kind is AnnouncementKind.UPDATE and self._copies):
            self.relays.announce(entry)
        if entry.announcement.kind is AnnouncementKind.LEAVING and (turn := self._turns.get(entry.peer)) and not turn.failures:
            turn.not_before = -math.inf  # its blocks may soon be gone, too
        self._news.set()

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Until cancelled. It has started when it knows what an earlier run has kept."""
        await self._recall()
        task_status.started()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.relays.run_all)
            nursery.start_soon(self._keep_fetching, True)
            nursery.start_soon(self._keep_fetching, False)
            nursery.start_soon(self._keep_repeating)

    async def _recall(self) -> None:
        """Read what an earlier run has kept. An announcement that does not fit the swarm any more is forgotten."""
        for item in await self.sender.runtime.in_thread(self.table.rows):
            announcement = reopened(item.message, self.sender.swarm)
            if announcement is None or not isinstance(announcement.body, Update):
                await self.sender.runtime.in_thread(self.table.remove, item.root)
                continue
            self.kept.add(item, announcement.body)
            self._turn(item.peer).whole = PROVED if item.seconds else 1

    async def _keep_fetching(self, proved_only: bool) -> None:
        while True:
            self._news = trio.Event() if self._news.is_set() else self._news
            began = self._clock()
            if (entry := self._next(proved_only=proved_only)) is not None:
                if not await self._fetch(entry):
                    await trio.sleep(WAIT_SECONDS)  # this peer itself cannot store it: whoever published it has done nothing wrong
                continue
            rest = max(LEAST_SECONDS, REST_FOR_A_LOOK * (self._clock() - began))  # however many announcements come
            with trio.move_on_after(self._seconds_to_turn()):
                await self._news.wait()
            await trio.sleep(rest)

    def _seconds_to_turn(self) -> float:
        """Until the next update that was announced already may be fetched."""
        turns = (self._turn_of(entry.peer).not_before for entry in self._newer())
        return min(LOOK_SECONDS, max(LEAST_SECONDS, min(turns, default=math.inf) - self._clock()))

    def _newer(self) -> list[InboxEntry]:
        """The updates that are announced, and newer than what is kept of their peers."""
        newest = self.kept.newest()
        known = ((entry, newest.get(entry.peer)) for entry in self.sender.receiver.inbox.updates())
        return [
            entry for entry, kept in known if entry.peer not in self._busy and (kept is None or entry.announcement.number > kept.number)
        ]

    def _next(self, *, proved_only: bool) -> InboxEntry | None:
        """The newest update of the peer whose turn came longest ago, among those that may be fetched now."""
        now = self._clock()
        ready = (entry for entry in self._newer() if self._turn_of(entry.peer).not_before <= now)
        wanted = [entry for entry in ready if entry.update.bytes <= self.limit and (not proved_only or self._proved(entry.peer))]
        wanted.sort(key=lambda entry: (entry.peer not in self.kept.named, self._turn_of(entry.peer).not_before, entry.heard_at))
        for entry in wanted[:MOST_LOOKED_AT]:
            if self.kept.to_drop(entry, now) is not None:
                return entry
            self._turn(entry.peer).not_before = now + WAIT_SECONDS  # no room for it beside peers of a higher rank
        return None

    async def _fetch(self, entry: InboxEntry) -> bool:
        """Fetch and keep this update, or note why not. Returns False where this peer could not store it."""
        transfer = Transfer(min(self.limit, entry.update.bytes), most=2 * self.limit)
        began, turn, stored = self._clock(), self._turn(entry.peer), True
        self._busy.add(entry.peer)
        try:
            with trio.move_on_after(max(self.first_seconds, entry.update.bytes / SLOWEST_BYTES_PER_SECOND)) as whole:
                layout = await self._obtain(entry, transfer, whole)
            if whole.cancelled_caught:
                raise UnavailableError("nothing whole came in time", [entry.update.root])
        except UnavailableError as error:
            self._failed(entry, turn, "fetch", str(error))
        except (UpdateRejectedError, PluginError) as error:
            self.sender.receiver.peers.failed(entry.peer)
            self._failed(entry, turn, stage_of(error), str(error))
        else:
            turn.not_before = self._clock() + WAIT_SECONDS
            if stored := await self._keep(entry, transfer, layout):
                self._came(entry, turn, began)
        finally:
            self._busy.discard(entry.peer)
            self.record.fetched_bytes += transfer.bytes
            self.record.chosen += 1
        return stored

    def _came(self, entry: InboxEntry, turn: _FetchTurn, began: float) -> None:
        turn.whole, turn.failures, turn.not_before = turn.whole + 1, 0, -math.inf
        if turn.whole >= PROVED:
            self.sender.receiver.peers.gain_trust(entry.peer)
        if self._is_here(entry.peer):  # who has gone publishes nothing more, and what it published last may soon be gone
            turn.not_before = began + max(PAUSE_SECONDS, PAUSES * (self._clock() - began))

    async def _obtain(self, entry: InboxEntry, transfer: Transfer, whole: trio.CancelScope) -> bytes:
        """All blocks of this update, and of what it builds on, for which there is more time. Returns its layout."""
        decode_in = self.sender.runtime.in_decoding_thread if self._proved(entry.peer) else self._strangers
        content = await self.fetcher.fetch(entry.announcement, transfer, decode_in)
        layout = await decode_in(self._layout, content, entry)
        try:
            codec = self.sender.strategies.codec_named(entry.update.codec)
        except UpdateRejectedError:
            if needs(content.meta):
                raise  # nobody here can tell what it builds on
            await decode_in(content.check)
            return layout  # a codec that is not installed here: whoever has it will look
        specs = {spec.name: spec for spec in content.meta.specs}
        if needs(content.meta):
            most = min(2 * sum(spec.count for spec in content.meta.specs), BASE_SHARE * transfer.bytes, self.limit)
            whole.deadline += most / SLOWEST_BYTES_PER_SECOND
        before = await fetch_needed(self.fetcher, self.held, content.meta, codec, specs, transfer, decode_in)
        decoder = Decoder(content, codec, specs, before)
        await decode_in(self._check_values, decoder, entry)
        self.held.add(entry.update.root, decoder)
        return layout

    def _layout(self, content: Content, entry: InboxEntry) -> bytes:
        layout, usual = architecture_of(content.meta.specs), self.kept.layout_of(entry.update.architecture)
        if usual is not None and layout != usual:
            raise UpdateRejectedError(
                "architecture", "its tensors are others than those of the peers of join.trust or peer.allow that announce the same model"
            )
        return layout

    def _check_values(self, decoder: Decoder, entry: InboxEntry) -> None:
        """Whether all tensors can be decoded, and are finite as far as that is cheap to see."""
        decoder.check()
        specs = decoder.specs
        cheap = 4 * sum(spec.count for spec in specs.values()) <= MOST_UNPACKED * entry.update.bytes
        for spec in specs.values():
            if cheap and spec.floating and spec.name not in decoder.sound and not np.isfinite(decoder.decode(spec.name).array).all():
                raise UpdateRejectedError("non-finite", f"{spec.name} has numbers that are not finite")

    async def _keep(self, entry: InboxEntry, transfer: Transfer, layout: bytes) -> bool:
        """Store it here, and then drop what gives way to it. Returns False where it could not, which is an outage of this peer."""
        async with self._storing:  # else two that come at once would drop the same
            now = self._clock()
            roots = {**transfer.needed, entry.update.root: transfer.blocks}
            size = sum(len(data) for blocks in roots.values() for data in blocks.values())
            drop = self.kept.to_drop(entry, now, size)
            if drop is None:
                return True  # another one has taken its place meanwhile
            seconds, update = self.kept.seconds_heard(entry.peer, now), entry.update
            needed = " ".join(transfer.needed)
            item = KeptUpdate(update.root, entry.peer, entry.announcement.number, size, seconds, layout, entry.message, needs=needed)
            try:
                await self._store(item, update, roots)
                for old in drop:
                    await self._drop(old)
            except UnavailableError as error:
                self.sender.runtime.outages.failed(_KEEPING, f"what was fetched cannot be stored here: {error}")
                return item.root in self.kept
        self.sender.runtime.outages.works(_KEEPING)
        self.stored += 1
        if self._copies and not entry.backlog:
            self.relays.announce_stored(entry)
        return True

    async def _store(self, item: KeptUpdate, update: Update, roots: Mapping[Cid, Mapping[Cid, bytes]]) -> None:
        """Blocks, of what it builds on first, then the row that names them. Raises UnavailableError."""
        self.sender.putting = tuple(roots)
        try:
            for root, blocks in roots.items():
                if root not in self.kept and not await self._put(root, blocks):
                    raise UnavailableError("no storage that this peer writes to takes it")
            await self.sender.runtime.in_thread(self.table.add, item)
            self.kept.add(item, update, self._clock())
        finally:
            self.sender.putting = ()

    async def _put(self, root: Cid, blocks: Mapping[Cid, bytes]) -> bool:
        return await self.sender.put(root, [Block(cid, data) for cid, data in blocks.items()], self.sender.strategies.storages)

    async def _drop(self, item: KeptUpdate) -> None:
        await self.sender.runtime.in_thread(self.table.remove, item.root)
        self.kept.remove(item.root)
        for root in (item.root, *map(Cid, item.needs.split())):
            if root not in self.kept:  # nothing that is kept builds on it
                await self.sender.drop(root)

    async def _keep_repeating(self) -> None:
        """Announce what is kept of peers that are not heard any more, as they have signed it, and that they have left.

        Also where a newer update was heard: if it could be had, it would be kept. Those of the highest rank come first, and are not kept
        waiting by a crowd that takes longer than one turn.
        """
        await trio.sleep(FIRST_REPEAT_SECONDS)
        while True:
            until = trio.current_time() + REPEAT_SECONDS
            await self._note_goodbyes()
            with trio.move_on_at(until):
                await self._repeat_all()
            await trio.sleep_until(until)

    async def _repeat_all(self) -> None:
        for item in self.kept.by_rank():
            if not self._is_here(item.peer):
                self._repeat(item.message, newest=False)
                if item.goodbye:
                    self._repeat(item.goodbye)
                await trio.sleep(REPEAT_PAUSE_SECONDS)

    def _repeat(self, message: bytes, *, newest: bool = True) -> None:
        announcement = reopened(message, self.sender.swarm)
        if announcement is not None:
            entry = InboxEntry(announcement, b"", message, self._clock(), 0, backlog=True)
            self.relays.repeat(entry, unless_newer=newest)

    async def _note_goodbyes(self) -> None:
        for peer in {item.peer for item in self.kept.items.values()}:
            entry = self.sender.receiver.inbox.get(peer, AnnouncementKind.LEAVING)
            said = entry.message if entry is not None and not self._is_here(peer) else b""
            if (said or self._is_here(peer)) and self.kept.said_goodbye(peer, said):
                try:
                    await self.sender.runtime.in_thread(self.table.set_goodbye, peer, said)
                except UnavailableError as error:
                    self.sender.runtime.outages.failed("history", str(error))

    def _is_here(self, peer: PeerId) -> bool:
        known = self.sender.receiver.inbox.known.get(peer)
        return known is not None and not known.silent

    @property
    def _copies(self) -> bool:
        """Whether an update may be heard of where its blocks cannot be had before this peer has stored them."""
        return len(self.sender.strategies.storages) > 1

    def _proved(self, peer: PeerId) -> bool:
        turn = self._turn_of(peer)
        return peer in self.kept.named or (turn.whole >= PROVED and not turn.failures)

    def _failed(self, entry: InboxEntry, turn: _FetchTurn, stage: str, reason: str) -> None:
        turn.failures += 1
        turn.not_before = self._clock() + min(LONGEST_WAIT_SECONDS, WAIT_SECONDS * 2.0 ** min(turn.failures - 1, 10))
        self.record.failed(entry, stage, reason)

    def _turn_of(self, peer: PeerId) -> _FetchTurn:
        return self._turns.get(peer) or _FetchTurn()

    def _turn(self, peer: PeerId) -> _FetchTurn:
        turn = self._turns.setdefault(peer, _FetchTurn())
        self._turns.move_to_end(peer)
        if len(self._turns) > REMEMBERED:
            self._turns.popitem(last=False)
        return turn

    def _clock(self) -> float:
        return self.sender.runtime.clock()
