"""Leaving the own lineage for another: while young, after a split, or by order (DESIGN 4, "Start, join, split")."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from learnae.link.contract import Snapshot
from learnae.node.choosing import Chooser
from learnae.node.lasting import Lasting
from learnae.node.scouting import Scouting
from learnae.node.settling import Settling
from learnae.node.standing import Standing
from learnae.node.support import Support
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
        outcome, wanted = self._wanted(tally)
        if self.scouting.outcome != outcome or not self.scouting.lineages.intersection(s.lineage for s in wanted):
            self.scouting.stop()
        await self._look_for(outcome, wanted, tally)
        lineage, obtained = self.scouting.take(tally) or (b"", [])
        if not any(support.lineage == lineage for support in wanted):
            return False
        return await self.settling.adopt_one(lineage, obtained, snapshot, tally, outcome)

    def _wanted(self, tally: Tally) -> tuple[str, list[Support]]:
        """Where to go, the best first. What was begun young is brought to an end also by who has grown meanwhile."""
        seen, now = self.chooser.seen(tally.round), self.clock()
        self.settling.misses.keep({item.lineage for item in seen})
        begun = self.scouting.lineages if self.scouting.outcome == "moved" else ()
        if self.standing.movable(seen, now) or begun:
            return "moved", self.standing.where_to_move(seen, now, begun)
        return "yielded", self.standing.where_to_yield(seen, now)

    async def _look_for(self, outcome: str, wanted: list[Support], tally: Tally) -> None:
        lasts = outcome == "moved" or (bool(wanted) and self.split.noted(tally.round, self.clock()))
        looking = bool(self.scouting.outcome)
        if not (self.standing.young(self.clock()) if looking else lasts):
            return
        under_way, rests = self.scouting.lineages, self.settling.misses.rests
        due = [support for support in wanted if support.lineage not in under_way and not rests(support.lineage, tally.round)]
        leads = self.settling.leads(due, lambda lineage, entries: self.settling.live_candidates(lineage, tally.round, entries))
        if looking:
            self.scouting.add(leads)
        elif leads:
            self.split.anew()  # if nothing can be had, the next try is as far away
            await self.scouting.send(outcome, leads, tally)

    def best_other(self, round_: int) -> bytes | None:
        """Where an order leads that names no lineage."""
        return self.standing.where_to_rejoin(self.chooser.seen(round_))

    async def rejoin(self, target: bytes, snapshot: Snapshot, tally: Tally) -> str:
        """By order, which is waited for. Returns why that was not possible, or nothing. Raises TrainerGone."""
        self.scouting.stop()
        entries = self.settling.live_candidates(target, tally.round) or self.settling.candidates(target)
        if not entries:
            heard = "nobody of join.trust publishes in it" if self.chooser.of_lineage(target) else "it is not heard"
            return f"lineage {target.hex()}: {heard}"
        if not await self.settling.adopt(target, entries, snapshot, tally, "rejoined"):
            return f"lineage {target.hex()}: none of its models could be had"
        self.standing.settle(target, self.clock(), ordered=True)
        return ""
