"""Leaving the own lineage for another: while young, after a split, or by order (DESIGN 4, "Start, join, split")."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from learnae.link.contract import Snapshot
from learnae.node.choosing import Chooser
from learnae.node.lasting import Lasting
from learnae.node.newcomers import CANDIDATES
from learnae.node.scouting import Goal, Scouting
from learnae.node.settling import Settling
from learnae.node.standing import Standing
from learnae.node.tally import Tally


@attrs.define
class Moving:
    """`split` tells whether a split lasts: what one peer announced just before it came over must lead nobody away."""

    standing: Standing
    chooser: Chooser
    settling: Settling
    scouting: Scouting
    split: Lasting
    clock: Callable[[], float]

    async def move(self, snapshot: Snapshot, tally: Tally) -> bool:
        """To a better lineage, if there is one and its models have come. Raises TrainerGone."""
        if (goal := self._goal(tally)) is None:
            self.scouting.stop()
            return False
        if self.scouting.goal != goal:
            await self.scouting.send(goal, self.settling.live_candidates(goal.lineage, tally.round), tally)
        obtained = self.scouting.take(tally)
        return await self.settling.adopt_one(goal.lineage, obtained, snapshot, tally, goal.outcome) if obtained else False

    def _goal(self, tally: Tally) -> Goal | None:
        """Where to go. What was begun is brought to an end also where this peer has grown meanwhile, as long as somebody is there."""
        seen, now = self.chooser.seen(tally.round), self.clock()
        if (target := self.standing.where_to_move(seen, now)) is not None:
            return Goal(target, "moved")
        if (target := self.standing.where_to_yield(seen, now)) is not None and self.split.noted(tally.round, now):
            self.split.anew()  # if nothing can be had, the next try is as far away
            return Goal(target, "yielded")
        goal, there = self.scouting.goal, {seen.lineage for seen in self.standing.allowed(seen) if seen.live}
        return goal if goal and goal.lineage in there and not self.standing.young(now) else None

    def best_other(self, round_: int) -> bytes | None:
        """Where an order leads that names no lineage."""
        return self.standing.where_to_rejoin(self.chooser.seen(round_))

    async def rejoin(self, target: bytes, snapshot: Snapshot, tally: Tally) -> str:
        """By order, which is waited for. Returns why that was not possible, or nothing. Raises TrainerGone."""
        self.scouting.stop()
        entries = self.settling.live_candidates(target, tally.round) or self.settling.candidates(target)[:CANDIDATES]
        if not entries:
            heard = "nobody of join.trust publishes in it" if self.chooser.of_lineage(target) else "it is not heard"
            return f"lineage {target.hex()}: {heard}"
        if not await self.settling.adopt(target, entries, snapshot, tally, "rejoined"):
            return f"lineage {target.hex()}: none of its models could be had"
        self.standing.settle(target, self.clock(), ordered=True)
        return ""
