"""A trainer whose model names no lineage finds one, or founds one (DESIGN 4, "Start, join, split")."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import attrs
import trio

from learnae.link.contract import Snapshot
from learnae.node.adopting import Adopting, copy_tensors
from learnae.node.choosing import Chooser
from learnae.node.inbox import Entry
from learnae.node.outages import Outages
from learnae.node.publishing import Publisher
from learnae.node.seeking import Lead
from learnae.node.settling import Settling
from learnae.node.standing import Standing
from learnae.node.support import Seen
from learnae.node.tally import Tally
from learnae.records import PeerId
from learnae.strategies import RunInThread

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

TRUSTED = "hearing a peer of join.trust"
BATCHES = 4
"""So often a newcomer looks for models of the lineages that it hears, each time of other peers."""


@attrs.define
class Joining:
    """For a newcomer, and for a founder whose model shall come from others: it goes on to say for whom it waits.

    Who hears live peers, but can have none of their models, tries again for `trying_seconds` before it founds a lineage.
    """

    standing: Standing
    chooser: Chooser
    publisher: Publisher
    settling: Settling
    adopting: Adopting
    outages: Outages
    trying_seconds: float
    clock: Callable[[], float]
    in_thread: RunInThread
    log: FilteringBoundLogger
    listening_since: float = math.inf

    async def join(self, snapshot: Snapshot, tally: Tally) -> bool:
        """Adopt what is announced, else found a lineage; False while still listening. Raises TrainerGone."""
        still = self.standing.rules.wait_seconds - self._listened_for
        if still > snapshot.progress.step_seconds:
            return False
        await trio.sleep(max(0.0, still))  # sooner than another snapshot would come
        if self._listened_for < self.standing.settle_seconds and self.standing.expects_more(self.chooser.seen(tally.round)):
            return False
        if await self._adopt_any(snapshot, tally):
            self.outages.works(TRUSTED)
            return True
        if self._may_come_yet(tally):
            return False
        if self.standing.needs_trusted and self._listened_for < self.standing.settle_seconds:
            self._miss_trusted(tally, "this peer trains alone, and founds a lineage of its own if none of them comes")
            return False
        return await self._found(snapshot, tally)

    def resume(self, lineage: bytes, stored: tuple[bytes, int, float]) -> None:
        """The trainer brought a lineage along; whoever does not know for how long is grown."""
        if stored[0] == lineage:
            self.standing.settle(lineage, self.clock(), rounds=stored[1], seconds=stored[2])
        else:
            self.standing.settle(lineage, self.clock())

    def spend_round(self, tally: Tally) -> None:
        """One more round in the own lineage."""
        self.standing.spend_round(self.chooser.seen(tally.round), self.clock())
        if self.standing.vouched:
            self.outages.works(TRUSTED)
        else:
            self._miss_trusted(tally, "this peer goes on in its own lineage, and moves to theirs when one comes")

    @property
    def _listened_for(self) -> float:
        return self.clock() - self.listening_since

    def _may_come_yet(self, tally: Tally) -> bool:
        """Whether somebody is there whose model did not come, and it was not tried for long."""
        if self._listened_for >= self.standing.rules.wait_seconds + self.trying_seconds:
            return False
        there = any(seen.live for seen in self.standing.allowed(self.chooser.seen(tally.round)))
        return there and any(verdict.stage == "fetch" for verdict in tally.verdicts)

    async def _adopt_any(self, snapshot: Snapshot, tally: Tally) -> bool:
        """The best lineages side by side, then the others of whose models none was tried, until one could be had or too often none."""
        tried, left = set[PeerId](), set[bytes]()
        for _ in range(BATCHES):
            search = self.settling.search(tally)
            found = await self.settling.find(search, self._leads(tally, tried, left))
            if found and await self.settling.adopt_one(*found, snapshot, tally, "joined"):
                return True
            tried |= search.tried
            left |= {found[0]} if found else set()
            if not search.tried:
                return False
        return False

    def _leads(self, tally: Tally, tried: set[PeerId], left: set[bytes]) -> list[Lead]:
        """Lineages that are heard, and when they are done, those that were left behind."""
        seen = self.chooser.seen(tally.round)
        if (own := self.settling.left_behind) is not None:
            seen.append(Seen(own.lineage, young=False, live=False, peer=self.standing.own))
        self.settling.misses.keep({item.lineage for item in seen})
        among = [support for support in self.standing.where_to_join(seen) if support.lineage not in left]

        def untried(lineage: bytes, announced: Sequence[Entry]) -> list[Entry]:
            return [entry for entry in self.settling.candidates(lineage, announced) if entry.peer not in tried]

        live = self.settling.leads([support for support in among if support.live], untried)
        return live or self.settling.leads([support for support in among if not support.live], untried)

    async def _found(self, snapshot: Snapshot, tally: Tally) -> bool:
        published = await self.publisher.publish(snapshot, b"", young=True)
        if published is None:
            return False
        tally.published, tally.outcome = published, "founded"
        await self.in_thread(copy_tensors, snapshot.tensors, self.adopting.free_page())
        self.log.info("lineage.founded", lineage=published.lineage.hex())
        await self.adopting.hand_over(snapshot, lineage=published.lineage, age=snapshot.progress.age, outcome="founded", states={})
        self.standing.enter(published.lineage, self.clock(), vouched=False)
        return True

    def _miss_trusted(self, tally: Tally, consequence: str) -> None:
        others = sum(seen.live for seen in self.chooser.seen(tally.round))
        self.outages.failed(TRUSTED, f"none was heard ({others} others were): {consequence}")
