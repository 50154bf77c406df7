"""Finding a lineage, founding one, moving to another (DESIGN 4, "Start, join, split")."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import attrs
import numpy as np

from learnae.errors import PluginError
from learnae.link.contract import Snapshot
from learnae.node.adopting import Adopting, copy_tensors
from learnae.node.choosing import Chooser, update
from learnae.node.history import Published
from learnae.node.inbox import Entry
from learnae.node.newcomers import CANDIDATES, medoid, write_model
from learnae.node.obtaining import Obtained, Obtainer
from learnae.node.publishing import Publisher
from learnae.node.rounds import OLDEST
from learnae.node.standing import Seen, Standing
from learnae.node.tally import Tally
from learnae.records import Announcement, Cid, LocalModel, Update
from learnae.strategies import RunInThread

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

BATCHES = 4
"""So often a newcomer waits for models that do not come, before it founds a lineage, which it leaves again for one that can be had."""


@attrs.define
class Joining:
    """`left_behind` is the own newest update of an earlier run: one more candidate for a trainer that starts without a lineage."""

    standing: Standing
    chooser: Chooser
    publisher: Publisher
    obtainer: Obtainer
    adopting: Adopting
    left_behind: Published | None
    clock: Callable[[], float]
    in_thread: RunInThread
    rng: np.random.Generator
    log: FilteringBoundLogger
    _listening_since: float | None = None

    async def join(self, snapshot: Snapshot, tally: Tally) -> bool:
        """Adopt what is announced, else found a lineage; False while still listening. Raises TrainerGone."""
        now = self.clock()
        if self._listening_since is None:
            self._listening_since = now
        if now - self._listening_since < self.standing.rules.wait_seconds:
            return False
        return await self._adopt_any(snapshot, tally) or await self._found(snapshot, tally)

    async def move(self, snapshot: Snapshot, tally: Tally) -> bool:
        """A young peer leaves its lineage for a better one, if there is one and its models can be had."""
        target = self.standing.where_to_move(self.chooser.seen(tally.round), self.clock())
        if target is None:
            return False
        entries = self._ordered(target, live_in=tally.round)[:CANDIDATES]
        return await self._adopt(target, entries, snapshot, tally, "moved")

    def resume(self, lineage: bytes, stored: tuple[bytes, int, float]) -> None:
        """The trainer brought a lineage along; whoever does not know for how long is grown."""
        now, rules = self.clock(), self.standing
        rounds, seconds = stored[1:] if stored[0] == lineage else (rules.rules.settle_rounds, rules.settle_seconds)
        self.standing.enter(lineage, now, rounds=rounds, seconds=seconds)

    async def _adopt_any(self, snapshot: Snapshot, tally: Tally) -> bool:
        """Lineage after lineage, in the order of preference, until a model could be had or too many could not."""
        tries, seen = BATCHES * CANDIDATES, self.chooser.seen(tally.round)
        if self.left_behind is not None and not self.standing.rules.fresh:
            seen.append(Seen(self.left_behind.lineage, young=False, live=False))
        while tries > 0 and (lineage := self.standing.where_to_join(seen)) is not None:
            entries = self._ordered(lineage)[:tries]
            if await self._adopt(lineage, entries, snapshot, tally, "joined"):
                return True
            tries -= max(CANDIDATES, len(entries))  # one alone takes as long as three at once
            seen = [item for item in seen if item.lineage != lineage]
        return False

    def _ordered(self, lineage: bytes, live_in: int | None = None) -> list[Entry]:
        """Live ones first, in random order; then what was left behind, the own newest first."""
        entries = self.chooser.of_lineage(lineage) if live_in is None else self.chooser.fresh(lineage, live_in)
        self.rng.shuffle(entries)
        if live_in is None and self.left_behind is not None and self.left_behind.lineage == lineage and not self.standing.rules.fresh:
            entries.append(self._own_entry(self.left_behind))
        return sorted(entries, key=lambda entry: entry.backlog)

    async def _adopt(self, lineage: bytes, entries: Sequence[Entry], snapshot: Snapshot, tally: Tally, outcome: str) -> bool:
        """The medoid of the first three that can be had."""
        obtained = await self._obtain(entries, tally)
        local = self.adopting.local(snapshot)
        while obtained:
            chosen = await self.in_thread(medoid, obtained)
            if not (flaw := await self._write(chosen, local)):
                await self._settle_in(lineage, chosen.entry, snapshot, tally, outcome)
                return True
            tally.failed(chosen.entry, "join", flaw)
            obtained.remove(chosen)
        return False

    async def _obtain(self, entries: Sequence[Entry], tally: Tally) -> list[Obtained]:
        """Three, or what could be had in so many tries of up to three at once."""
        remaining, obtained = list(entries), list[Obtained]()
        for _ in range(BATCHES):
            wanted = CANDIDATES - len(obtained)
            obtained += await self.obtainer.obtain(remaining[:wanted], tally)
            del remaining[:wanted]
        self.obtainer.peers.forget(self.publisher.identity.peer)
        return obtained

    async def _write(self, chosen: Obtained, local: LocalModel) -> str:
        """Why this model cannot be adopted, or the empty string."""
        try:
            written = await self.in_thread(write_model, chosen, local.current, self.adopting.free_page())
        except PluginError as error:
            return str(error)
        return "" if written else "the model is not finite"

    async def _settle_in(self, lineage: bytes, entry: Entry, snapshot: Snapshot, tally: Tally, outcome: str) -> None:
        left_behind = entry.backlog
        say = self.log.warning if left_behind else self.log.info
        say(
            f"lineage.{outcome}",
            lineage=lineage.hex(),
            peer=entry.peer[:8],
            age=update(entry).age,
            left_behind_by_an_earlier_run=left_behind,
        )
        age = min(OLDEST, update(entry).age)
        await self.adopting.hand_over(snapshot, lineage=lineage, age=age, outcome=outcome, states={})
        self.standing.enter(lineage, self.clock())
        tally.outcome = outcome

    async def _found(self, snapshot: Snapshot, tally: Tally) -> bool:
        published = await self.publisher.publish(snapshot, b"", young=True)
        if published is None:
            return False
        tally.published, tally.outcome = published, "founded"
        await self.in_thread(copy_tensors, snapshot.tensors, self.adopting.free_page())
        self.log.info("lineage.founded", lineage=published.lineage.hex())
        await self.adopting.hand_over(snapshot, lineage=published.lineage, age=snapshot.progress.age, outcome="founded", states={})
        self.standing.enter(published.lineage, self.clock())
        return True

    def _own_entry(self, own: Published) -> Entry:
        update_ = Update(Cid(own.root), own.bytes, own.lineage, own.signature, own.age, False, 0, own.samples, 0.0, own.codec)
        announcement = Announcement(self.publisher.swarm, self.publisher.identity.peer, own.number, update_)
        return Entry(announcement, b"", b"", self.clock(), 0, backlog=True)
