"""How many signatures are checked in a second: each costs some hundred times what it costs to send rubbish.

What is over a limit is refused without having been looked at, and nobody is blamed: its medium shows it again, or its peer says the next.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

import attrs

from learnae.content.seals import OPEN, Seal
from learnae.errors import UpdateRejected
from learnae.identity.envelopes import Opened, decode_envelope
from learnae.records import Announcement, PeerId

KEYS = 4096  # of which a medium remembers how much they have said lately
BLAMED = frozenset({"signature", "malformed", "cid"})  # what only rubbish is refused for; the others are of another swarm, or newer


@attrs.define
class Bucket:
    """Lets through `most` at once, and `rate` a second for ever."""

    rate: float
    most: float
    _left: float = attrs.field(init=False, default=attrs.Factory(lambda self: self.most, takes_self=True))
    _at: float | None = None

    def has(self, now: float) -> bool:
        if self._at is not None:
            self._left = min(self.most, self._left + (now - self._at) * self.rate)
        self._at = now
        return self._left >= 1

    def is_full(self, now: float) -> bool:
        return self.has(now) and self._left >= self.most

    def take(self, now: float) -> bool:
        """One, if there is one."""
        there = self.has(now)
        self._left -= there
        return there


@attrs.define
class Key:
    """What one key has said lately on one medium: `signed` by it, and `forged` in its name, for which it never pays itself."""

    signed: Bucket = attrs.field(factory=lambda: Bucket(20, 400))
    forged: Bucket = attrs.field(factory=lambda: Bucket(1, 4))


@attrs.define
class Medium:
    """The limits of one medium, in checks. An honest swarm of a thousand peers with two rounds a second stays below each of them."""

    backlog: Bucket = attrs.field(factory=lambda: Bucket(500, 25_000))
    new: Bucket = attrs.field(factory=lambda: Bucket(500, 5_000))  # keys that were never heard; they cost nothing
    heard: Bucket = attrs.field(factory=lambda: Bucket(3_000, 12_000))  # messages of others that are what they say
    forged: Bucket = attrs.field(factory=lambda: Bucket(200, 1_000))  # messages in the name of others
    reserve: Bucket = attrs.field(factory=lambda: Bucket(500, 1_000))  # when there are more: what all keys together may be forged for
    keys: OrderedDict[PeerId, Key] = attrs.field(factory=OrderedDict)

    def key(self, peer: PeerId) -> Key:
        known = self.keys.setdefault(peer, Key())
        self.keys.move_to_end(peer)
        if len(self.keys) > KEYS:
            self.keys.popitem(last=False)
        return known


@attrs.define
class Checking:
    """Opens messages, as many as the limits of their medium let through. `heard` tells of a key whether a signature of it was ever good.

    What is `old` costs no check and counts against nobody: else whoever has kept what a peer has signed could silence it by that.
    """

    swarm: bytes
    clock: Callable[[], float]
    heard: Callable[[PeerId], bool]
    held: Callable[[PeerId], bool]  # whether the inbox holds anything of it: of these keys there are not many
    old: Callable[[Announcement, bytes], bool]
    seal: Seal = OPEN
    _media: dict[str, Medium] = attrs.field(factory=dict)

    def open(self, message: bytes, medium: str, *, backlog: bool) -> Opened:
        """Raises UpdateRejected as `decode_envelope`, and "crowded" or "too-often" for what is not looked at."""
        now, limits, claimed = self.clock(), self._media.setdefault(medium, Medium()), list[PeerId]()

        def admit(peer: PeerId) -> None:
            if backlog:
                _demand(limits.backlog.take(now))
            elif not self.heard(peer):
                _demand(limits.new.take(now))
            else:
                claimed.append(peer)
                self._demand_of_heard(limits, peer, now)

        try:
            opened = decode_envelope(message, self.swarm, self.seal, admit=admit, old=self.old)
        except UpdateRejected as rejected:
            for peer in claimed if rejected.reason in BLAMED else ():
                _ = limits.forged.take(now) or (limits.key(peer).forged.take(now) and limits.reserve.take(now))
            raise
        for peer in claimed if opened.verified else ():
            limits.heard.take(now)
            limits.key(peer).signed.take(now)
        return opened

    def _demand_of_heard(self, limits: Medium, peer: PeerId, now: float) -> None:
        """Only what a key has signed counts against it: anybody can put it into a message. While too much is forged on a medium, each key
        has a share of its own of what may turn out to be forged, so that whoever forges some silences none of the others.
        """
        key = limits.key(peer)
        if not key.signed.has(now):
            raise UpdateRejected("too-often", f"from {peer[:8]}")
        spared = self.held(peer) and key.forged.is_full(now)  # not forged lately
        _demand(limits.heard.has(now) and (limits.forged.has(now) or spared or (key.forged.has(now) and limits.reserve.has(now))))


def _demand(there: bool) -> None:
    if not there:
        raise UpdateRejected("crowded")
