"""A node without a trainer: it listens, and serves others, until it is told to leave (docs/decisions/0052)."""

from __future__ import annotations

import attrs
import trio

from learnae.config.tables import NodeTable
from learnae.errors import UnavailableError
from learnae.link.messages import Link, TrainerGoneError
from learnae.node.connections import ConnectionWatch
from learnae.node.history import History
from learnae.node.keeping import UpdateKeeping
from learnae.node.listening import MediumListener
from learnae.node.peers import on_wall_clock
from learnae.node.receive import Learned, Receiver
from learnae.node.reports import RoundRecord, WatcherCalls
from learnae.node.retention import GarbageCollection
from learnae.node.runtime import Runtime
from learnae.node.sending import Heartbeat, Sender
from learnae.node.services import Services
from learnae.node.sharing import Sharing
from learnae.node.slice_keeping import SliceKeeping
from learnae.node.strategy_set import ConfiguredStrategy, StrategySet
from learnae.observations import RoundReport
from learnae.records import AnnouncementKind, Heard
from learnae.strategies import Announcer

ROUND_SECONDS = 10.0
"""Between two reports: what such a node has in place of rounds."""
LISTEN_SECONDS = 2.0
"""How long a key without a history listens to what others repeat of it, before it says anything."""


@attrs.define
class ServingNode:
    """All parts of a node without a trainer. `learnae.node.build_serving` puts them together. Its link only says when it has to leave."""

    link: Link
    strategies: StrategySet
    services: Services
    receiver: Receiver
    history: History
    sender: Sender
    heartbeat: Heartbeat
    garbage_collection: GarbageCollection
    keeping: UpdateKeeping | None
    slice_keeping: SliceKeeping | None
    sharing: Sharing | None
    watcher_calls: WatcherCalls
    connection_watch: ConnectionWatch
    rules: NodeTable
    runtime: Runtime
    _scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    _round: int = 0

    async def run(self) -> None:
        """Run until the link ends or `stop` is called, and then say goodbye. Cancelling it is as abrupt as a SIGKILL.

        Raises PluginError if a service cannot be started.
        """
        self._round = self.receiver.round = self.history.last_round()
        await self.services.while_open(self.strategies.services(), self._live)

    def stop(self) -> None:
        """End, and leave."""
        self._scope.cancel()

    async def _live(self) -> None:
        self.sender.listen_first_until = trio.current_time() + LISTEN_SECONDS
        listener = MediumListener(self.services, self.strategies.swarm.channel, self.runtime.outages, self._hear)
        async with trio.open_nursery() as nursery:
            if self.keeping is not None:
                await nursery.start(self.keeping.run)
            if self.slice_keeping is not None:
                await nursery.start(self.slice_keeping.run)
            if self.sharing is not None:
                await nursery.start(self.sharing.run)
            nursery.start_soon(self.watcher_calls.run)
            nursery.start_soon(self.connection_watch.run)
            nursery.start_soon(self.heartbeat.run)
            for announcer in self.strategies.announcers:
                nursery.start_soon(listener.run, announcer)
            for storage in self.strategies.storages:
                nursery.start_soon(self.garbage_collection.run, storage)
            nursery.start_soon(self._keep_reporting)
            with self._scope:
                await self._until_told()
            nursery.cancel_scope.cancel()
        await self._leave()

    async def _until_told(self) -> None:
        try:
            while True:  # nobody hands over snapshots; what waits for one is told when the other end is gone
                self.link.release((await self.link.next_snapshot()).slot)
        except TrainerGoneError:
            self.runtime.log.info("node.told_to_leave")

    def _hear(self, announcer: ConfiguredStrategy[Announcer], heard: Heard) -> None:
        news = self.receiver.hear(heard, announcer.label)
        entry = self.receiver.said(heard.message)
        if entry is not None and not entry.backlog and self.keeping is not None:
            self.keeping.hear(announcer, entry, news=news)
            if news and self.slice_keeping is not None:
                self.slice_keeping.hear(entry)

    async def _keep_reporting(self) -> None:
        while True:
            began = self.runtime.clock()
            await trio.sleep(ROUND_SECONDS)
            self._round += 1
            self.strategies.calls.round_began()
            self.receiver.round = self._round
            self.receiver.note_silence(self.rules.fresh_rounds)
            try:
                await self._report(began)
            except UnavailableError as error:
                self.runtime.outages.failed("history", str(error))
            else:
                self.runtime.outages.works("history")

    async def _report(self, began: float) -> None:
        now, record = self.runtime.clock(), RoundRecord(self._round, began)
        lineage, age = b"", 0
        record.outcome = "served"
        if self.keeping is not None:
            record.outcome = "kept" if self.keeping.stored else "served"
            record.take_over(self.keeping.record)
            record.chosen = self.keeping.record.chosen
            self.keeping.record, self.keeping.stored = RoundRecord(0, 0.0), 0
            lineage, age = self.keeping.kept.main_lineage()
        if self.slice_keeping is not None:
            self.slice_keeping.tell(record)
        record.heard = sum(not known.silent and AnnouncementKind.UPDATE in known.entries for known in self.receiver.inbox.known.values())
        record.connected = self.connection_watch.connected
        report = record.report(now, lineage, age)
        await self._save(report, now)
        self.link.send_report(report, self.runtime.outages.broken)
        self.watcher_calls.round_finished(report)
        shown = ("seconds", "heard", "chosen", "refused", "failed", "fetched_bytes", "outcome")
        self.runtime.log.info("round.finished", round=report.round, **{name: getattr(report, name) for name in shown})

    async def _save(self, report: RoundReport | None, now: float) -> None:
        await self.receiver.save_learned(lambda learned: self._write(report, learned, now))

    def _write(self, report: RoundReport | None, learned: Learned, now: float) -> None:
        heard = on_wall_clock(learned.heard, now)
        self.history.save_peers(learned.marks, learned.peers, learned.refusals, learned.proofs, heard, report=report)

    async def _leave(self) -> None:
        try:
            await self._save(None, self.runtime.clock())
            await self.sender.say_goodbye()
        except UnavailableError as error:
            self.runtime.outages.failed("history", str(error))
