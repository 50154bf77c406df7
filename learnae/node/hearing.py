"""From a message on some medium to an entry in the inbox: each check with its reason, each refusal counted (DESIGN 4, step 4)."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import attrs

from learnae.content.seals import OPEN, Seal
from learnae.errors import UpdateRejected
from learnae.identity.admission import Admission
from learnae.identity.envelopes import Opened
from learnae.node.checking import Checking
from learnae.node.history import PeerRecord, Proof
from learnae.node.inbox import Arrival, Entry, Inbox, Key, Mark
from learnae.node.insight import Sighting
from learnae.node.numbers import Numbers
from learnae.node.peers import Peers
from learnae.node.rhythm import UNKNOWN_SECONDS
from learnae.node.sightings import sightings
from learnae.records import Announcement, Heard, Kind, Leaving, PeerId, Present

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

RECENT = 1024  # envelopes that need not be verified again: the same message comes from several media, several times
PROOFS = 64  # that may wait for the history
ORDINARY = frozenset({"duplicate", "replay"})  # what several media, or one that is polled, bring along


@attrs.frozen
class Learned:
    """What hearing has changed since it was last saved."""

    marks: Mapping[Key, Mark]
    peers: Mapping[PeerId, PeerRecord]
    refusals: Mapping[str, int]
    proofs: tuple[Proof, ...]
    heard: tuple[Sighting, ...] = ()


@attrs.define
class Hearing:
    """Everything that comes in. `on_change(peer, state)` tells watchers. Nothing here touches the disk."""

    own: PeerId
    swarm: bytes
    admission: Admission
    inbox: Inbox
    peers: Peers
    clock: Callable[[], float]
    log: FilteringBoundLogger
    on_change: Callable[[PeerId, str], None]
    seal: Seal = OPEN
    round: int = 0
    numbers: Numbers = attrs.field(default=attrs.Factory(lambda self: Numbers(self.clock, self.log), takes_self=True))  # the own ones
    checking: Checking = attrs.field(default=attrs.Factory(lambda self: self._limited(), takes_self=True))
    refusals: Counter[str] = attrs.field(factory=Counter)
    proofs: list[Proof] = attrs.field(factory=list)
    _recent: OrderedDict[bytes, Opened] = attrs.field(factory=OrderedDict)
    _said: OrderedDict[bytes, tuple[Entry, str]] = attrs.field(factory=OrderedDict)  # and on which medium
    _refused: Counter[str] = attrs.field(factory=Counter)  # in this run

    def hear(self, heard: Heard, medium: str = "") -> bool:
        """Never raises: whatever comes is taken or counted. True if it was taken."""
        try:
            self._take(self._open(heard, medium), heard, medium)
        except UpdateRejected as rejected:
            self.refusals[rejected.reason] += 1
            self._tell(rejected.reason)
            return False
        return True

    def said(self, message: bytes) -> Entry | None:
        """What another peer has said by this message, if it was taken not long ago, and live."""
        said = self._said.get(message)
        return said[0] if said else None

    def hints(self, peer: PeerId, storage: str) -> tuple[str, ...]:
        """Where that peer says that its storage of this name can be reached."""
        entry = self.inbox.get(peer, Kind.PRESENT)
        present = entry.announcement.body if entry else None
        return present.hints.get(storage, ()) if isinstance(present, Present) else ()

    def forget(self, peer: PeerId) -> None:
        """Nothing that this peer has announced is there any more; it is heard again as far as it is admitted."""
        if peer in self.inbox.known:
            self.inbox.forget(peer)
            self.on_change(peer, "left")

    def note_silence(self, rounds: int) -> None:
        """Tell who has not been heard for more than so many rounds: own ones, or its own where those are longer."""
        now = self.clock()
        for peer, known in self.inbox.known.items():
            if known.silent or self.round - known.heard_round <= rounds:
                continue
            if now - known.heard_at > known.rhythm.patience_seconds(rounds, UNKNOWN_SECONDS):
                known.silent = True
                self.on_change(peer, "silent")

    def in_time(self, entry: Entry, rounds: int, unknown: float = UNKNOWN_SECONDS) -> bool:
        """Whether its peer need not have been heard again since, at its own pace; for `unknown` seconds where that is not known yet."""
        known = self.inbox.known.get(entry.peer)
        return known is not None and self.clock() - entry.heard_at <= known.rhythm.patience_seconds(rounds, unknown)

    def pace_of(self, peer: PeerId) -> float:
        """Seconds between its updates, as they arrive here; 0 while unknown."""
        known = self.inbox.known.get(peer)
        return known.rhythm.seconds if known else 0.0

    def take_learned(self) -> Learned:
        """What is to be saved."""
        marks = self.inbox.take_changed_marks()
        heard = tuple(sightings(self.inbox, marks))
        learned = Learned(marks, self.peers.take_changed(), self.refusals, tuple(self.proofs), heard)
        self.refusals, self.proofs = Counter(), []
        return learned

    def put_back(self, learned: Learned) -> None:
        """It could not be saved: let it be taken again."""
        self.inbox.put_back(learned.marks)
        self.peers.put_back(learned.peers)
        self.refusals.update(learned.refusals)
        self.proofs = [*learned.proofs, *self.proofs][:PROOFS]

    def _limited(self) -> Checking:
        def accepted(peer: PeerId) -> bool:
            return peer == self.own or self.peers.accepted(peer)

        def was_heard(peer: PeerId) -> bool:
            return accepted(peer) or self.inbox.was_heard(peer)

        held = self.inbox.known.__contains__
        return Checking(self.swarm, lambda: self.clock(), was_heard, accepted, held, self._is_old, self.seal)

    def _is_old(self, announcement: Announcement, digest: bytes) -> bool:
        if announcement.peer == self.own:
            return self.numbers.is_old(announcement.kind, announcement.number)
        return self.inbox.is_old(announcement, digest)

    def _open(self, heard: Heard, medium: str) -> Opened:
        opened = self._recent.get(heard.message) or self.checking.open(heard.message, medium, backlog=heard.backlog)
        if not opened.verified:
            return opened
        self._recent[heard.message] = opened
        if len(self._recent) > RECENT:
            self._recent.popitem(last=False)
        return opened

    def _remember(self, entry: Entry, medium: str) -> None:
        self._said[entry.message] = entry, medium
        if len(self._said) > RECENT:
            self._said.popitem(last=False)

    def _hear_again(self, message: bytes, medium: str) -> None:
        """That a second medium brings what a first one has brought means nothing; that it is said again on the same one does."""
        said = self._said.get(message)
        if said is not None and said[1] == medium:
            self.inbox.hear_again(said[0])

    def _tell(self, reason: str) -> None:
        """The first message that is refused for a reason, the tenth, the hundredth, ...: whoever sends noise fills no log."""
        self._refused[reason] += 1
        count = self._refused[reason]
        if count == 10 ** (len(str(count)) - 1):
            say = self.log.info if reason in ORDINARY else self.log.warning
            say("messages.refused", reason=reason, count=count)

    def _take(self, opened: Opened, heard: Heard, medium: str) -> None:
        announcement = opened.announcement
        if announcement.peer == self.own:
            self.numbers.hear(announcement.kind, announcement.number, backlog=heard.backlog)
        else:
            self._hear_other(opened, heard, medium)

    def _hear_other(self, opened: Opened, heard: Heard, medium: str) -> None:
        announcement = opened.announcement
        self._admit(announcement.peer)
        entry = Entry(announcement, opened.digest, heard.message, self.clock(), self.round, heard.backlog)
        before = self.inbox.known.get(announcement.peer)
        back = before is not None and before.silent and not heard.backlog
        arrival = self.inbox.put(entry)
        if arrival is Arrival.EQUIVOCATION:
            self._refuse_for_good(entry)
        if arrival in (Arrival.REPLAY, Arrival.DUPLICATE):
            if not heard.backlog:
                self._hear_again(heard.message, medium)
            raise UpdateRejected(arrival.value)
        if not heard.backlog:
            self._remember(entry, medium)
        if before is None or back:
            self.on_change(announcement.peer, "back" if back else "new")
        if isinstance(announcement.body, Leaving) and not heard.backlog:
            self.inbox.leave_behind(announcement.peer)
            self.on_change(announcement.peer, "left")

    def _admit(self, peer: PeerId) -> None:
        if reason := self.admission.refuses(peer):
            raise UpdateRejected(reason)
        if self.peers.get(peer).refused:
            raise UpdateRejected("refused-peer")

    def _refuse_for_good(self, entry: Entry) -> None:
        peer, kind, number = entry.peer, entry.announcement.kind, entry.announcement.number
        first = self.inbox.get(peer, kind)
        self.peers.note(peer).refused = "equivocation"
        self.inbox.forget(peer)
        if len(self.proofs) < PROOFS:
            self.proofs.append(Proof(peer, kind, number, first.message if first else b"", entry.message))
        say = self.log.warning if self.peers.trusts(peer) else self.log.info  # strangers come in floods
        say("peer.refused", peer=peer[:8], reason="equivocation", kind=kind.name, number=number)
        raise UpdateRejected("equivocation")
