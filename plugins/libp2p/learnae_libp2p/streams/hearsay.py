"""What is dialled because others have said that somebody is there: one account for all of it, whoever has said it and however it was heard.

An address at which nobody answered is left alone for a growing time, under whatever name somebody is said to be there. Of one host, and by
one way of hearing, few are dialled that do not answer. What answers takes nothing from others.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import TypeVar

import attrs
import trio

from learnae_libp2p.streams.transport import Place, UnreachableError

FIRST_SECONDS, LIMIT_SECONDS = 0.5, 3600.0  # until an address is tried again at which nobody answered
HOST_AT_ONCE, HOST_SECONDS = 16, 30.0  # dials of one host without an answer, and until one more is made
WAY_AT_ONCE, WAY_SECONDS = 64, 10.0  # the same of all that was heard by one way
MOST_PLACES, MOST_HOSTS, MOST_WAYS = 4096, 1024, 16

K = TypeVar("K")
T = TypeVar("T")


class TooSoonError(UnreachableError):
    """This is not dialled now; in so many seconds it may be."""

    def __init__(self, why: str, seconds: float) -> None:
        super().__init__(why)
        self.seconds = seconds


@attrs.define
class _UnansweredDials:
    tries: int = 0
    due: float = 0.0


@attrs.define
class _DialAllowance:
    """So many at once, and then one in so many seconds; what has answered is given back."""

    most: int
    seconds: float
    used: float = 0.0
    at: float = 0.0

    def wait(self, now: float) -> float:
        """Seconds until there is one."""
        self.used = max(0.0, self.used - (now - self.at) / self.seconds)
        self.at = now
        return max(0.0, (self.used + 1 - self.most) * self.seconds)


@attrs.define(eq=False, kw_only=True)
class HearsayAccount:
    """`begin` before each dial, `answered` where it was who was said to be there. `clock` is in seconds."""

    clock: Callable[[], float] = trio.current_time
    _places: OrderedDict[str, _UnansweredDials] = attrs.field(factory=OrderedDict)
    _hosts: OrderedDict[str, _DialAllowance] = attrs.field(factory=OrderedDict)
    _ways: OrderedDict[str, _DialAllowance] = attrs.field(factory=OrderedDict)

    def begin(self, place: Place, way: str) -> None:
        """Charge one dial. Raises TooSoonError."""
        now, attempts = self.clock(), _kept(self._places, place.address, _UnansweredDials, MOST_PLACES)
        host, heard_by = self._allowances(place, way)
        if attempts.tries and attempts.due > now:
            raise TooSoonError("nobody has answered there, and it is not tried again so soon", attempts.due - now)
        if (wait := max(host.wait(now), heard_by.wait(now))) > 0:
            raise TooSoonError("much of what was heard so does not answer", wait)
        attempts.due = now + min(LIMIT_SECONDS, FIRST_SECONDS * 2**attempts.tries)
        attempts.tries = min(attempts.tries + 1, 32)
        host.used += 1
        heard_by.used += 1

    def answered(self, place: Place, way: str) -> None:
        """Nothing is owed for it."""
        self._places.pop(place.address, None)
        for allowance in self._allowances(place, way):
            allowance.used = max(0.0, allowance.used - 1)

    def _allowances(self, place: Place, way: str) -> tuple[_DialAllowance, _DialAllowance]:
        return (
            _kept(self._hosts, place.host, lambda: _DialAllowance(HOST_AT_ONCE, HOST_SECONDS, at=self.clock()), MOST_HOSTS),
            _kept(self._ways, way, lambda: _DialAllowance(WAY_AT_ONCE, WAY_SECONDS, at=self.clock()), MOST_WAYS),
        )


def _kept(kept: OrderedDict[K, T], key: K, make: Callable[[], T], most: int) -> T:
    found = kept.pop(key, None)
    kept[key] = found = make() if found is None else found
    if len(kept) > most:
        kept.popitem(last=False)
    return found
