"""Leaving the own lineage for another: while young, after a split, or by order (DESIGN 4, "Start, join, split")."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from learnae.link.contract import Snapshot
from learnae.node.choosing import Chooser
from learnae.node.lasting import Lasting
from learnae.node.newcomers import CANDIDATES
from learnae.node.settling import Settling
from learnae.node.standing import Standing
from learnae.node.tally import Tally


@attrs.define
class Moving:
    """`split` tells whether a split lasts: what one peer announced just before it came over must lead nobody away."""

    standing: Standing
    chooser: Chooser
    settling: Settling
    split: Lasting
    clock: Callable[[], float]

    async def move(self, snapshot: Snapshot, tally: Tally) -> bool:
        """To a better lineage, if there is one and its models can be had. Raises TrainerGone."""
        seen, now = self.chooser.seen(tally.round), self.clock()
        if (target := self.standing.where_to_move(seen, now)) is not None:
            return await self._adopt(target, snapshot, tally, "moved")
        if (target := self.standing.where_to_yield(seen, now)) is None or not self.split.noted(tally.round, now):
            return False
        self.split.anew()  # if nothing can be had, the next try is as far away
        return await self._adopt(target, snapshot, tally, "yielded")

    def best_other(self, round_: int) -> bytes | None:
        """Where an order leads that names no lineage."""
        return self.standing.where_to_rejoin(self.chooser.seen(round_))

    async def rejoin(self, target: bytes, snapshot: Snapshot, tally: Tally) -> str:
        """By order. Returns why that was not possible, or nothing. Raises TrainerGone."""
        entries = self.settling.live_candidates(target, tally.round) or self.settling.candidates(target)[:CANDIDATES]
        if not entries:
            heard = "nobody of join.trust publishes in it" if self.chooser.of_lineage(target) else "it is not heard"
            return f"lineage {target.hex()}: {heard}"
        if not await self.settling.adopt(target, entries, snapshot, tally, "rejoined"):
            return f"lineage {target.hex()}: none of its models could be had"
        self.standing.settle(target, self.clock(), ordered=True)
        return ""

    async def _adopt(self, target: bytes, snapshot: Snapshot, tally: Tally, outcome: str) -> bool:
        entries = self.settling.live_candidates(target, tally.round)
        return await self.settling.adopt(target, entries, snapshot, tally, outcome)
