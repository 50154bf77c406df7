"""Which call may search the network through a daemon, and how long. Few searches run at once, and one for a missing block never ends."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Awaitable, Callable

import attrs
import trio

SEARCHES = 4  # at once
TURN_SECONDS = 1.0  # a search that has found nothing for so long gives way to a call that has none
SPARE_SECONDS = 0.25  # the same for one beside another of its own call
LONGEST_SECONDS = 5.0  # and for one that has found something now and then


@attrs.define(eq=False)
class SearchCall:
    """What some searches are for."""

    given_at: float = -math.inf  # its last turn


@attrs.define(eq=False)
class Turn:
    """One search of the call `owner`: waiting, or running in `scope`."""

    owner: SearchCall
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    given: trio.Event = attrs.field(factory=trio.Event)
    given_at: float = 0.0
    began: float = 0.0
    seconds: float = TURN_SECONDS

    def renew(self, seconds: float = TURN_SECONDS) -> None:
        """Something was found, and the next is looked for: it may take so long."""
        self.began, self.seconds = trio.current_time(), seconds

    def end(self, *, spare: bool, new: bool) -> float:
        """When it is to give way: a spare one, or to a call that had no turn yet, soonest."""
        seconds = SPARE_SECONDS if spare else min(self.seconds, TURN_SECONDS) if new else self.seconds
        return min(self.began + seconds, self.given_at + max(LONGEST_SECONDS, self.seconds))


@attrs.define(eq=False)
class SearchTurns:
    """The turns. No two calls can take all. The call with the fewest searches comes first, then the one whose last turn was longest ago."""

    most: int = SEARCHES
    _running: list[Turn] = attrs.field(factory=list)
    _waiting: list[Turn] = attrs.field(factory=list)

    @property
    def running(self) -> int:
        return len(self._running)

    async def run(self, owner: SearchCall, search: Callable[[Turn], Awaitable[None]]) -> bool:
        """Whether `search` came to its end; else it has given way, and may be tried again."""
        turn = Turn(owner)
        self._waiting.append(turn)
        try:
            self._give()
            while not turn.given.is_set():
                with trio.move_on_at(self._make_room(turn)):
                    await turn.given.wait()
            with turn.scope:
                await search(turn)
                return True
            return False
        finally:
            (self._running if turn in self._running else self._waiting).remove(turn)
            self._give()

    def _give(self) -> None:
        while self._waiting and len(self._running) < self.most:
            held = self._held()
            turn = min(self._waiting, key=lambda each: (held[each.owner], each.owner.given_at))
            self._waiting.remove(turn)
            self._running.append(turn)
            turn.given_at = turn.owner.given_at = trio.current_time()
            turn.renew()
            turn.given.set()

    def _make_room(self, turn: Turn) -> float:
        """End a search in favour of those that have none, if it is time; when to look again."""
        now, held = trio.current_time(), self._held()
        ending = sum(each.scope.cancel_called for each in self._running)
        without_any = {each.owner for each in self._waiting if not held[each.owner]}
        ends = {
            each: each.end(spare=held[each.owner] > 1, new=turn.owner.given_at == -math.inf)
            for each in self._running
            if not each.scope.cancel_called
        }
        if held[turn.owner] or ending >= len(without_any) or not ends:
            return now + SPARE_SECONDS
        first = min(ends, key=ends.__getitem__)
        if ends[first] > now:
            return ends[first]
        first.scope.cancel()
        return now + SPARE_SECONDS

    def _held(self) -> Counter[SearchCall]:
        return Counter(each.owner for each in self._running)
