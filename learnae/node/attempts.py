"""Which announcement of a peer is tried, and how the tries went. It knows what relays and keepers repeat (docs/decisions/0016, 0059)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Self

import attrs

from learnae.node.history import PeerRecord
from learnae.node.inbox import Inbox, InboxEntry
from learnae.node.older_updates import OlderUpdates
from learnae.node.peers import DOUBLINGS, Peers, waits
from learnae.records import AnnouncementKind, PeerId


@attrs.frozen
class RepeatedUpdate(InboxEntry):
    """An update whose announcement was heard a second time. The inbox has it too, unless the inbox has a newer one of the same peer."""

    @classmethod
    def of(cls, entry: InboxEntry) -> Self:
        return cls(*attrs.astuple(entry, recurse=False))


@attrs.define
class _Repeats:
    """The repeated updates of one peer. `record` says how the tries of them went.

    `missing` is how often in a row nothing came of the newest update, as the peer itself announced it.
    """

    newest: RepeatedUpdate | None = None
    missing: int = 0
    record: PeerRecord = attrs.field(factory=PeerRecord)


@attrs.define
class FetchAttempts:
    """Chooses, for each peer, between its newest update and the one that a relay has repeated.

    A relay copies an update to a storage that the peer itself does not write to, and then announces it again. By then the peer may have
    announced a newer one. So if nothing could be had of the newest update, the repeated one is tried instead. Its failures are counted
    apart from those of the peer, so that neither changes the turns of the other. `inbox` and `peers` are those of the node. They know
    nothing of repeated updates.
    """

    inbox: Inbox
    peers: Peers
    _known: dict[PeerId, _Repeats] = attrs.field(factory=dict)

    def hear_once_more(self, entry: InboxEntry, medium: str) -> None:
        """A message that was taken lately has come again, live.

        It counts as repeated only if it came again on the same medium. A second medium may simply deliver it too.
        """
        if entry.medium != medium or entry.announcement.kind is not AnnouncementKind.UPDATE or (repeats := self._of(entry.peer)) is None:
            return
        if repeats.newest is None or entry.announcement.number > repeats.newest.announcement.number:
            repeats.newest = RepeatedUpdate.of(entry)

    def to_try(self, newest: InboxEntry, round_: int, live: Callable[[InboxEntry, int], bool]) -> InboxEntry:
        """The entry to try: the newest update, or the repeated one if nothing could be had of the newest.

        The repeated one is tried between the turns of the newest, or in its place if that has helped before.
        """
        repeats = self._known.get(newest.peer)
        if repeats is None or (repeated := repeats.newest) is None or not repeats.missing:
            return newest
        record, helps = self.peers.get(newest.peer), repeats.record.failures == 0
        if not waits(record.last_tried, DOUBLINGS if helps else record.failures, round_):
            return newest
        wanted = live(repeated, round_) and repeated.announcement.number > record.fetched_number
        return repeated if wanted and _alike(repeated, newest) else newest

    def to_adopt(self, newest: InboxEntry) -> InboxEntry:
        """The model that a newcomer tries: one from before the newest where nothing could be had of that, and the peer is not there.

        The two are tried in turn, never at once: they are one voice.
        """
        known, repeats = self.inbox.known.get(newest.peer), self._known.get(newest.peer)
        if known is None or repeats is None or not known.silent:
            return newest
        older = known.older.best(repeats.missing)
        return older if older is not None and _alike(older, newest) else newest

    def record(self, entry: InboxEntry) -> PeerRecord:
        """How the tries of such updates of this peer went. Do not change what it returns."""
        repeats = self._known.get(entry.peer)
        return repeats.record if repeats is not None and isinstance(entry, RepeatedUpdate) else self.peers.get(entry.peer)

    def tried(self, entry: InboxEntry, round_: int, *, there: bool) -> PeerRecord:
        """It was tried in this round. `there` says whether anything of it could be had. Returns the record, which the caller may change."""
        newest = not (isinstance(entry, RepeatedUpdate) or self._older_of(entry))
        if newest and (repeats := self._of(entry.peer)) is not None:
            repeats.missing = 0 if there else repeats.missing + 1
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
        """The gates have accepted it. Whether the merge succeeded does not matter."""
        self._noted(entry).failures = 0

    def refused(self, entry: InboxEntry, *, blamed: bool) -> None:
        """The gates have refused it. A peer that has proved itself, and is not blamed, keeps its trust and its turn.

        One that has not waits all the same: identities cost nothing, and they share a place with honest newcomers.
        """
        if blamed or not self.peers.accepted(entry.peer):
            self.failed(entry)

    def failed(self, entry: InboxEntry) -> None:
        """It could not be had, or was refused. A peer that cannot be reached from here, but through a relay, loses no trust by that."""
        if (older := self._older_of(entry)) is not None:
            older.failed(entry.announcement.number)
        elif isinstance(entry, RepeatedUpdate):
            record = self._noted(entry)
            record.failures += 1
            self.peers.lose_trust(entry.peer, record.failures)
        elif self._had_through_others(entry.peer):
            self.peers.note(entry.peer).failures += 1
        else:
            self.peers.failed(entry.peer)

    def _older_of(self, entry: InboxEntry) -> OlderUpdates | None:
        """Those of its peer, if it is one of them."""
        known = self.inbox.known.get(entry.peer)
        return known.older if known is not None and entry.backlog and entry.announcement.number in known.older else None

    def _had_through_others(self, peer: PeerId) -> bool:
        repeats = self._known.get(peer)
        return repeats is not None and repeats.record.last_tried is not None and not repeats.record.failures

    def _noted(self, entry: InboxEntry) -> PeerRecord:
        """The record, to be changed.

        For an update that is not repeated it is the record of the peer, which is saved with the next round.
        """
        record = self.peers.note(entry.peer)
        repeats = self._of(entry.peer) if isinstance(entry, RepeatedUpdate) else None
        return record if repeats is None else repeats.record

    def _of(self, peer: PeerId) -> _Repeats | None:
        """The repeats of a peer that the inbox knows. For other peers nothing is kept, since anybody can invent any number of them."""
        if peer not in self.inbox.known:
            return self._known.get(peer)
        if len(self._known) >= 2 * self.inbox.capacity:
            self._known = {known: repeats for known, repeats in self._known.items() if known in self.inbox.known}
        return self._known.setdefault(peer, _Repeats())

    def __len__(self) -> int:
        return len(self._known)


def _alike(one: InboxEntry, other: InboxEntry) -> bool:
    return (one.update.lineage, one.update.architecture) == (other.update.lineage, other.update.architecture)
