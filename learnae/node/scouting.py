"""Models of another lineage, fetched beside the rounds of a peer that wants to go there (DESIGN 4, "Start, join, split"; decision 22)."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import trio

from learnae.node.inbox import Entry
from learnae.node.obtaining import Obtained
from learnae.node.pace import Pace
from learnae.node.settling import Settling
from learnae.node.tally import Tally


@attrs.frozen
class Goal:
    """A lineage, and what going there is called."""

    lineage: bytes
    outcome: str


@attrs.define(eq=False)
class Scout:
    """What is fetched for one goal. It keeps a tally of its own."""

    goal: Goal
    tally: Tally
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    ended: trio.Event = attrs.field(factory=trio.Event)
    obtained: list[Obtained] = attrs.field(factory=list)


@attrs.define
class Scouting:
    """One goal at a time. The round that sends for its models waits a moment for them, as for all strangers; later ones only look."""

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
    def goal(self) -> Goal | None:
        """What is under way, or has come and was not taken yet."""
        return self._scout.goal if self._scout else None

    async def send(self, goal: Goal, entries: Sequence[Entry], tally: Tally) -> None:
        """In the place of what is under way."""
        assert self._nursery is not None
        self.stop()
        self._scout = scout = Scout(goal, Tally(tally.round, tally.started))
        self._nursery.start_soon(self._run_one, scout, entries)
        with trio.move_on_after(self.pace.grace_seconds):
            await scout.ended.wait()

    def take(self, tally: Tally) -> list[Obtained] | None:
        """What has come, maybe nothing; None while it is under way."""
        scout = self._scout
        if scout is None or not scout.ended.is_set():
            return None
        self._scout = None
        tally.take_over(scout.tally)
        return scout.obtained

    def stop(self) -> None:
        if self._scout is not None:
            self._scout.scope.cancel()
            self._scout = None

    async def _run_one(self, scout: Scout, entries: Sequence[Entry]) -> None:
        with scout.scope:
            scout.obtained = await self.settling.obtain(entries, scout.tally, beside=True)
        scout.ended.set()
