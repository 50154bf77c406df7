"""Limits by rate: how many signatures are checked, how many lines tell of strangers, how long work for them may take. A check costs a
hundred times what rubbish does.

What is over a limit is refused without having been looked at, and nobody is blamed: its medium shows it again, or its peer says the next.
"""

from __future__ import annotations

import enum
from collections import OrderedDict
from collections.abc import Callable
from typing import TypeVar

import attrs
import trio

from learnae.content.encryption import NO_ENCRYPTION, Encryption
from learnae.errors import UpdateRejectedError
from learnae.identity.envelopes import OpenedEnvelope, decode_envelope
from learnae.records import Announcement, PeerId
from learnae.strategies import RunInThread

T = TypeVar("T")

KEYS = 4096  # of which a medium remembers how much they have said lately; of those that were accepted, as many again


class SenderRank(enum.IntEnum):
    """Whose a message claims to be. The lower, the more of a limit it may use: none can use up what is kept for a lower one."""

    ACCEPTED = 0  # an update of this peer was merged, or it is this node itself
    HELD = 1  # the inbox holds something of it: of these keys there are not many
    OTHER = 2


@attrs.define
class TokenBucket:
    """Lets through `most` at once, and `rate` a second for ever; whoever has a rank must leave that many behind."""

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
        """One, if there is one."""
        there = self.has(now, rank)
        self._left -= there
        return there


@attrs.define
class LogShare:
    """Lines that tell what strangers did: some at once, then one a minute. What is not told can be told later, if it is still so."""

    clock: Callable[[], float]
    _lines: TokenBucket = attrs.field(factory=lambda: TokenBucket(rate=1 / 60, most=8))

    def take(self) -> bool:
        """Whether one more may be written now."""
        return self._lines.take(self.clock())


@attrs.define
class KeyBudget:
    """What one key has said lately on one medium: `signed` by it, and `forged` in its name, for which it never pays itself."""

    signed: TokenBucket = attrs.field(factory=lambda: TokenBucket(20, 400))
    forged: TokenBucket = attrs.field(factory=lambda: TokenBucket(1, 4))


@attrs.define
class MediumBudget:
    """The limits of one medium, in checks. An honest swarm of a thousand peers with two rounds a second stays below each of them.

    Those that were accepted come first in each: whatever all others do leaves them ten rounds of a thousand peers at once, and the rate.
    """

    backlog: TokenBucket = attrs.field(factory=lambda: TokenBucket(500, 35_000, (0, 10_000, 10_000)))
    new: TokenBucket = attrs.field(factory=lambda: TokenBucket(500, 5_000))  # keys that were never heard; they cost nothing
    heard: TokenBucket = attrs.field(
        factory=lambda: TokenBucket(3_000, 22_000, (0, 10_000, 10_000))
    )  # messages of others that are what they say
    forged: TokenBucket = attrs.field(factory=lambda: TokenBucket(200, 1_000))  # messages in the name of others
    reserve: TokenBucket = attrs.field(factory=lambda: TokenBucket(1_500, 10_000, (0, 4_500, 9_000)))  # when there are more: for all keys
    keys: dict[bool, OrderedDict[PeerId, KeyBudget]] = attrs.field(factory=lambda: {True: OrderedDict(), False: OrderedDict()})

    def key(self, peer: PeerId, rank: SenderRank) -> KeyBudget:
        """Of those that were accepted by themselves: no number of others makes them be forgotten."""
        keys = self.keys[rank is SenderRank.ACCEPTED]
        if peer not in keys:
            keys[peer] = KeyBudget()
        keys.move_to_end(peer)
        if len(keys) > KEYS:
            keys.popitem(last=False)
        return keys[peer]


@attrs.frozen
class SenderClaim:
    """A message in somebody's name that may be looked at, and what its check counts against. `key` where its name was known before."""

    limits: MediumBudget
    rank: SenderRank
    bucket: TokenBucket
    key: KeyBudget | None = None
    live: bool = False

    def was_good(self, now: float) -> None:
        self.bucket.take(now, self.rank)
        if self.key and self.live:
            self.key.signed.take(now)

    def was_bad(self, now: float) -> None:
        if self.key is None:
            self.bucket.take(now, self.rank)
        elif self.live:
            _ = self.limits.forged.take(now) or (self.key.forged.take(now) and self.limits.reserve.take(now, self.rank))
        else:
            self.bucket.take(now, self.rank)
            self.key.forged.take(now)


@attrs.define
class SignatureBudget:
    """Opens messages, as many as the limits of their medium let through.

    `heard` tells of a key whether a signature of it was ever good, `accepted` whether an update of it was ever merged: a flood by the keys
    of others takes nothing from those. What is `old` costs no check and counts against nobody: else whoever has kept what a peer has signed
    could silence it by that.
    """

    swarm: bytes
    clock: Callable[[], float]
    heard: Callable[[PeerId], bool]
    accepted: Callable[[PeerId], bool]
    held: Callable[[PeerId], bool]  # whether the inbox holds anything of it
    old: Callable[[Announcement, bytes], bool]
    encryption: Encryption = NO_ENCRYPTION
    _media: dict[str, MediumBudget] = attrs.field(factory=dict)

    def open(self, message: bytes, medium: str, *, backlog: bool) -> OpenedEnvelope:
        """Raises UpdateRejectedError as `decode_envelope`, and "crowded" or "too-often" for what is not looked at."""
        now, limits, claims = self.clock(), self._media.setdefault(medium, MediumBudget()), list[SenderClaim]()

        def admit(peer: PeerId) -> None:
            claims.append(self._backlog(limits, peer, now) if backlog else self._live(limits, peer, now))

        try:
            opened = decode_envelope(message, self.swarm, self.encryption, admit=admit, old=self.old)
        except UpdateRejectedError:
            for claim in claims:  # whatever it was refused for: it was decoded
                claim.was_bad(now)
            raise
        for claim in claims if opened.verified else ():
            claim.was_good(now)
        return opened

    def _backlog(self, limits: MediumBudget, peer: PeerId, now: float) -> SenderClaim:
        """In a name that is forged too often it has no more than any other."""
        key = limits.key(peer, SenderRank.ACCEPTED) if self.accepted(peer) else None
        rank = SenderRank.ACCEPTED if key and key.forged.has(now) else SenderRank.OTHER
        _demand(limits.backlog.has(now, rank))
        return SenderClaim(limits, rank, limits.backlog, key)

    def _live(self, limits: MediumBudget, peer: PeerId, now: float) -> SenderClaim:
        """Only what a key has signed counts against it: anybody can put it into a message. While too much is forged on a medium, each key
        has a share of its own of what may turn out to be forged, so that whoever forges some silences none of the others.
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
    """Runs one call after the other, in the order in which they come; together they take no more than their share of the time.

    Whoever is behind others waits for its turn in the time that its own fetch has.
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
