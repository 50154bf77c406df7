"""Judges from the page of calls, look by look, whether the node hangs, and in which call.

Only what changes from one look to the next counts, on the watcher's own clock, and a look that comes late counts as one in time: a
suspended machine, a debugger or another clock is no hang.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import attrs

from learnae.link.callpage import Call, CallPage, Seen

LOOKS = 10  # in hang_seconds
START_SECONDS = 120.0  # the imports of plugins on a slow disk, before the loop has run once


@attrs.frozen
class Hang:
    """The node was silent for so many seconds; `call` is None where no strategy is to blame."""

    seconds: float
    call: Call | None = None

    def __str__(self) -> str:
        what = self.call.action if self.call else "calling no plugin"
        return f"it hung {self.seconds:.0f} s while {what}"


@attrs.define
class Watch:
    """Of one node after another."""

    page: CallPage
    hang_seconds: float
    clock: Callable[[], float] = time.monotonic
    _looked: float = 0.0
    _beats: int = 0
    _silent: float = 0.0  # seconds since the loop was last seen to run
    _ages: dict[tuple[int, float], float] = attrs.field(factory=dict)  # seconds since each call was first seen, while the loop ran

    @property
    def pause(self) -> float:
        """Between two looks."""
        return self.hang_seconds / LOOKS

    def begin(self) -> None:
        """A new node starts."""
        self.page.clear()
        self._looked, self._beats, self._silent = self.clock(), 0, 0.0
        self._ages.clear()

    def seconds_to_look(self) -> float:
        return max(0.0, self._looked + self.pause - self.clock())

    def look(self, stopped: Callable[[], bool]) -> Hang | None:
        """`stopped` tells whether the node's process was suspended by somebody: then its loop stands still, and no call is to blame."""
        seen, passed = self.page.read(), self._pass_time()
        self._silent = self._silent + passed if seen.beats == self._beats else 0.0
        self._beats = seen.beats
        alive = self._silent < 2 * self.pause  # not before the second look without a beat is something wrong
        self._ages = {_key(call): self._aged(call, passed if alive else 0.0) for call in seen.calls.values()}
        if self._silent >= (self.hang_seconds if seen.beats else max(self.hang_seconds, START_SECONDS)):
            return Hang(self._silent, None if stopped() else self._blocking(seen))
        return self._late(seen)

    def _pass_time(self) -> float:
        now, before = self.clock(), self._looked
        self._looked = now
        return min(now - before, 2 * self.pause)

    def _aged(self, call: Call, passed: float) -> float:
        key = _key(call)
        return self._ages[key] + passed if key in self._ages else 0.0

    def _blocking(self, seen: Seen) -> Call | None:
        """The call in whose name the loop runs; else one in a thread, which may keep the interpreter from everybody."""
        if seen.stepping in seen.calls:
            return seen.calls[seen.stepping]
        threads = [call for call in seen.calls.values() if call.within == 0.0]
        return max(threads, key=lambda call: call.number, default=None)

    def _late(self, seen: Seen) -> Hang | None:
        inner = {call.outer: call for call in seen.calls.values()}
        for call in seen.calls.values():
            if self._is_late(call, inner.get(call.number)):
                return Hang(self._age(call), call)
        return None

    def _is_late(self, call: Call, inner: Call | None) -> bool:
        """A call from within it that lasts will be late itself; one that comes and goes only shows that it needs one more look."""
        late = self._age(call) - call.within - self.hang_seconds
        return late >= 0 if inner is None else self._age(inner) == 0 and late >= self.pause

    def _age(self, call: Call) -> float:
        return self._ages[_key(call)]


def _key(call: Call) -> tuple[int, float]:
    """Time starts anew when a call is given another limit."""
    return call.number, call.within
