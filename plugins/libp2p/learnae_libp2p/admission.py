"""Which messages of others are checked, kept and passed on, and how fast they are read: told before their signature is checked.

A check costs some ten times as much as a first look, and what is passed on costs every peer of the swarm. This module is light.
"""

from __future__ import annotations

import hashlib
import math
from collections import OrderedDict
from collections.abc import Callable
from typing import TypeVar

import attrs
import trio

from learnae import FirstLook, Standing
from learnae_libp2p.addresses import ED25519

STRANGERS_PER_SECOND, STRANGERS_AT_ONCE = 100.0, 400.0  # messages of strangers of an open swarm that connections of one host bring
ALL_STRANGERS_PER_SECOND, ALL_STRANGERS_AT_ONCE = 200.0, 800.0
KEPT_PER_SECOND, KEPT_AT_ONCE = 50.0, 4096.0  # the same as answers to our own question what was said before
FOREIGN_AT_ONCE, FOREIGN_PER_SECOND = 32.0, 0.2  # messages of no peer of the swarm, until who brings them is disconnected
AGAIN_SECONDS = 10.0  # in which one and the same message is not passed on again, whoever signs it for libp2p
MOST_SEEN, MOST_KNOWN, MOST_HOSTS = 4096, 1024, 1024

MESSAGES_PER_SECOND = 1000.0  # looked at, from all peers together
UNKNOWN_PER_SECOND = 100.0  # of them, from all connections of one host that have brought nothing yet
LEAST_PER_SECOND = 20.0
BURST = 400.0
LONGEST_PAUSE = 2.0  # who is not read for five seconds resets the stream
COSTS = {Standing.FOREIGN: 20.0, Standing.UNWANTED: 2.0}  # of one message; others cost 1

K = TypeVar("K")
T = TypeVar("T")


@attrs.define
class Pace:
    """How fast messages are taken: who sends more is read more slowly, and nothing of it is thrown away."""

    _left: float = BURST
    _at: float = -math.inf

    def pause(self, cost: float, per_second: float, now: float) -> float:
        """Seconds to wait after something that costs so much."""
        if self._at > -math.inf:
            self._left = min(BURST, self._left + (now - self._at) * per_second)
        self._at = now
        self._left = max(self._left - cost, -LONGEST_PAUSE * per_second)
        return max(0.0, -self._left / per_second)


@attrs.define
class Share:
    """So many at once, and then so many a second."""

    most: float
    per_second: float
    _used: float = 0.0
    _at: float = -math.inf

    def has(self, now: float) -> bool:
        if self._at > -math.inf:
            self._used = max(0.0, self._used - (now - self._at) * self.per_second)
        self._at = now
        return self._used + 1 <= self.most

    def take(self, now: float) -> bool:
        there = self.has(now)
        self._used += there
        return there


@attrs.define(eq=False, kw_only=True)
class MessageAdmission:
    """`peer` is who has brought a message, `host` whose connections count together: identities cost nothing, addresses a little."""

    first_look: Callable[[bytes], FirstLook]
    clock: Callable[[], float] = trio.current_time
    _known: OrderedDict[str, Pace] = attrs.field(factory=OrderedDict)  # peers that have brought something of the swarm
    _unknown: OrderedDict[str, Pace] = attrs.field(factory=OrderedDict)  # hosts of the others
    _foreign: OrderedDict[str, Share] = attrs.field(factory=OrderedDict)
    _strangers: Share = attrs.field(factory=lambda: Share(ALL_STRANGERS_AT_ONCE, ALL_STRANGERS_PER_SECOND))
    _strangers_of: OrderedDict[tuple[str, bool], Share] = attrs.field(factory=OrderedDict)
    _seen: OrderedDict[bytes, float] = attrs.field(factory=OrderedDict)

    def standing(self, message: bytes, sender: bytes, peer: str, host: str, *, kept: bool = False) -> Standing:
        """What this message is worth; less than a stranger's for one that is dropped. `sender` is who has signed it for libp2p.

        `kept` is true for what was asked for as backlog. One that names an accepted peer and is signed by another one is a stranger's.
        """
        look = self.first_look(message)
        standing = look.standing
        if standing is Standing.ACCEPTED and (look.peer is None or sender != ED25519 + bytes.fromhex(look.peer)):
            standing = Standing.STRANGER
        if standing is Standing.FOREIGN:
            self.note_foreign(peer)
            return standing
        if standing is Standing.UNWANTED or self._was_seen(message) or (standing is Standing.STRANGER and not self._fits(host, kept=kept)):
            return Standing.UNWANTED
        return standing

    def took(self, message: bytes, peer: str) -> None:
        """It was validly signed, and worth something."""
        self._seen[hashlib.sha256(message).digest()] = self.clock()
        if len(self._seen) > MOST_SEEN:
            self._seen.popitem(last=False)
        _of(self._known, peer, Pace, MOST_KNOWN)

    def note_foreign(self, peer: str) -> None:
        """It has brought what no peer of this swarm would."""
        _of(self._foreign, peer, lambda: Share(FOREIGN_AT_ONCE, FOREIGN_PER_SECOND), MOST_KNOWN).take(self.clock())
        self._known.pop(peer, None)

    def is_foreign(self, peer: str) -> bool:
        """Whether it has brought so much of no peer of this swarm that it is none itself."""
        foreign = self._foreign.get(peer)
        return foreign is not None and not foreign.has(self.clock())

    def pause(self, peer: str, host: str, cost: float, peers: int) -> float:
        """Seconds to wait before more is read of this one, when so many peers are connected."""
        if (pace := self._known.get(peer)) is not None:
            return pace.pause(cost, max(LEAST_PER_SECOND, MESSAGES_PER_SECOND / max(1, peers)), self.clock())
        return _of(self._unknown, host, Pace, MOST_HOSTS).pause(cost, UNKNOWN_PER_SECOND, self.clock())

    def _was_seen(self, message: bytes) -> bool:
        at = self._seen.get(hashlib.sha256(message).digest())
        return at is not None and self.clock() - at < AGAIN_SECONDS

    def _fits(self, host: str, *, kept: bool) -> bool:
        most, per_second = (KEPT_AT_ONCE, KEPT_PER_SECOND) if kept else (STRANGERS_AT_ONCE, STRANGERS_PER_SECOND)
        share, now = _of(self._strangers_of, (host, kept), lambda: Share(most, per_second), MOST_HOSTS), self.clock()
        if kept:
            return share.take(now)
        return share.has(now) and self._strangers.take(now) and share.take(now)


def _of(kept: OrderedDict[K, T], key: K, make: Callable[[], T], most: int) -> T:
    """What is kept under this key, or a new one; the one that was not used for the longest goes."""
    found = kept.pop(key, None)
    kept[key] = found = make() if found is None else found
    if len(kept) > most:
        kept.popitem(last=False)
    return found
