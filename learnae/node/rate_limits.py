"""Rate limits: how many signatures are checked, how many log lines are about strangers, and how long work for them may take.

Checking a signature costs a hundred times what sending garbage costs. A message over a limit is refused without a look at it, and counts
against nobody. Its medium shows it again, or its sender sends the next one.
"""

from __future__ import annotations

import enum
from collections import OrderedDict
from collections.abc import Callable, Collection
from typing import TypeVar

import attrs
import trio

from learnae.content.encryption import NO_ENCRYPTION, Encryption
from learnae.errors import UpdateRejectedError
from learnae.identity.envelopes import OpenedEnvelope, decode_envelope
from learnae.records import Announcement, AnnouncementKind, PeerId
from learnae.waiting import RunInThread

T = TypeVar("T")

KEYS = 4096  # of which a medium remembers how much they have said lately; of those that were accepted, as many again


class SenderRank(enum.IntEnum):
    """The rank of the peer that a message claims to come from. A lower rank may use more of a limit: a part is reserved for lower ranks."""

    ACCEPTED = 0  # an update of this peer was merged, or it is this node itself
    HELD = 1  # the inbox holds something of it: of these keys there are not many
    OTHER = 2


@attrs.define
class TokenBucket:
    """Lets `most` through at once, and `rate` a second after that. A caller with a rank must leave as many as its rank reserves."""

    rate: float
    most: float
    kept: tuple[float, float, float] = (0, 0, 0)
    _left: float = attrs.field(init=False, default=attrs.Factory(lambda self: self.most, takes_self=True))
    _at: float | None = None

    def has(self, now: float, rank: SenderRank = SenderRank.OTHER) -> bool:
        if self._at is not None:
            self._left = min(self.most, self._left + (now - self._at) * self.rate)
        self._at = now
        return self._left >= 1 + self.kept[rank]

    def take(self, now: float, rank: SenderRank = SenderRank.OTHER) -> bool:
        """Take one, and return True, if there is one."""
        there = self.has(now, rank)
        self._left -= there
        return there


@attrs.define
class LogShare:
    """Limits the log lines about strangers: some at once, then one a minute. A fact that was not logged can be logged later."""

    clock: Callable[[], float]
    _lines: TokenBucket = attrs.field(factory=lambda: TokenBucket(rate=1 / 60, most=8))

    def take(self) -> bool:
        """Whether one more line may be written now."""
        return self._lines.take(self.clock())


@attrs.define
class KeyBudget:
    """The recent messages of one key on one medium: those `signed` by it, and those `forged` in its name.

    Forged ones never count against it.
    """

    signed: TokenBucket = attrs.field(factory=lambda: TokenBucket(20, 400))
    forged: TokenBucket = attrs.field(factory=lambda: TokenBucket(1, 4))


@attrs.define
class MediumBudget:
    """The limits of one medium, in signature checks. An honest swarm of a thousand peers with two rounds a second stays below each of them.

    Accepted peers come first in each limit. Whatever others send, ten rounds of a thousand accepted peers at once remain, and the rate.
    """

    backlog: TokenBucket = attrs.field(factory=lambda: TokenBucket(500, 35_000, (0, 10_000, 10_000)))
    new: TokenBucket = attrs.field(factory=lambda: TokenBucket(500, 5_000))  # keys that were never heard; they cost nothing
    heard: TokenBucket = attrs.field(
        factory=lambda: TokenBucket(3_000, 22_000, (0, 10_000, 10_000))
    )  # messages of others that are what they say
    forged: TokenBucket = attrs.field(factory=lambda: TokenBucket(200, 1_000))  # messages in the name of others
    samples: TokenBucket = attrs.field(factory=lambda: TokenBucket(200, 4_000, (0, 0, 1_000)))  # of all keys together, beside the others
    reserve: TokenBucket = attrs.field(factory=lambda: TokenBucket(1_500, 10_000, (0, 4_500, 9_000)))  # when there are more: for all keys
    keys: dict[bool, OrderedDict[PeerId, KeyBudget]] = attrs.field(factory=lambda: {True: OrderedDict(), False: OrderedDict()})

    def key(self, peer: PeerId, rank: SenderRank) -> KeyBudget:
        """The budget of a key. Accepted keys are kept apart, so that no number of other keys makes the node forget them."""
        keys = self.keys[rank is SenderRank.ACCEPTED]
        if peer not in keys:
            keys[peer] = KeyBudget()
        keys.move_to_end(peer)
        if len(keys) > KEYS:
            keys.popitem(last=False)
        return keys[peer]


@attrs.frozen
class SenderClaim:
    """A message that may be checked, and the budget that the check counts against. `key` is there if the sender was known before."""

    limits: MediumBudget
    rank: SenderRank
    bucket: TokenBucket
    key: KeyBudget | None = None
    live: bool = False
    samples: TokenBucket | None = None  # for a sample: it counts there as well, whether good or bad

    def was_good(self, now: float) -> None:
        self.bucket.take(now, self.rank)
        self._count_sample(now)
        if self.key and self.live:
            self.key.signed.take(now)

    def was_bad(self, now: float) -> None:
        self._count_sample(now)
        if self.key is None:
            self.bucket.take(now, self.rank)
        elif self.live:
            _ = self.limits.forged.take(now) or (self.key.forged.take(now) and self.limits.reserve.take(now, self.rank))
        else:
            self.bucket.take(now, self.rank)
            self.key.forged.take(now)

    def _count_sample(self, now: float) -> None:
        if self.samples is not None:
            self.samples.take(now, self.rank)


@attrs.define
class SignatureBudget:
    """Opens messages, as many as the limits of their medium allow.

    `heard` says whether a signature of a key was ever good, `accepted` whether an update of it was ever merged. A flood under other keys
    takes nothing from these. Kinds that are `unwanted` are refused by their first bytes. A message that is `old` is not checked, and counts
    against nobody. Otherwise anybody who has kept the messages of a peer could silence it by sending them again. So of those that are
    `older` and taken nevertheless a few at once are checked of each key, and then one a second, which takes nothing from what it says now.
    """

    swarm: bytes
    clock: Callable[[], float]
    heard: Callable[[PeerId], bool]
    accepted: Callable[[PeerId], bool]
    held: Callable[[PeerId], bool]  # whether the inbox holds anything of it
    old: Callable[[Announcement, bytes, bool], bool]  # with whether it comes as backlog
    encryption: Encryption = NO_ENCRYPTION
    unwanted: Collection[AnnouncementKind] = ()
    older: Callable[[Announcement], bool] = lambda announcement: False  # one before the newest of a peer, that is taken all the same
    _media: dict[str, MediumBudget] = attrs.field(factory=dict)

    def open(self, message: bytes, medium: str, *, backlog: bool) -> OpenedEnvelope:
        """Open a message. Raises UpdateRejectedError as `decode_envelope`, "unwanted-kind", and "crowded" or "too-often" over a limit."""
        now, limits, claims = self.clock(), self._media.setdefault(medium, MediumBudget()), list[SenderClaim]()

        def admit(peer: PeerId, kind: AnnouncementKind) -> None:
            if kind in self.unwanted:
                raise UpdateRejectedError("unwanted-kind", kind.name)
            claim = self._backlog(limits, peer, now) if backlog else self._live(limits, peer, now)
            if kind is AnnouncementKind.SAMPLE:
                _demand(limits.samples.has(now, claim.rank))
                claim = attrs.evolve(claim, samples=limits.samples)
            claims.append(claim)

        def is_old(announcement: Announcement, digest: bytes) -> bool:
            if self.old(announcement, digest, backlog):
                return True
            if claims[0].live and (key := claims[0].key) and self.older(announcement):
                claims[0] = attrs.evolve(claims[0], live=False)
                return not key.forged.take(now)
            return False

        try:
            opened = decode_envelope(message, self.swarm, self.encryption, admit=admit, old=is_old)
        except UpdateRejectedError:
            for claim in claims:  # whatever it was refused for: it was decoded
                claim.was_bad(now)
            raise
        for claim in claims if opened.verified else ():
            claim.was_good(now)
        return opened

    def _backlog(self, limits: MediumBudget, peer: PeerId, now: float) -> SenderClaim:
        """The claim of a backlog message. If its key is forged too often, it may use no more than an unknown key."""
        key = limits.key(peer, SenderRank.ACCEPTED) if self.accepted(peer) else None
        rank = SenderRank.ACCEPTED if key and key.forged.has(now) else SenderRank.OTHER
        _demand(limits.backlog.has(now, rank))
        return SenderClaim(limits, rank, limits.backlog, key)

    def _live(self, limits: MediumBudget, peer: PeerId, now: float) -> SenderClaim:
        """The claim of a live message. Only messages that a key has signed count against it, because anybody can write its name.

        While too much is forged on a medium, each key has a share of its own for messages that turn out to be forged. So forged messages
        of some keys do not silence the others.
        """
        if not self.heard(peer):
            _demand(limits.new.has(now))
            return SenderClaim(limits, SenderRank.OTHER, limits.new)
        rank = SenderRank.ACCEPTED if self.accepted(peer) else SenderRank.HELD if self.held(peer) else SenderRank.OTHER
        key = limits.key(peer, rank)
        if not key.signed.has(now):
            raise UpdateRejectedError("too-often", f"from {peer[:8]}")
        _demand(limits.heard.has(now, rank) and (limits.forged.has(now) or (key.forged.has(now) and limits.reserve.has(now, rank))))
        return SenderClaim(limits, rank, limits.heard, key, live=True)


def _demand(there: bool) -> None:
    if not there:
        raise UpdateRejectedError("crowded")


SHARE = 0.05  # of the time: as much as a round waits for strangers
AT_ONCE_SECONDS = 1.0  # of work, for a newcomer that hears nobody but strangers


@attrs.define
class TimeShare:
    """Runs calls one after the other, in the order in which they come. Together they take no more than their share of the time.

    While a call waits for its turn, the deadline of its own fetch runs on.
    """

    in_thread: RunInThread
    clock: Callable[[], float]
    _left: float = AT_ONCE_SECONDS  # seconds of work; below 0 after a call that took longer than there were
    _at: float | None = None
    _turn: trio.Lock = attrs.field(factory=trio.Lock)

    async def __call__(self, function: Callable[..., T], /, *args: object) -> T:
        async with self._turn:
            if (owed := -self._grown()) > 0:
                await trio.sleep(owed / SHARE)
            began = self.clock()
            try:
                return await self.in_thread(function, *args)
            finally:
                self._left = self._grown() - (self.clock() - began)

    def _grown(self) -> float:
        now = self.clock()
        self._left = min(AT_ONCE_SECONDS, self._left + (now - (now if self._at is None else self._at)) * SHARE)
        self._at = now
        return self._left
