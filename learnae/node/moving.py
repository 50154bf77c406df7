"""Moving from one lineage to another: while young, after a split, or by order (docs/decisions/0022)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import attrs
import trio

from learnae.link.messages import Snapshot
from learnae.node.joining import LineageAdoption
from learnae.node.lineage import LineageState, MinimumDuration, Support
from learnae.node.lineage_search import LineageSearch, SearchLead
from learnae.node.obtaining import Obtained, TransferPace
from learnae.node.reports import RoundRecord
from learnae.node.selection import UpdateSelection


@attrs.define(eq=False)
class ScoutedLineage:
    """What is looked for, and what going there is called. It keeps a record of its own."""

    outcome: str
    search: LineageSearch
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    ended: trio.Event = attrs.field(factory=trio.Event)
    found: tuple[bytes, list[Obtained]] | None = None


@attrs.define
class BackgroundSearch:
    """One search at a time. The round that sends for models waits a moment for them, as for all strangers; later ones only look."""

    adoption: LineageAdoption
    pace: TransferPace
    _nursery: trio.Nursery | None = None
    _scout: ScoutedLineage | None = None

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Until cancelled."""
        async with trio.open_nursery() as self._nursery:
            task_status.started()
            await trio.sleep_forever()

    @property
    def outcome(self) -> str:
        """Of what is under way, or has come and was not taken yet; empty if there is nothing."""
        return self._scout.outcome if self._scout else ""

    @property
    def lineages(self) -> set[bytes]:
        """Those that are looked for."""
        return self._scout.search.lineages if self._scout else set()

    async def send(self, outcome: str, leads: Sequence[SearchLead], round_record: RoundRecord) -> None:
        """In the place of what is under way."""
        assert self._nursery is not None
        self.stop()
        search = self.adoption.search(RoundRecord(round_record.round, round_record.started))
        self._scout = scout = ScoutedLineage(outcome, search)
        self._nursery.start_soon(self._run_one, scout, leads)
        with trio.move_on_after(self.pace.grace_seconds):
            await scout.ended.wait()

    def add(self, leads: Iterable[SearchLead]) -> None:
        """To what is under way."""
        if self._scout is not None:
            self._scout.search.add(leads)

    def take(self, round_record: RoundRecord) -> tuple[bytes, list[Obtained]] | None:
        """A lineage and models of it, if they have come."""
        scout = self._scout
        if scout is None or not scout.ended.is_set():
            return None
        self._scout = None
        round_record.take_over(scout.search.round_record)
        return scout.found

    def stop(self) -> None:
        if self._scout is not None:
            self._scout.scope.cancel()
            self._scout = None

    async def _run_one(self, scout: ScoutedLineage, leads: Sequence[SearchLead]) -> None:
        with scout.scope:
            scout.found = await self.adoption.find(scout.search, leads)
        scout.ended.set()


@attrs.define
class Moving:
    """`split` tells whether a split lasts: what one peer announced just before it came over must lead nobody away."""

    lineage_state: LineageState
    selection: UpdateSelection
    adoption: LineageAdoption
    scouting: BackgroundSearch
    split: MinimumDuration
    clock: Callable[[], float]

    async def move(self, snapshot: Snapshot, round_record: RoundRecord) -> bool:
        """To a better lineage, if there is one and its models have come. Raises TrainerGoneError."""
        outcome, wanted = self._wanted(round_record)
        if self.scouting.outcome != outcome or not self.scouting.lineages.intersection(s.lineage for s in wanted):
            self.scouting.stop()
        await self._look_for(outcome, wanted, round_record)
        lineage, obtained = self.scouting.take(round_record) or (b"", [])
        if not any(support.lineage == lineage for support in wanted):
            return False
        return await self.adoption.adopt_one(lineage, obtained, snapshot, round_record, outcome)

    def _wanted(self, round_record: RoundRecord) -> tuple[str, list[Support]]:
        """Where to go, the best first. What was begun young is brought to an end also by who has grown meanwhile."""
        seen, now = self.selection.seen(round_record.round), self.clock()
        self.adoption.misses.keep({item.lineage for item in seen})
        begun = self.scouting.lineages if self.scouting.outcome == "moved" else ()
        return self.lineage_state.where_to_go(seen, now, begun)

    async def _look_for(self, outcome: str, wanted: list[Support], round_record: RoundRecord) -> None:
        lasts = outcome == "moved" or (bool(wanted) and self.split.noted(round_record.round, self.clock()))
        looking = bool(self.scouting.outcome)
        if not (self.lineage_state.young(self.clock()) if looking else lasts):
            return
        under_way, rests = self.scouting.lineages, self.adoption.misses.rests
        due = [support for support in wanted if support.lineage not in under_way and not rests(support.lineage, round_record.round)]
        leads = self.adoption.leads(due, lambda lineage, entries: self.adoption.live_candidates(lineage, round_record.round, entries))
        if looking:
            self.scouting.add(leads)
        elif leads:
            self.split.anew()  # if nothing can be had, the next try is as far away
            await self.scouting.send(outcome, leads, round_record)

    def best_other(self, round_: int) -> bytes | None:
        """Where an order leads that names no lineage."""
        return self.lineage_state.where_to_rejoin(self.selection.seen(round_))

    async def rejoin(self, target: bytes, snapshot: Snapshot, round_record: RoundRecord) -> str:
        """By order, which is waited for. Returns why that was not possible, or nothing. Raises TrainerGoneError."""
        self.scouting.stop()
        entries = self.adoption.live_candidates(target, round_record.round) or self.adoption.candidates(target)
        if not entries:
            heard = "nobody of join.trust publishes in it" if self.selection.of_lineage(target) else "it is not heard"
            return f"lineage {target.hex()}: {heard}"
        if not await self.adoption.adopt(target, entries, snapshot, round_record, "rejoined"):
            return f"lineage {target.hex()}: none of its models could be had"
        self.lineage_state.settle(target, self.clock(), ordered=True)
        return ""
