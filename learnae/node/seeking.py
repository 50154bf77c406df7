"""Models of several lineages, looked for side by side: those that are only announced hold up nobody (decision 30)."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Sequence

import attrs
import trio

from learnae.node.inbox import Entry
from learnae.node.newcomers import CANDIDATES
from learnae.node.obtaining import Obtained, Obtainer
from learnae.node.pace import LEAST_SECONDS
from learnae.node.tally import Tally
from learnae.records import PeerId

LANES = 8  # lineages at once
LONGEST_REST = 4  # each miss doubles the rest, up to 16 rounds


@attrs.define
class Misses:
    """Lineages none of whose models came when they were looked for: how often, and in which round the last time."""

    _missed: dict[bytes, tuple[int, int]] = attrs.field(factory=dict)

    def note(self, lineage: bytes, round_: int) -> None:
        self._missed[lineage] = self.times(lineage) + 1, round_

    def forget(self, lineage: bytes) -> None:
        """One came."""
        self._missed.pop(lineage, None)

    def keep(self, lineages: Collection[bytes]) -> None:
        """Of all others nothing is remembered: whoever invents lineages fills no memory."""
        self._missed = {lineage: missed for lineage, missed in self._missed.items() if lineage in lineages}

    def times(self, lineage: bytes) -> int:
        return self._missed.get(lineage, (0, 0))[0]

    def rests(self, lineage: bytes, round_: int) -> bool:
        times, last = self._missed.get(lineage, (0, round_))
        return times > 0 and round_ - last < 1 << min(times, LONGEST_REST)


@attrs.frozen
class Lead:
    """A lineage, whose models of it to try first, and how well it is supported."""

    lineage: bytes
    entries: Sequence[Entry]
    strength: int


@attrs.define(eq=False)
class _Lane:
    """What is fetched of one lineage, and when it was begun; `came_after` so many seconds the first came."""

    lead: Lead
    entries: Sequence[Entry]
    began: float
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    obtained: list[Obtained] = attrs.field(factory=list)
    came_after: float = math.inf
    ended: bool = False

    @property
    def pending(self) -> bool:
        return not self.obtained and not self.ended


@attrs.frozen
class Found:
    """`rest`: what else is announced in that lineage, and was not tried."""

    lineage: bytes
    obtained: list[Obtained]
    rest: Sequence[Entry]


@attrs.define
class Search:
    """Once, for leads in the order of preference: of the first as many models as a medoid needs, of the others one.

    What has come waits for a lineage before it of more support until that fails, for one of no more support as long again as it took.
    """

    obtainer: Obtainer
    tally: Tally
    clock: Callable[[], float]
    beside: bool = False
    _lanes: list[_Lane] = attrs.field(factory=list)
    _nursery: trio.Nursery | None = None
    _news: trio.Event = attrs.field(factory=trio.Event)

    async def run(self, leads: Iterable[Lead]) -> Found | None:
        """What came of the best of them; None if nothing did."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            self.add(leads)
            best = await self._best()
            self._nursery = None
            for lane in self._lanes:
                if lane is not best:
                    lane.scope.cancel()  # from outside: nobody is blamed for what was not waited for
        if best is None:
            return None
        obtained = sorted(best.obtained, key=lambda item: best.entries.index(item.entry))
        return Found(best.lead.lineage, obtained, best.lead.entries[len(best.entries) :])

    def add(self, leads: Iterable[Lead]) -> None:
        """Look for these too, as far as there is room, and while it is not clear which it will be."""
        if self._nursery is None:
            return
        for lead in leads:
            if lead.entries and lead.lineage not in self.lineages and sum(not lane.ended for lane in self._lanes) < LANES:
                lane = _Lane(lead, lead.entries[: 1 if self._lanes else CANDIDATES], self.clock())
                self._lanes.append(lane)
                self._nursery.start_soon(self._try, lane)

    @property
    def lineages(self) -> set[bytes]:
        """Those that are looked for; of more than there was room for, the first."""
        return {lane.lead.lineage for lane in self._lanes}

    @property
    def tried(self) -> set[PeerId]:
        """Whose models were looked for."""
        return {entry.peer for lane in self._lanes for entry in lane.entries}

    @property
    def missed(self) -> list[bytes]:
        """The lineages of which nothing came."""
        return [lane.lead.lineage for lane in self._lanes if lane.ended and not lane.obtained]

    async def _try(self, lane: _Lane) -> None:
        with lane.scope:
            async with trio.open_nursery() as nursery:
                for entry in lane.entries:
                    nursery.start_soon(self._try_one, lane, entry)
            lane.ended = True
        self._news.set()

    async def _try_one(self, lane: _Lane, entry: Entry) -> None:
        obtained = await self.obtainer.obtain_one(entry, self.tally, trio.CancelScope(), beside=self.beside)
        if obtained is not None:
            lane.obtained.append(obtained)
            lane.came_after = min(lane.came_after, self.clock() - lane.began)
            self._news.set()

    async def _best(self) -> _Lane | None:
        """As soon as it is clear."""
        while True:
            until = math.inf
            for index, lane in enumerate(self._lanes):
                if lane.obtained:
                    before = [other for other in self._lanes[:index] if other.pending]
                    wait = self._grace(lane, before)
                    if wait <= 0:
                        return lane
                    until = min(until, wait)
            if all(lane.ended for lane in self._lanes):
                return None
            self._news = trio.Event()
            with trio.move_on_after(until):
                await self._news.wait()

    def _grace(self, lane: _Lane, before: Sequence[_Lane]) -> float:
        """So many seconds this one still waits for those before it."""
        if not before:
            return 0.0
        if any(other.lead.strength > lane.lead.strength for other in before):
            return math.inf
        return lane.began + 2 * lane.came_after + LEAST_SECONDS - self.clock()
