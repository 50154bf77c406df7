"""Searches the models of several lineages side by side, and chooses the model that a newcomer adopts (docs/decisions/0030)."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from statistics import median_low
from typing import TYPE_CHECKING

import attrs
import numpy as np
import trio

from learnae.errors import PluginError
from learnae.node.claims import ENOUGH, OLDEST, held, lower_median
from learnae.node.fetching import Transfer
from learnae.node.inbox import InboxEntry
from learnae.node.obtaining import LEAST_SECONDS, Obtained, Obtainer
from learnae.node.reports import RoundRecord
from learnae.node.tensors import finite, is_counter
from learnae.records import LocalModel, PeerId

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from learnae.records import Array


CANDIDATES = 3
"""Models that are fetched of a lineage. Where they do not agree, `ENOUGH` are: two that lie together are outvoted."""


def medoid(obtained: Sequence[Obtained]) -> Obtained:
    """The one with the smallest sum of distances to the others; of equals the first."""
    if len(obtained) < 3:
        return obtained[0]
    try:
        distances = _distances(obtained)
    except PluginError:  # one cannot be decoded: who tries to adopt them will find which
        return obtained[0]
    return obtained[int(np.argmin(np.where(np.isfinite(distances), distances, np.inf)))]


def _distances(obtained: Sequence[Obtained]) -> NDArray[np.float64]:
    """From each to all others."""
    squares = np.zeros((len(obtained), len(obtained)))
    for name, spec in obtained[0].decoder.specs.items():
        if spec.floating and not spec.apart:
            arrays = [item.decoder.decode(name).array for item in obtained]
            for i, one in enumerate(arrays):
                for j in range(i):
                    squares[i, j] += _squared_distance(one, arrays[j])
    distances: NDArray[np.float64] = np.sqrt(squares + squares.T)
    summed: NDArray[np.float64] = distances.sum(axis=1)
    return summed


def agree(obtained: Sequence[Obtained], announcing: int) -> bool:
    """Whether it makes no difference which of them lie: more are fetched where it does.

    Their tables are equal. And where few announce, so that these models alone tell how far the lineage has come, no age and no counter is
    beyond twice that of another.
    """
    if announcing < ENOUGH and not _alike([np.array(item.entry.update.age) for item in obtained]):
        return False
    for name, spec in obtained[0].decoder.specs.items():
        if spec.floating or (is_counter(spec) and announcing >= ENOUGH):
            continue
        arrays = [item.decoder.decode(name).array for item in obtained]
        if not (_alike(arrays) if is_counter(spec) else all(np.array_equal(arrays[0], array) for array in arrays[1:])):
            return False
    return True


def _alike(arrays: Sequence[Array]) -> bool:
    highest, lowest = np.maximum.reduce(arrays), np.minimum.reduce(arrays)
    return bool((highest - highest // 2 <= lowest).all())  # so that nothing overflows


def adopted_age(chosen: Obtained, obtained: Sequence[Obtained], announced: Sequence[int]) -> int:
    """The lower median of all that announce in that lineage, at most the highest of an obtained model: an announcement alone costs nothing.

    Where few announce, the lower median of the obtained ones, at most that of the chosen one.
    """
    theirs = [item.entry.update.age for item in obtained]
    if len(announced) >= ENOUGH:
        return min(OLDEST, median_low(announced), max(theirs))
    return min(OLDEST, chosen.entry.update.age, median_low(theirs))


def write_model(chosen: Obtained, obtained: Sequence[Obtained], local: LocalModel, age: int, page: Mapping[str, Array]) -> bool:
    """Fill the page with the chosen model, own values where it came in part; False when it is not finite and must not be adopted.

    Of each counter the lower median of all obtained ones is taken, as far as a model of that age can have come: the medoid looks at
    floating tensors alone. All other integers are those of one model each: a table of indices is right as a whole.
    """
    for name, target in page.items():
        spec = chosen.decoder.specs[name]
        if spec.floating:
            array = _floating(chosen, name, local.current)
        elif is_counter(spec):
            array = held(_counters(obtained, name), local.current[name], local.age, age)
        else:
            array = _table(chosen, obtained, name, local.current[name])
        if not finite([array]):
            return False
        np.copyto(target, array)
    return True


def _floating(chosen: Obtained, name: str, current: Mapping[str, Array]) -> Array:
    decoded = chosen.decoder.decode(name)
    return decoded.array if decoded.mask is None else np.where(decoded.mask, decoded.array, current[name])


def _counters(obtained: Sequence[Obtained], name: str) -> Array:
    return lower_median([item.decoder.decode(name).array for item in obtained])


def _table(chosen: Obtained, obtained: Sequence[Obtained], name: str, own: Array) -> Array:
    """The one that more than half of them have. Else that of the chosen one, which was trained with its weights, or another.

    None is taken whose values go beyond those of most of them: an index beyond their tables would end the training. If all do, the own one
    stays.
    """
    ordered = [chosen, *(item for item in obtained if item is not chosen)]
    tables = [item.decoder.decode(name).array for item in ordered]
    for table in tables:
        if 2 * sum(np.array_equal(table, other) for other in tables) > len(tables):
            return table
    outvoted = (len(tables) - 1) // 2  # so many may lie
    lowest = sorted(table.min() for table in tables)[outvoted]
    highest = sorted(table.max() for table in tables)[-1 - outvoted]
    return next((table for table in tables if lowest <= table.min() and table.max() <= highest), own)


def _squared_distance(one: Array, other: Array) -> float:
    with np.errstate(invalid="ignore", over="ignore"):  # strangers' models: what is not finite is nobody's neighbour
        return float(np.sum(np.square(one - other, dtype=np.float64)))


LANES = 8  # lineages at once
MOST_LANES = 4 * LANES  # in one search
BEGINNING = 0.5  # the share of `fetch_seconds` within which models of one lineage are begun
SILENCE = 0.1  # and the share of it for which one of whom nothing comes is waited for
TICK = 0.001  # seconds: later than the time that is waited for, never just before it
LONGEST_REST = 4  # each miss doubles the rest, up to 16 rounds


@attrs.define
class SearchMisses:
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
class SearchLead:
    """A lineage, whose models of it to try first, and how well it is supported."""

    lineage: bytes
    entries: Sequence[InboxEntry]
    strength: int


@attrs.define(eq=False)
class _Fetch:
    """One model, on its way until it has `ended`."""

    began: float
    transfer: Transfer
    ended: bool = False

    @property
    def silent(self) -> bool:
        return self.transfer.bytes == 0


@attrs.define(eq=False)
class _Lane:
    """What is fetched of one lineage, and when it was begun; `came_after` so many seconds the first came.

    So many models are `wanted`, and none is begun after `until`.
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
    """Once, for leads in the order of preference: of the first as many models as a medoid needs, of the others one, and more of the best.

    What has come waits for a lineage before it of more support until that fails, for one of no more support as long again as it took.
    In each lineage another model is begun when one is silent, or takes twice as long as the first that came: for those nobody waits,
    but what comes of them is taken. `seconds`: so long a fetch has before anything was measured. `unsure` says of three whether more are
    wanted, as many as outvote two.
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
        """What came of the best of them; None if nothing did."""
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
        """Until so many have come, or no more are waited for."""
        lane.wanted, lane.until = count, self.clock() + BEGINNING * self.seconds
        self._tell()
        await self._until(lambda: self._complete(lane))

    def add(self, leads: Iterable[SearchLead]) -> None:
        """Look for these too, as far as there is room, and while it is not clear which it will be."""
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
        """For one more at once, and in all: a search has an end."""
        return len(self._lanes) < MOST_LANES and sum(not lane.ended for lane in self._lanes) < LANES

    @property
    def lineages(self) -> set[bytes]:
        """Those that are looked for; of more than there was room for, the first."""
        return {lane.lead.lineage for lane in self._lanes}

    @property
    def tried(self) -> set[PeerId]:
        """Whose models were looked for."""
        return {entry.peer for lane in self._lanes for entry in lane.tried}

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
        fetch.ended = True
        if obtained is not None:
            lane.obtained.append(obtained)
            lane.came_after = min(lane.came_after, self.clock() - lane.began)
        self._tell()

    def _slot(self, lane: _Lane) -> float:
        """So many seconds at most until another model of it may be begun; 0 if now."""
        waited_for = {fetch: left for fetch in lane.fetches if (left := self._waited_for(lane, fetch)) > 0}
        coming = len(lane.obtained) + sum(not fetch.silent for fetch in waited_for)
        if coming < lane.wanted and len(waited_for) < min(lane.wanted, CANDIDATES):
            return 0.0
        return min(waited_for.values(), default=math.inf)

    def _complete(self, lane: _Lane) -> float:
        """The same until no more is waited for, of one of which something came."""
        if len(lane.obtained) >= lane.wanted or lane.ended:
            return 0.0
        waited_for = [self._waited_for(lane, fetch) for fetch in lane.fetches]
        return max(waited_for) if lane.all_begun else math.inf

    def _waited_for(self, lane: _Lane, fetch: _Fetch) -> float:
        """So many seconds more at most, or none: whoever is silent for long may be one that never brings anything."""
        patience = SILENCE * self.seconds
        if not fetch.silent:
            patience = max(patience, 2 * lane.came_after + LEAST_SECONDS)
        return 0.0 if fetch.ended else max(0.0, fetch.began + patience - self.clock())

    async def _best(self) -> _Lane | None:
        """As soon as it is clear."""
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
        """So many seconds at most this one still waits for those before it."""
        wait = lane.began + 2 * lane.came_after + LEAST_SECONDS - self.clock() if before else 0.0
        for other in before:
            if other.lead.strength > lane.lead.strength:
                wait = max(wait, math.inf if other.moving else other.began + self.seconds - self.clock())
        return wait

    async def _until(self, seconds: Callable[[], float]) -> None:
        """Until it is 0, asked again whenever something has happened, or when so many have passed."""
        while (left := seconds()) > 0:
            news = self._news
            with trio.move_on_after(left + TICK):
                await news.wait()

    def _tell(self) -> None:
        self._news.set()
        self._news = trio.Event()
