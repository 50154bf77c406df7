"""Receives messages: from bytes on a medium to an entry in the inbox. Each refusal has a reason."""

from __future__ import annotations

import math
from collections import Counter, OrderedDict
from collections.abc import Callable, Collection, Mapping

import attrs
import numpy as np
import trio

from learnae.content.encryption import NO_ENCRYPTION, Encryption
from learnae.errors import UnavailableError, UpdateRejectedError
from learnae.identity.envelopes import NAMES, EnvelopeHead, OpenedEnvelope, peek_envelope
from learnae.identity.keys import Admission
from learnae.node.history import EquivocationProof, PeerRecord
from learnae.node.history_reader import Sighting
from learnae.node.inbox import UNKNOWN_SECONDS, Arrival, HighWaterMark, Inbox, InboxEntry, Key
from learnae.node.keepers import MOST_ASKED, Keepers
from learnae.node.peers import Peers, sightings
from learnae.node.rate_limits import LogShare, SignatureBudget
from learnae.node.runtime import Runtime
from learnae.records import Announcement, AnnouncementKind, FirstLook, Heard, Leaving, PeerId, Present, Sample, Standing

RECENT = 1024  # envelopes that need not be verified again: the same message comes from several media, several times
PASSED_ON_SECONDS = 30.0  # so long after it was heard here, a message may still be new to others
PROOFS = 64  # that may wait for the history
HONEST = frozenset({"version", "unknown-kind"})  # what a peer of another version passes on
ORDINARY = frozenset({"duplicate", "replay", "unwanted-kind"})  # what several media, or one that is polled, bring along; or sensors


@attrs.frozen
class Learned:
    """What has changed by hearing messages, since it was last saved."""

    marks: Mapping[Key, HighWaterMark]
    peers: Mapping[PeerId, PeerRecord]
    refusals: Mapping[str, int]
    proofs: tuple[EquivocationProof, ...]
    heard: tuple[Sighting, ...] = ()


@attrs.define
class Receiver:
    """Takes in every message. `on_change(peer, state)` tells watchers. It does not use the disk."""

    own: PeerId
    swarm: bytes
    admission: Admission
    inbox: Inbox
    peers: Peers
    runtime: Runtime
    on_change: Callable[[PeerId, str], None]
    encryption: Encryption = NO_ENCRYPTION
    named: Collection[PeerId] = ()  # by `join.trust`
    unwanted: Collection[AnnouncementKind] = ()  # kinds that this peer has no use for, nor passes on between media
    foreign: Collection[AnnouncementKind] = ()  # of these, what no peer of this swarm says
    round: int = 0
    numbers: SequenceNumbers = attrs.field(
        default=attrs.Factory(lambda self: SequenceNumbers(self.runtime), takes_self=True)
    )  # the own ones
    keepers: Keepers = attrs.field(default=attrs.Factory(lambda self: Keepers(self.inbox, self.named), takes_self=True))
    signature_budget: SignatureBudget = attrs.field(default=attrs.Factory(lambda self: self._limited(), takes_self=True))
    refusals: Counter[str] = attrs.field(factory=Counter)
    proofs: list[EquivocationProof] = attrs.field(factory=list)
    _recent: OrderedDict[bytes, OpenedEnvelope] = attrs.field(factory=OrderedDict)
    _said: OrderedDict[bytes, InboxEntry] = attrs.field(factory=OrderedDict)
    _refused: Counter[str] = attrs.field(factory=Counter)  # in this run
    _lines: LogShare = attrs.field(
        default=attrs.Factory(lambda self: LogShare(self.runtime.clock), takes_self=True)
    )  # of refused strangers

    def hear(self, heard: Heard, medium: str = "") -> bool:
        """Take a message, or count the reason why it is refused. Never raises. Returns True if the message was taken."""
        try:
            self._take(self._open(heard, medium), heard, medium)
        except UpdateRejectedError as rejected:
            self.refusals[rejected.reason] += 1
            self._tell(rejected.reason)
            return False
        return True

    def first_look(self, message: bytes) -> FirstLook:
        """As `Context.first_look`. It changes nothing: whoever could not write the message has no part in what is said of it."""
        try:
            head = peek_envelope(message, self.swarm, self.encryption)
        except UpdateRejectedError as rejected:
            return FirstLook(Standing.UNWANTED if rejected.reason in HONEST else Standing.FOREIGN)
        if head.kind in self.foreign:
            return FirstLook(Standing.FOREIGN, head.peer)
        if self.admission.refuses(head.peer) or self.peers.get(head.peer).refused or self._is_overtaken(message, head):
            return FirstLook(Standing.UNWANTED, head.peer)
        if self.encryption is not NO_ENCRYPTION:
            return FirstLook(Standing.MEMBER, head.peer)
        return FirstLook(Standing.ACCEPTED if self.peers.accepted(head.peer) else Standing.STRANGER, head.peer)

    def said(self, message: bytes) -> InboxEntry | None:
        """The announcement in this message of another peer, if the message was taken lately, and live; samples also of the backlog."""
        return self._said.get(message)

    def hints(self, peer: PeerId, storage: str) -> tuple[str, ...]:
        """The texts with which that peer says where its storage of this name can be reached; of one that is not there, keepers' first.

        Only two keepers are asked: anybody can call itself one, and have others look where it says.
        """
        known = self.inbox.known.get(peer)
        told = self._hints_of(peer, storage)
        if known is not None and not known.silent:
            self.keepers.not_asked(peer)
            return told
        each = NAMES // (MOST_ASKED + 1)
        kept = [text for keeper in self.keepers.ask(peer) for text in self._hints_of(keeper, storage)[:each]]
        return tuple(dict.fromkeys((*kept, *told)))[:NAMES]

    def fetched(self, peer: PeerId, whole: bool) -> None:
        """Whether what was looked for where `hints` says has come."""
        (self.keepers.came if whole else self.keepers.in_vain)(peer)

    def _hints_of(self, peer: PeerId, storage: str) -> tuple[str, ...]:
        entry = self.inbox.get(peer, AnnouncementKind.PRESENT)
        present = entry.announcement.body if entry else None
        return present.hints.get(storage, ()) if isinstance(present, Present) else ()

    def forget(self, peer: PeerId) -> None:
        """Remove everything that this peer has announced. Its later messages are heard, if the peer is still admitted."""
        known = self.inbox.known.get(peer)
        self.inbox.forget(peer)
        if known is not None and known.heard_live:
            self.on_change(peer, "left")

    def note_silence(self, rounds: int) -> None:
        """Report each peer that was not heard for more than so many rounds: own rounds, or those of the peer if they take longer."""
        now = self.runtime.clock()
        for peer, known in self.inbox.known.items():
            if known.silent or self.round - known.heard_round <= rounds:
                continue
            if now - known.heard_at > known.publishing_rate.patience_seconds(rounds, UNKNOWN_SECONDS):
                known.silent = True
                self.on_change(peer, "silent")

    def take_learned(self) -> Learned:
        """What has to be saved now."""
        marks = self.inbox.take_changed_marks()
        heard = tuple(sightings(self.inbox, marks))
        learned = Learned(marks, self.peers.take_changed(), self.refusals, tuple(self.proofs), heard)
        self.refusals, self.proofs = Counter(), []
        return learned

    async def save_learned(self, write: Callable[[Learned], None]) -> None:
        """Let `write` save what has to be saved now, in one call in a thread. Hearing goes on meanwhile.

        If it fails, the next call saves that as well. Raises UnavailableError.
        """
        learned = self.take_learned()
        try:
            await self.runtime.in_thread(write, learned)
        except (UnavailableError, trio.Cancelled):  # cancelled before it began: a thread that writes is waited for
            self.put_back(learned)
            raise

    def put_back(self, learned: Learned) -> None:
        """It could not be saved. The next `take_learned` returns it again."""
        self.inbox.put_back(learned.marks)
        self.peers.put_back(learned.peers)
        self.refusals.update(learned.refusals)
        self.proofs = [*learned.proofs, *self.proofs][:PROOFS]

    def _limited(self) -> SignatureBudget:
        def accepted(peer: PeerId) -> bool:
            return peer == self.own or self.peers.accepted(peer)

        def was_heard(peer: PeerId) -> bool:
            return accepted(peer) or self.inbox.was_heard(peer)

        held = self.inbox.known.__contains__
        return SignatureBudget(
            self.swarm, self.runtime.clock, was_heard, accepted, held, self._is_old, self.encryption, self.unwanted, self._is_older
        )

    def _is_old(self, announcement: Announcement, digest: bytes, backlog: bool) -> bool:
        if announcement.peer == self.own:
            return self.numbers.is_old(announcement.kind, announcement.number)
        return self.inbox.is_old(announcement, digest, backlog=backlog)

    def _is_older(self, announcement: Announcement) -> bool:
        return announcement.peer != self.own and self.inbox.is_older(announcement.peer, announcement.kind, announcement.number)

    def _is_overtaken(self, message: bytes, head: EnvelopeHead) -> bool:
        """Whether a newer one was heard. The newest itself is passed on, also when it comes again by another way.

        Of kinds of which each counts, so is what was heard just now. What was heard long ago is not: else whoever has written it down has
        all of it carried again and again.
        """
        peer, kind, number = head.peer, head.kind, head.number
        if peer == self.own:
            return number < self.numbers.used.get(kind, 0)
        if self.inbox.was_taken(peer, kind, number):
            entry = self._said.get(message)
            return entry is None or self.runtime.clock() - entry.heard_at > PASSED_ON_SECONDS
        return self.inbox.is_overtaken(peer, kind, number) or self.inbox.is_past(peer, kind, number)

    def _open(self, heard: Heard, medium: str) -> OpenedEnvelope:
        opened = self._recent.get(heard.message) or self.signature_budget.open(heard.message, medium, backlog=heard.backlog)
        if not opened.verified:
            return opened
        self._recent[heard.message] = opened
        if len(self._recent) > RECENT:
            self._recent.popitem(last=False)
        return opened

    def _remember(self, entry: InboxEntry) -> None:
        self._said[entry.message] = entry
        if len(self._said) > RECENT:
            self._said.popitem(last=False)

    def _tell(self, reason: str) -> None:
        """Log the first message that is refused for a reason, the tenth, the hundredth and so on. So noise does not fill the log."""
        self._refused[reason] += 1
        count = self._refused[reason]
        if count == 10 ** (len(str(count)) - 1):
            say = self.runtime.log.info if reason in ORDINARY else self.runtime.log.warning
            say("messages.refused", reason=reason, count=count)

    def _take(self, opened: OpenedEnvelope, heard: Heard, medium: str) -> None:
        announcement = opened.announcement
        if announcement.peer == self.own:
            self.numbers.hear(announcement.kind, announcement.number, backlog=heard.backlog)
        else:
            self._hear_other(opened, heard, medium)

    def _hear_other(self, opened: OpenedEnvelope, heard: Heard, medium: str) -> None:
        announcement = opened.announcement
        self._admit(announcement.peer)
        entry = InboxEntry(announcement, opened.digest, heard.message, self.runtime.clock(), self.round, heard.backlog, medium)
        before = self.inbox.known.get(announcement.peer)
        known, silent = before is not None and before.heard_live, before is None or before.silent
        arrival = self.inbox.put(entry)
        if arrival is Arrival.EQUIVOCATION:
            self._refuse_for_good(entry)
        if arrival in (Arrival.REPLAY, Arrival.DUPLICATE):
            raise UpdateRejectedError(arrival.value)
        if arrival is Arrival.OLDER:
            return  # no sign of life, and no news to pass on
        if not heard.backlog or isinstance(announcement.body, Sample):  # readings count, whenever they were sent
            self._remember(entry)
        if not entry.shows_life:
            return  # whoever has said that may have left long ago
        if silent:
            self.on_change(announcement.peer, "back" if known else "new")
        if isinstance(announcement.body, Leaving):
            self.inbox.leave_behind(announcement.peer)
            self.on_change(announcement.peer, "left")

    def _admit(self, peer: PeerId) -> None:
        if reason := self.admission.refuses(peer):
            raise UpdateRejectedError(reason)
        if self.peers.get(peer).refused:
            raise UpdateRejectedError("refused-peer")

    def _refuse_for_good(self, entry: InboxEntry) -> None:
        peer, kind, number = entry.peer, entry.announcement.kind, entry.announcement.number
        first = self.inbox.get(peer, kind)
        self.peers.note(peer).refused = "equivocation"
        self.inbox.forget(peer)
        if len(self.proofs) < PROOFS:
            self.proofs.append(EquivocationProof(peer, kind, number, first.message if first else b"", entry.message))
        trusted = self.peers.trusts(peer)
        if trusted or self._lines.take():  # strangers come in floods
            say = self.runtime.log.warning if trusted else self.runtime.log.info
            say("peer.refused", peer=peer[:8], reason="equivocation", kind=kind.name, number=number)
        raise UpdateRejectedError("equivocation")


LEAP = 1 << 32
"""More messages than one home ever sends: whoever goes on above a leap is beyond all that was said before."""

PAUSE_SECONDS = 60.0
LONGEST_PAUSE = 3600.0

FORGIVEN_SECONDS = 6 * LONGEST_PAUSE
"""So long after a pause it is forgotten: a machine that ran for an hour last year makes no pause longer."""

KEPT = 1024  # numbers of each kind that were taken and not sent


@attrs.define
class SequenceNumbers:
    """The sequence numbers of this peer, and what it hears under its own key.

    `used` is the highest number of each kind that was taken. `raised` is the number of each kind that this run has leapt to.

    A number is taken long before its message is sent, because the model is encoded and stored in between. If a message under the own key
    comes with this number or a higher one, the number was used before. Then it is not sent, and the numbers leap.

    Somebody may have kept all messages of an earlier run under this key, and may show them again, live and in any order. All of these are
    below the first leap. So a message above a leap comes from a second peer with this key. That is logged, and this peer pauses. It never
    stops for good, because an earlier run in a lost home may have leapt too.
    """

    runtime: Runtime
    used: dict[AnnouncementKind, int] = attrs.field(factory=dict)
    raised: dict[AnnouncementKind, int] = attrs.field(factory=dict)
    _rng: np.random.Generator = attrs.field(default=attrs.Factory(lambda self: self.runtime.rng("numbers"), takes_self=True))
    _unsent: dict[AnnouncementKind, dict[int, None]] = attrs.field(factory=dict)  # taken, and not sent: under way, or given up
    _pause: float = PAUSE_SECONDS  # the next one
    _until: float = -math.inf

    @property
    def elsewhere(self) -> bool:
        """Whether this peer must not publish now, because its key is used on another machine too."""
        return self.runtime.clock() < self._until

    def take(self, kind: AnnouncementKind, number: int) -> bool:
        """Take this number, which is on disk, for the next message. Returns False if a higher one was heard meanwhile."""
        if not self.stands(kind, number):
            return False
        self.used[kind] = max(number, self.used.get(kind, 0))
        unsent = self._unsent.setdefault(kind, {})
        unsent[number] = None
        if len(unsent) > KEPT:
            del unsent[next(iter(unsent))]
        return True

    def stands(self, kind: AnnouncementKind, number: int) -> bool:
        """Whether nobody was heard to use this number since it was taken. Each leap goes beyond all numbers that were taken."""
        return number > self.raised.get(kind, 0)

    def send(self, kind: AnnouncementKind, number: int) -> bool:
        """Mark this number as sent, and return True, unless it must not be sent."""
        if self.elsewhere or not self.stands(kind, number):
            return False
        self._unsent.get(kind, {}).pop(number, None)
        return True

    def is_old(self, kind: AnnouncementKind, number: int) -> bool:
        """Whether a message with this number under the own key tells nothing new, whoever has signed it."""
        return number <= self.used.get(kind, 0) and number not in self._unsent.get(kind, {})

    def hear(self, kind: AnnouncementKind, number: int, *, backlog: bool) -> None:
        """Take in a message under the own key.

        The size of a leap is random, so that two peers with one key do not go on with one number.
        """
        if self.is_old(kind, number):
            return
        again = kind in self.raised
        self._unsent.pop(kind, None)
        self.raised[kind] = self.used[kind] = max(number, self.used.get(kind, 0)) + LEAP + int(self._rng.integers(LEAP))
        if backlog:
            return
        if again:
            self._take_a_pause()
        else:
            self.runtime.log.warning(
                "identity.raised",
                kind=kind.name,
                remedy="nothing, if you gave an old key to a new home; otherwise see that no other machine uses this key",
            )

    def _take_a_pause(self) -> None:
        if self.runtime.clock() - self._until > FORGIVEN_SECONDS:
            self._pause = PAUSE_SECONDS
        remedy = "this key runs on another machine too: stop one of them, or give one a new home"
        self.runtime.log.error("identity.elsewhere", remedy=remedy, consequence=f"nothing is published for {self._pause:g} s")
        self._until = self.runtime.clock() + self._pause
        self._pause = min(2 * self._pause, LONGEST_PAUSE)
