"""From a message on some medium to an entry in the inbox: each check with its reason, each refusal counted (DESIGN 4, step 4)."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING

import attrs

from learnae.errors import UpdateRejected
from learnae.identity.admission import Admission
from learnae.identity.envelopes import Opened, decode_envelope
from learnae.node.history import PeerRecord
from learnae.node.inbox import Arrival, Entry, Inbox
from learnae.records import Announcement, Heard, Kind, Leaving, PeerId, Present

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

RECENT = 1024  # envelopes that need not be verified again: the same message comes from several media, several times


@attrs.define
class Hearing:
    """Everything that comes in. `on_change(peer, state)` tells watchers; `on_proof` keeps two payloads under one number."""

    own: PeerId
    swarm: bytes
    admission: Admission
    inbox: Inbox
    peers: dict[PeerId, PeerRecord]
    clock: Callable[[], float]
    log: FilteringBoundLogger
    on_change: Callable[[PeerId, str], None]
    on_proof: Callable[[PeerId, Kind, int, bytes, bytes], None]
    round: int = 0
    own_numbers: dict[Kind, int] = attrs.field(factory=dict)
    raised_numbers: dict[Kind, int] = attrs.field(factory=dict)
    elsewhere: bool = False  # this identity runs on another machine too: stop publishing
    present: dict[PeerId, Present] = attrs.field(factory=dict)
    refusals: Counter[str] = attrs.field(factory=Counter)
    _recent: OrderedDict[bytes, Opened] = attrs.field(factory=OrderedDict)

    def hear(self, heard: Heard) -> None:
        """Never raises: whatever comes is taken or counted."""
        try:
            self._take(self._open(heard.message), heard)
        except UpdateRejected as rejected:
            self.refusals[rejected.reason] += 1

    def _open(self, message: bytes) -> Opened:
        opened = self._recent.get(message) or decode_envelope(message, self.swarm)
        self._recent[message] = opened
        if len(self._recent) > RECENT:
            self._recent.popitem(last=False)
        return opened

    def _take(self, opened: Opened, heard: Heard) -> None:
        announcement = opened.announcement
        if announcement.peer == self.own:
            self._hear_own(announcement, heard.backlog)
        else:
            self._hear_other(opened, heard)

    def _hear_other(self, opened: Opened, heard: Heard) -> None:
        announcement = opened.announcement
        self._admit(announcement.peer)
        entry = Entry(announcement, opened.digest, heard.message, self.clock(), self.round, heard.backlog)
        known = announcement.peer in self.inbox.peers()
        arrival = self.inbox.put(entry)
        if arrival is Arrival.EQUIVOCATION:
            self._refuse_for_good(entry)
        if arrival in (Arrival.REPLAY, Arrival.DUPLICATE):
            raise UpdateRejected(arrival.value)
        self._note(announcement, known=known, backlog=heard.backlog)

    def _admit(self, peer: PeerId) -> None:
        reason = self.admission.refuses(peer)
        record = self.peers.get(peer)
        if reason or (record and record.refused):
            raise UpdateRejected(reason or "refused-peer")

    def _note(self, announcement: Announcement, *, known: bool, backlog: bool) -> None:
        match announcement.body:
            case Present() as present:
                self.present[announcement.peer] = present
            case Leaving() if not backlog:
                self.inbox.leave_behind(announcement.peer)
                self.on_change(announcement.peer, "left")
        if not known:
            self.on_change(announcement.peer, "new")

    def _hear_own(self, announcement: Announcement, backlog: bool) -> None:
        """Backlog raises the next number (the home was lost, the key was not); live and never sent means a second peer with this key."""
        sent = self.own_numbers.get(announcement.kind, 0)
        if announcement.number <= sent:
            return
        self.raised_numbers[announcement.kind] = max(announcement.number, self.raised_numbers.get(announcement.kind, 0))
        self.own_numbers[announcement.kind] = announcement.number
        if not backlog and not self.elsewhere:
            self.elsewhere = True
            self.log.error("identity.elsewhere", remedy="this key runs on another machine too: stop one of them, or give one a new home")

    def _refuse_for_good(self, entry: Entry) -> None:
        peer, kind, number = entry.peer, entry.announcement.kind, entry.announcement.number
        first = self.inbox.get(peer, kind)
        self.peers.setdefault(peer, PeerRecord()).refused = "equivocation"
        self.inbox.forget(peer)
        self.on_proof(peer, kind, number, first.message if first else b"", entry.message)
        self.log.warning("peer.refused", peer=peer[:8], reason="equivocation", kind=kind.name, number=number)
        raise UpdateRejected("equivocation")
