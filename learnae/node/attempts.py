"""Which announcement of a peer is tried, and how trying goes. Only here is known what a relay repeats (docs/decisions/0016)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Self

import attrs

from learnae.node.history import PeerRecord
from learnae.node.inbox import Inbox, InboxEntry
from learnae.node.peers import DOUBLINGS, Peers, waits
from learnae.records import AnnouncementKind, PeerId


@attrs.frozen
class RepeatedUpdate(InboxEntry):
    """An update that was heard a second time. It has its place in the inbox too, unless there is a newer one of its peer."""

    @classmethod
    def of(cls, entry: InboxEntry) -> Self:
        return cls(*attrs.astuple(entry, recurse=False))


@attrs.define
class _Repeats:
    """`missing` tells that nothing could be had of the update that was tried last as its peer has announced it.

    `record` tells how trying the repeated ones went.
    """

    newest: RepeatedUpdate | None = None
    missing: bool = False
    record: PeerRecord = attrs.field(factory=PeerRecord)


@attrs.define
class FetchAttempts:
    """A relay makes an update available where its peer does not store, and announces it again. Until then there may be a newer one.

    So the repeated one is tried instead, where nothing could be had of the newest. How that goes is written down apart from the record of
    the peer: the failures of neither change the turns of the other. `inbox` and `peers` are the node's own, and know nothing of this.
    """

    inbox: Inbox
    peers: Peers
    _known: dict[PeerId, _Repeats] = attrs.field(factory=dict)

    def hear_once_more(self, entry: InboxEntry, medium: str) -> None:
        """What was taken lately has come again, live.

        That a second medium brings what a first one has brought means nothing; that it is said again on the same one does.
        """
        if entry.medium != medium or entry.announcement.kind is not AnnouncementKind.UPDATE or (repeats := self._of(entry.peer)) is None:
            return
        if repeats.newest is None or entry.announcement.number > repeats.newest.announcement.number:
            repeats.newest = RepeatedUpdate.of(entry)

    def to_try(self, newest: InboxEntry, round_: int, live: Callable[[InboxEntry, int], bool]) -> InboxEntry:
        """Where nothing could be had of the newest, the repeated one: between the turns of the newest, or instead where that helps."""
        repeats = self._known.get(newest.peer)
        if repeats is None or (repeated := repeats.newest) is None or not repeats.missing:
            return newest
        record, helps = self.peers.get(newest.peer), repeats.record.failures == 0
        if not waits(record.last_tried, DOUBLINGS if helps else record.failures, round_):
            return newest
        like_it = (repeated.update.lineage, repeated.update.architecture) == (newest.update.lineage, newest.update.architecture)
        wanted = live(repeated, round_) and repeated.announcement.number > record.fetched_number
        return repeated if like_it and wanted else newest

    def record(self, entry: InboxEntry) -> PeerRecord:
        """To be read: how trying such updates of this peer went."""
        repeats = self._known.get(entry.peer)
        return repeats.record if repeats is not None and isinstance(entry, RepeatedUpdate) else self.peers.get(entry.peer)

    def tried(self, entry: InboxEntry, round_: int, *, there: bool) -> PeerRecord:
        """In this round; `there` if something could be had of it. Returns the record, to be changed."""
        if not isinstance(entry, RepeatedUpdate) and (repeats := self._of(entry.peer)) is not None:
            repeats.missing = not there
        record = self._noted(entry)
        record.last_tried = round_
        return record

    def merged(self, entry: InboxEntry) -> None:
        if isinstance(entry, RepeatedUpdate):
            self.sound(entry)
            self.peers.gain_trust(entry.peer)
        else:
            self.peers.merged(entry.peer)

    def sound(self, entry: InboxEntry) -> None:
        """The gates have accepted it, whatever has become of the merge."""
        self._noted(entry).failures = 0

    def failed(self, entry: InboxEntry) -> None:
        """It could not be had, or was refused. Whoever cannot be reached from here, and is through others, loses no trust by that."""
        if isinstance(entry, RepeatedUpdate):
            record = self._noted(entry)
            record.failures += 1
            self.peers.lose_trust(entry.peer, record.failures)
        elif self._had_through_others(entry.peer):
            self.peers.note(entry.peer).failures += 1
        else:
            self.peers.failed(entry.peer)

    def _had_through_others(self, peer: PeerId) -> bool:
        repeats = self._known.get(peer)
        return repeats is not None and repeats.record.last_tried is not None and not repeats.record.failures

    def _noted(self, entry: InboxEntry) -> PeerRecord:
        """To be changed: that of the peer is saved with the next round, and there is always one."""
        record = self.peers.note(entry.peer)
        repeats = self._of(entry.peer) if isinstance(entry, RepeatedUpdate) else None
        return record if repeats is None else repeats.record

    def _of(self, peer: PeerId) -> _Repeats | None:
        """Of a peer that the inbox knows. Of others nothing is kept for long: there are as many as somebody invents."""
        if peer not in self.inbox.known:
            return self._known.get(peer)
        if len(self._known) >= 2 * self.inbox.capacity:
            self._known = {known: repeats for known, repeats in self._known.items() if known in self.inbox.known}
        return self._known.setdefault(peer, _Repeats())

    def __len__(self) -> int:
        return len(self._known)
