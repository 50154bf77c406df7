"""A node: listens, and makes rounds as its trainer's snapshots come, until the trainer is gone."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import attrs
import trio

from learnae.errors import PluginError, Unavailable
from learnae.link.contract import Link, Snapshot, TrainerGone
from learnae.node.adopting import Adopting
from learnae.node.architecture import Architectures
from learnae.node.assembly import Assembly, Named
from learnae.node.hearing import Hearing
from learnae.node.history import History
from learnae.node.joining import Joining
from learnae.node.keeping import Keeping
from learnae.node.memory import Memory
from learnae.node.outages import Outages
from learnae.node.pace import Pace
from learnae.node.publishing import Publisher
from learnae.node.rounds import Rounds
from learnae.node.standing import Standing
from learnae.node.tally import Tally
from learnae.node.watching import Watching
from learnae.plugins.calls import naming
from learnae.records import Leaving, Present, RoundReport
from learnae.strategies import Announcer, RunInThread

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

PRESENT_SECONDS = 30.0
GOODBYE_SECONDS = 2.0
BACK_OFF_SECONDS = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0)


@attrs.define
class Node:
    """All parts of one peer's second process; put together by `learnae.node.build`."""

    link: Link
    assembly: Assembly
    channel: str
    hearing: Hearing
    history: History
    publisher: Publisher
    joining: Joining
    rounds: Rounds
    architectures: Architectures
    adopting: Adopting
    standing: Standing
    keeping: Keeping
    memory: Memory
    pace: Pace
    outages: Outages
    watching: Watching
    save_seconds: float
    clock: Callable[[], float]
    in_thread: RunInThread
    log: FilteringBoundLogger
    _rounds_scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    _round: int = 0
    _round_began: float | None = None

    async def run(self) -> None:
        """Until the trainer is gone or `stop` is called, and then with a goodbye; being cancelled is as abrupt as a SIGKILL."""
        async with AsyncExitStack() as services:
            for service in self.assembly.services():
                with naming(service.plugin, f"starting {service.name!r}"):
                    await services.enter_async_context(service.strategy)
            await self._clean_up()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.watching.run)
                for announcer in self.assembly.announcers:
                    nursery.start_soon(self._listen, announcer)
                nursery.start_soon(self._be_present)
                with self._rounds_scope:
                    await self._make_rounds()
                nursery.cancel_scope.cancel()
            with trio.move_on_after(GOODBYE_SECONDS):
                await self._leave()

    def stop(self) -> None:
        """End the rounds and leave."""
        self._rounds_scope.cancel()

    async def _make_rounds(self) -> None:
        self._round = await self.in_thread(self.history.last_round)
        try:
            while True:
                snapshot = await self.link.next_snapshot()
                await self._make_round(snapshot)
                self.link.release(snapshot.slot)
        except TrainerGone:
            self.log.info("trainer.gone")

    async def _make_round(self, snapshot: Snapshot) -> None:
        if not self.adopting.contains_last_offer(snapshot):
            return
        tally = self._begin_round()
        if not snapshot.progress.lineage:
            if not await self.joining.join(snapshot, tally):
                return
        else:
            if snapshot.progress.lineage != self.standing.lineage:
                self.joining.resume(snapshot.progress.lineage, await self.in_thread(self.history.standing))
            await self.rounds.publish(snapshot, tally)
            if not await self.joining.move(snapshot, tally):
                await self.rounds.exchange(snapshot, tally)
            self.standing.rounds += 1
        await self._end_round(snapshot, tally)

    def _begin_round(self) -> Tally:
        now = self.clock()
        if self._round_began is not None:
            self.pace.round_took(now - self._round_began)
        self._round_began = now
        self._round += 1
        self.hearing.round = self._round
        return Tally(self._round, now)

    async def _end_round(self, snapshot: Snapshot, tally: Tally) -> None:
        now = self.clock()
        await self.architectures.explain(self.rounds.chooser.strangers(), tally)
        tally.splits = self._splits(tally.round)
        await self._keep(tally, now)
        report = tally.report(now, self.standing.lineage, snapshot.progress.age)
        await self.in_thread(self._save, report, now)
        self.link.tell(report)
        self.watching.round_finished(report)
        shown = ("seconds", "heard", "chosen", "merged", "refused", "failed", "published_bytes", "fetched_bytes", "outcome", "age")
        self.log.info("round.finished", round=report.round, lineage=report.lineage.hex(), **{name: getattr(report, name) for name in shown})

    def _splits(self, round_: int) -> tuple[bytes, ...]:
        splits = sorted(self.standing.splits(self.rounds.chooser.seen(round_), self.clock()))
        for lineage in splits:
            self.outages.failed(
                f"split {lineage.hex()}", "another grown lineage trains under this name: the two cannot be merged; let one side rejoin"
            )
        return tuple(splits)

    async def _keep(self, tally: Tally, now: float) -> None:
        if tally.published is None:
            return
        self.keeping.announced(tally.published, now)
        for item in self.keeping.superfluous(await self.in_thread(self.history.published), now, self.pace.slowest_seconds):
            await self.publisher.drop(item.root)
            await self.in_thread(self.history.drop_published, item.number)

    def _save(self, report: RoundReport, now: float) -> None:
        refusals, self.hearing.refusals = self.hearing.refusals, type(self.hearing.refusals)()
        self.history.add_round(report)
        self.history.save_peers(self.hearing.inbox.take_changed_marks(), self.rounds.peers, refusals)
        self.history.save_standing(self.standing.lineage, self.standing.rounds, now - self.standing.since)
        self.memory.save(now, self.save_seconds)

    async def _listen(self, announcer: Named[Announcer]) -> None:
        """Listens again after an outage, less and less often."""
        failures = 0
        while True:
            try:
                with naming(announcer.plugin, f"listening by {announcer.name!r}"):
                    await announcer.strategy.listen([self.channel], self.hearing.hear)
            except (Unavailable, PluginError) as error:
                self.outages.failed(f"listening by {announcer.name}", str(error))
            await trio.sleep(BACK_OFF_SECONDS[min(failures, len(BACK_OFF_SECONDS) - 1)])
            failures += 1

    async def _be_present(self) -> None:
        """For newcomers on media that keep nothing: repeated, since hints change and messages get lost."""
        while True:
            hints = {storage.name: tuple(storage.strategy.hints())[:8] for storage in self.assembly.storages}
            await self.publisher.announce(Present({name: texts for name, texts in hints.items() if texts}))
            await trio.sleep(PRESENT_SECONDS)

    async def _clean_up(self) -> None:
        """Drop what a crash left between put and announcement."""
        known = {item.root for item in await self.in_thread(self.history.published)}
        for storage in self.assembly.storages:
            try:
                with naming(storage.plugin, f"listing the roots of {storage.name!r}"):
                    roots = await storage.strategy.roots()
            except (Unavailable, PluginError) as error:
                self.outages.failed(f"storage {storage.name}", str(error))
                continue
            for root in roots:
                if root not in known:
                    await self.publisher.drop(root)

    async def _leave(self) -> None:
        await self.publisher.announce(Leaving())
        await self.in_thread(self._save_last)

    def _save_last(self) -> None:
        self.history.save_peers(self.hearing.inbox.take_changed_marks(), self.rounds.peers, self.hearing.refusals)
        self.memory.save(self.clock(), self.save_seconds, force=True)
