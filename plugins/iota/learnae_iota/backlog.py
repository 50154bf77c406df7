"""What was sent before listening began: the newest places first, in portions, and not without end."""

from __future__ import annotations

import attrs

from learnae_iota.line import NodeApi
from learnae_iota.looking import AFTER_WINDOWS, BEFORE_WINDOWS, ONE_REQUEST, Poller, PollResult
from learnae_iota.places import WINDOW_SECONDS, window_of

MOST_TRANSACTIONS = 3000
MOST_NEWEST, MOST_OLDER = 1500, 500  # of one portion, so that a flood at some places leaves room for the others
FIRST_WINDOWS = 16  # of the first portion: what is newest is wanted soonest


@attrs.define
class Backlog:
    """`over` once the horizon is reached, or there was enough."""

    looker: Poller
    seconds: float
    over: bool = False
    _next: int | None = None  # the newest window that was not looked at
    _oldest: int = 0
    _room: int = MOST_TRANSACTIONS

    def portion(self, line: NodeApi) -> PollResult:
        """Blocks. After a failure the same portion can be asked for again, from any node."""
        if self._next is None:
            self._next = window_of(line.now()) + AFTER_WINDOWS
            self._oldest = self._next - max(int(self.seconds // WINDOW_SECONDS), BEFORE_WINDOWS + AFTER_WINDOWS)
            size, most = FIRST_WINDOWS, MOST_NEWEST
        else:
            size, most = ONE_REQUEST, min(self._room, MOST_OLDER)
        last = max(self._next - size, self._oldest)
        catch = self.looker.catch_backlog(line, range(self._next, last, -1), most)
        self._next, self._room = last, self._room - catch.fetched
        self.over = self._next <= self._oldest or self._room <= 0
        return catch
