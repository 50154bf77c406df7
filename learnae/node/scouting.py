"""Models of other lineages, fetched beside the rounds of a peer that wants to go there (decisions 22 and 30)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import attrs
import trio

from learnae.node.obtaining import Obtained
from learnae.node.pace import Pace
from learnae.node.seeking import Lead, Search
from learnae.node.settling import Settling
from learnae.node.tally import Tally


@attrs.define(eq=False)
class Scout:
    """What is looked for, and what going there is called. It keeps a tally of its own."""

    outcome: str
    search: Search
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    ended: trio.Event = attrs.field(factory=trio.Event)
    found: tuple[bytes, list[Obtained]] | None = None


@attrs.define
class Scouting:
    """One search at a time. The round that sends for models waits a moment for them, as for all strangers; later ones only look."""

    settling: Settling
    pace: Pace
    _nursery: trio.Nursery | None = None
    _scout: Scout | None = None

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

    async def send(self, outcome: str, leads: Sequence[Lead], tally: Tally) -> None:
        """In the place of what is under way."""
        assert self._nursery is not None
        self.stop()
        search = self.settling.search(Tally(tally.round, tally.started))
        self._scout = scout = Scout(outcome, search)
        self._nursery.start_soon(self._run_one, scout, leads)
        with trio.move_on_after(self.pace.grace_seconds):
            await scout.ended.wait()

    def add(self, leads: Iterable[Lead]) -> None:
        """To what is under way."""
        if self._scout is not None:
            self._scout.search.add(leads)

    def take(self, tally: Tally) -> tuple[bytes, list[Obtained]] | None:
        """A lineage and models of it, if they have come."""
        scout = self._scout
        if scout is None or not scout.ended.is_set():
            return None
        self._scout = None
        tally.take_over(scout.search.tally)
        return scout.found

    def stop(self) -> None:
        if self._scout is not None:
            self._scout.scope.cancel()
            self._scout = None

    async def _run_one(self, scout: Scout, leads: Sequence[Lead]) -> None:
        with scout.scope:
            scout.found = await self.settling.find(scout.search, leads)
        scout.ended.set()
