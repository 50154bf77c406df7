"""Searches the models of several lineages side by side (docs/decisions/0030)."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence

import attrs
import trio

from learnae.node.claims import ENOUGH
from learnae.node.fetching import Transfer
from learnae.node.inbox import InboxEntry
from learnae.node.obtaining import LEAST_SECONDS, Obtained, Obtainer
from learnae.node.reports import RoundRecord
from learnae.records import PeerId

CANDIDATES = 3
"""Models that are fetched of a lineage. Where they do not agree, `ENOUGH` are: two that lie together are outvoted."""


Model = tuple[PeerId, int]
"""Whose model it is, and under which number."""


def model_of(entry: InboxEntry) -> Model:
    return entry.peer, entry.announcement.number


LANES = 8  # lineages at once
MOST_LANES = 4 * LANES  # in one search
BEGINNING = 0.5  # the share of `fetch_seconds` within which models of one lineage are begun
SILENCE = 0.1  # and the share of it for which one of whom nothing comes is waited for
TICK = 0.001  # seconds: later than the time that is waited for, never just before it
LONGEST_REST = 4  # each miss doubles the rest, up to 16 rounds


@attrs.define
class SearchMisses:
    """The lineages of which no model came: how often that was, and in which round the last time."""

    _missed: dict[bytes, tuple[int, int]] = attrs.field(factory=dict)

    def note(self, lineage: bytes, round_: int) -> None:
        self._missed[lineage] = self.times(lineage) + 1, round_

    def forget(self, lineage: bytes) -> None:
        """A model of this lineage came: it is no miss any more."""
        self._missed.pop(lineage, None)

    def keep(self, lineages: Collection[bytes]) -> None:
        """Keep only the misses of these lineages, so that invented lineages do not fill the memory."""
        self._missed = {lineage: missed for lineage, missed in self._missed.items() if lineage in lineages}

    def times(self, lineage: bytes) -> int:
        return self._missed.get(lineage, (0, 0))[0]

    def rests(self, lineage: bytes, round_: int) -> bool:
        times, last = self._missed.get(lineage, (0, round_))
        return times > 0 and round_ - last < 1 << min(times, LONGEST_REST)


@attrs.frozen
class SearchLead:
    """A lineage to look for, the models to try in order, and its support."""

    lineage: bytes
    entries: Sequence[InboxEntry]
    strength: int


@attrs.define(eq=False)
class _Fetch:
    """The fetch of one model. It runs until it has `ended`."""

    began: float
    transfer: Transfer
    ended: bool = False
    failed: bool = False

    @property
    def silent(self) -> bool:
        return self.transfer.bytes == 0

    @property
    def silent_since(self) -> float:
        """When a block came last, or since it was begun."""
        return max(self.began, self.transfer.heard_at)


@attrs.define(eq=False)
class _Lane:
    """The fetches of one lineage, and when they were begun. `came_after` is how many seconds later the first model came.

    `wanted` is the number of models. No fetch is begun after `until`.
    """

    lead: SearchLead
    wanted: int
    began: float
    until: float
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    tried: list[InboxEntry] = attrs.field(factory=list)
    fetches: list[_Fetch] = attrs.field(factory=list)
    obtained: list[Obtained] = attrs.field(factory=list)
    came_after: float = math.inf
    all_begun: bool = False
    ended: bool = False

    @property
    def pending(self) -> bool:
        return not self.obtained and not self.ended

    @property
    def moving(self) -> bool:
        return any(not fetch.ended and not fetch.silent for fetch in self.fetches)


@attrs.frozen
class FoundLineage:
    lineage: bytes
    obtained: list[Obtained]


async def _sure(lineage: bytes, obtained: Sequence[Obtained]) -> bool:
    return False


@attrs.define
class LineageSearch:
    """One search, for leads in the order of preference.

    It fetches as many models of the first lead as a medoid needs, and one of each other.

    Of the best lineage that came it then fetches more. A lineage that has come waits for one before it. If that has more support, it waits
    until it fails. If not, it waits as long again as its own model took. In each lineage another fetch is begun when one is silent, or
    takes twice as long as the first. Nobody waits for such a slow one, but its model is taken if it comes.

    `seconds` is the time for a fetch before anything was measured. `unsure` says of three models whether more are wanted, to outvote two.
    """

    obtainer: Obtainer
    round_record: RoundRecord
    clock: Callable[[], float]
    beside: bool = False
    seconds: float = 10.0
    unsure: Callable[[bytes, Sequence[Obtained]], Awaitable[bool]] = _sure
    _lanes: list[_Lane] = attrs.field(factory=list)
    _nursery: trio.Nursery | None = None
    _news: trio.Event = attrs.field(factory=trio.Event)

    async def run(self, leads: Iterable[SearchLead]) -> FoundLineage | None:
        """Search. Returns the models of the best lineage that came, None if none came."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            self.add(leads)
            best = await self._best()
            self._nursery = None
            for lane in self._lanes:
                if lane is not best:
                    lane.scope.cancel()  # from outside: nobody is blamed for what was not waited for
            if best is not None:
                await self._want(best, CANDIDATES)
                if len(best.obtained) >= CANDIDATES and await self.unsure(best.lead.lineage, best.obtained[:CANDIDATES]):
                    await self._want(best, ENOUGH)
                best.scope.cancel()
        if best is None:
            return None
        return FoundLineage(best.lead.lineage, sorted(best.obtained[: best.wanted], key=lambda item: best.tried.index(item.entry)))

    async def _want(self, lane: _Lane, count: int) -> None:
        """Fetch until so many models have come, or none is waited for any more."""
        lane.wanted, lane.until = count, self.clock() + BEGINNING * self.seconds
        self._tell()
        await self._until(lambda: self._complete(lane))

    def add(self, leads: Iterable[SearchLead]) -> None:
        """Look for these lineages too, as far as there is room, and as long as no lineage is chosen."""
        if self._nursery is None:
            return
        for lead in leads:
            if lead.entries and lead.lineage not in self.lineages and self._room:
                began = self.clock()
                lane = _Lane(lead, 1 if self._lanes else CANDIDATES, began, began + BEGINNING * self.seconds)
                self._lanes.append(lane)
                self._nursery.start_soon(self._try, lane)

    @property
    def _room(self) -> bool:
        """Whether there is room for one more, at once and in all. So a search has an end."""
        return len(self._lanes) < MOST_LANES and sum(not lane.ended for lane in self._lanes) < LANES

    @property
    def lineages(self) -> set[bytes]:
        """The lineages that are looked for. If there was no room for all, they are the first."""
        return {lane.lead.lineage for lane in self._lanes}

    @property
    def tried(self) -> set[PeerId]:
        """The lineages of which models were looked for."""
        return {entry.peer for lane in self._lanes for entry in lane.tried}

    @property
    def failed(self) -> set[Model]:
        """The models that did not come whole; not those that were not waited for."""
        return {model_of(entry) for lane in self._lanes for entry, fetch in zip(lane.tried, lane.fetches, strict=True) if fetch.failed}

    @property
    def missed(self) -> list[bytes]:
        """The lineages of which nothing came."""
        return [lane.lead.lineage for lane in self._lanes if lane.ended and not lane.obtained]

    async def _try(self, lane: _Lane) -> None:
        with lane.scope:
            async with trio.open_nursery() as nursery:
                for entry in lane.lead.entries:
                    await self._until(lambda: self._slot(lane))
                    if self.clock() > lane.until:
                        break  # or a lineage of many that never bring anything would be looked for without end
                    lane.tried.append(entry)
                    lane.fetches.append(fetch := _Fetch(self.clock(), Transfer(self.obtainer.limit)))
                    nursery.start_soon(self._try_one, lane, entry, fetch)
                lane.all_begun = True
                self._tell()
            lane.ended = True
        self._tell()

    async def _try_one(self, lane: _Lane, entry: InboxEntry, fetch: _Fetch) -> None:
        obtained = await self.obtainer.obtain_one(entry, self.round_record, trio.CancelScope(), beside=self.beside, transfer=fetch.transfer)
        fetch.ended, fetch.failed = True, obtained is None
        if obtained is not None:
            lane.obtained.append(obtained)
            lane.came_after = min(lane.came_after, self.clock() - lane.began)
        self._tell()

    def _slot(self, lane: _Lane) -> float:
        """At most how many seconds until another model of this lineage may be fetched. 0 means now."""
        waited_for = {fetch: left for fetch in lane.fetches if (left := self._waited_for(lane, fetch)) > 0}
        coming = len(lane.obtained) + sum(not fetch.silent for fetch in waited_for)
        if coming < lane.wanted and len(waited_for) < min(lane.wanted, CANDIDATES):
            return 0.0
        return min(waited_for.values(), default=math.inf)

    def _complete(self, lane: _Lane) -> float:
        """At most how many seconds until no further model is waited for, in a lineage of which one came."""
        if len(lane.obtained) >= lane.wanted or lane.ended:
            return 0.0
        waited_for = [self._waited_for(lane, fetch) for fetch in lane.fetches]
        return max(waited_for) if lane.all_begun else math.inf

    def _waited_for(self, lane: _Lane, fetch: _Fetch) -> float:
        """So many seconds more at most, or none: whoever is silent for long may be one that never brings anything, or never the rest.

        Once a model has come, others are waited for by how long that took, as a whole.
        """
        end = fetch.began + SILENCE * self.seconds
        if not fetch.silent and lane.obtained:
            end = max(end, fetch.began + 2 * lane.came_after + LEAST_SECONDS)
        elif not fetch.silent:
            end = fetch.silent_since + max(SILENCE * self.seconds, 2 * fetch.transfer.longest_silence)
        return 0.0 if fetch.ended else max(0.0, end - self.clock())

    async def _best(self) -> _Lane | None:
        """The best lineage, as soon as it is clear which one that is."""
        best: _Lane | None = None

        def until() -> float:
            nonlocal best
            least = math.inf
            for index, lane in enumerate(self._lanes):
                if lane.obtained:
                    wait = self._grace(lane, [other for other in self._lanes[:index] if other.pending])
                    if wait <= 0:
                        best = lane
                        return 0.0
                    least = min(least, wait)
            return 0.0 if all(lane.ended for lane in self._lanes) else least

        await self._until(until)
        return best

    def _grace(self, lane: _Lane, before: Sequence[_Lane]) -> float:
        """At most how many seconds this lineage still waits for those before it."""
        wait = lane.began + 2 * lane.came_after + LEAST_SECONDS - self.clock() if before else 0.0
        for other in before:
            if other.lead.strength > lane.lead.strength:
                wait = max(wait, math.inf if other.moving else other.began + self.seconds - self.clock())
        return wait

    async def _until(self, seconds: Callable[[], float]) -> None:
        """Wait until this function returns 0. It is called again when something has happened, or when its seconds have passed."""
        while (left := seconds()) > 0:
            news = self._news
            with trio.move_on_after(left + TICK):
                await news.wait()

    def _tell(self) -> None:
        self._news.set()
        self._news = trio.Event()
