"""A node. It listens, and makes a round when a snapshot of its trainer comes, until the trainer is gone."""

from __future__ import annotations

import math
from collections.abc import Mapping

import attrs
import trio

from learnae.config.tables import NodeTable
from learnae.errors import UnavailableError
from learnae.link.messages import Link, Snapshot, TrainerGoneError
from learnae.node.architecture import Architectures
from learnae.node.attempts import FetchAttempts
from learnae.node.connections import ConnectionWatch
from learnae.node.contributions import Contribution
from learnae.node.gathering import Gathering
from learnae.node.history import History
from learnae.node.joining import Joining
from learnae.node.lineage import LineageState, SplitReporter
from learnae.node.listening import MediumListener
from learnae.node.moving import Moving, Orders
from learnae.node.peers import on_wall_clock
from learnae.node.publishing import Publisher
from learnae.node.receive import Learned, Receiver
from learnae.node.relay import Relay
from learnae.node.reports import RoundRecord, WatcherCalls
from learnae.node.retention import GarbageCollection, RetentionPolicy
from learnae.node.rounds import Rounds
from learnae.node.runtime import Runtime
from learnae.node.sending import Heartbeat
from learnae.node.services import Services
from learnae.node.sharing import Sharing
from learnae.node.slice_fetching import SliceFetches
from learnae.node.strategy_set import ConfiguredStrategy, StrategySet
from learnae.node.tensors import what_is_not
from learnae.node.view_exchange import ViewExchange
from learnae.observations import RoundReport
from learnae.plugins.gate import length
from learnae.records import Heard, PeerId
from learnae.strategies import Announcer


@attrs.define
class Node:
    """All parts of a peer's second process. `learnae.node.build` puts them together."""

    link: Link
    strategies: StrategySet
    services: Services
    receiver: Receiver
    attempts: FetchAttempts
    history: History
    publisher: Publisher
    heartbeat: Heartbeat
    garbage_collection: GarbageCollection
    joining: Joining
    moving: Moving
    orders: Orders
    split_reporter: SplitReporter
    relay: Relay | None
    sharing: Sharing | None
    view_exchange: ViewExchange
    slice_fetches: SliceFetches | None
    gathering: Gathering | None
    rounds: Rounds
    architectures: Architectures
    lineage_state: LineageState
    retention: RetentionPolicy
    watcher_calls: WatcherCalls
    connection_watch: ConnectionWatch
    rules: NodeTable
    runtime: Runtime
    _rounds_scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    _round: int = 0
    _round_began: float | None = None

    async def run(self) -> None:
        """Run until the trainer is gone or `stop` is called, and then say goodbye. Cancelling it is as abrupt as a SIGKILL.

        Raises PluginError if a service cannot be started.
        """
        self._round = self.receiver.round = self.history.last_round()
        await self.services.while_open(self.strategies.services(), self._live)

    def stop(self) -> None:
        """End the rounds and leave."""
        self._rounds_scope.cancel()

    async def _live(self) -> None:
        self.joining.listening_since = self.runtime.clock()
        self.publisher.listen_first_until = trio.current_time() + self.lineage_state.rules.wait_seconds
        listener = MediumListener(self.services, self.strategies.swarm.channel, self.runtime.outages, self._hear)
        async with trio.open_nursery() as nursery:
            await nursery.start(self.rounds.fetches.run)
            await nursery.start(self.moving.background_search.run)
            nursery.start_soon(self.architectures.run)
            nursery.start_soon(self.watcher_calls.run)
            nursery.start_soon(self.connection_watch.run)
            nursery.start_soon(self.heartbeat.run)
            nursery.start_soon(self.view_exchange.run)
            if self.sharing is not None:
                await nursery.start(self.sharing.run)
            if self.slice_fetches is not None:
                nursery.start_soon(self.slice_fetches.run)
            if self.gathering is not None:
                nursery.start_soon(self.gathering.run)
            if self.relay is not None:
                nursery.start_soon(self.relay.run)
            for announcer in self.strategies.announcers:
                nursery.start_soon(listener.run, announcer)
            for storage in self.strategies.storages:
                nursery.start_soon(self.garbage_collection.run, storage)
            with self._rounds_scope:
                await self._make_rounds()
            nursery.cancel_scope.cancel()
        await self._leave()

    async def _make_rounds(self) -> None:
        try:
            while True:
                snapshot = await self.link.next_snapshot()
                if self.rounds.buffers.contains_last_offer(snapshot):
                    await self._try_round(snapshot)
                self.link.release(snapshot.slot)
        except TrainerGoneError:
            self.runtime.log.info("trainer.gone")

    async def _try_round(self, snapshot: Snapshot) -> None:
        """Try one round. A full disk does not end the peer: it trains on, and the next round works when there is room again."""
        try:
            await self._make_round(snapshot)
        except UnavailableError as error:
            self.runtime.outages.failed("history", str(error))
        else:
            self.runtime.outages.works("history")

    async def _make_round(self, snapshot: Snapshot) -> None:
        round_record = self._begin_round()
        await self.orders.read()
        if not await self._is_sound(snapshot):
            pass
        elif not snapshot.progress.lineage:
            if not await self.joining.join(snapshot, round_record) and not round_record.verdicts:
                self._round -= 1  # nothing but listening is no round: the next one takes its number
                return
        else:
            if snapshot.progress.lineage != self.lineage_state.lineage:
                await self._resume(snapshot.progress.lineage)
            await self.rounds.publish(snapshot, round_record)
            if not (await self.orders.carry_out(snapshot, round_record) or await self.moving.move(snapshot, round_record)):
                await self.rounds.exchange(snapshot, round_record)
            self.joining.spend_round(round_record)
        await self._end_round(snapshot, round_record)

    async def _resume(self, lineage: bytes) -> None:
        """The trainer brought it along."""
        stored = await self.runtime.in_thread(self.history.lineage_state)
        self.joining.resume(lineage, stored)
        await self.orders.resume(lineage, stored[0])

    async def _is_sound(self, snapshot: Snapshot) -> bool:
        """Whether the snapshot is finite. One that is not can neither be published nor merged."""
        if math.isfinite(await self.runtime.in_thread(length, snapshot.tensors)):  # which the gates ask for as well
            self.runtime.outages.works("model")
            return True
        self.runtime.outages.failed("model", await self.runtime.in_thread(what_is_not, snapshot.tensors, self.publisher.specs))
        return False

    def _begin_round(self) -> RoundRecord:
        now = self.runtime.clock()
        if self._round_began is not None:
            self.rounds.pace.round_took(now - self._round_began)
        self._round_began = now
        self._round += 1
        self.strategies.calls.round_began()
        self.receiver.round = self._round
        self.receiver.note_silence(self.rules.fresh_rounds)
        return RoundRecord(self._round, now)

    async def _end_round(self, snapshot: Snapshot, round_record: RoundRecord) -> None:
        now = self.runtime.clock()
        self.architectures.explain(self.rounds.selection.strangers(), round_record)
        round_record.splits = self.split_reporter.note(self.rounds.selection.seen(round_record.round), now)
        if self.slice_fetches is not None:
            self.slice_fetches.tell(round_record)
        await self._keep(round_record, now)
        round_record.connected = self.connection_watch.connected
        evaluation, round_record.loss_shares = self.rounds.buffers.loss_ledger.take(snapshot.progress)
        round_record.metrics = evaluation.metrics if evaluation else {}
        report = round_record.report(now, self.lineage_state.lineage, snapshot.progress.age)
        await self._save(report, now, round_record.given())
        self.link.send_report(report, self.runtime.outages.broken)
        self.watcher_calls.round_finished(report)
        shown = ("seconds", "heard", "chosen", "merged", "refused", "failed", "lost", "published_bytes", "fetched_bytes", "outcome", "age")
        self.runtime.log.info(
            "round.finished", round=report.round, lineage=report.lineage.hex(), **{name: getattr(report, name) for name in shown}
        )

    async def _keep(self, round_record: RoundRecord, now: float) -> None:
        if round_record.published is None:
            return
        self.retention.announced(round_record.published, now)
        published = await self.runtime.in_thread(self.history.published)
        for item in self.retention.superfluous(published, now, self.rounds.pace.retention_seconds):
            await self.runtime.in_thread(self.history.drop_published, item.number)
            await self.publisher.drop(item.root)

    async def _save(self, report: RoundReport | None, now: float, given: Mapping[PeerId, Contribution] | None = None) -> None:
        await self.receiver.save_learned(lambda learned: self._write(report, learned, now, given))

    def _write(self, report: RoundReport | None, learned: Learned, now: float, given: Mapping[PeerId, Contribution] | None) -> None:
        heard, state = on_wall_clock(learned.heard, now), self.lineage_state
        self.rounds.strategy_states.save(now, self.rules.save_seconds, force=report is None)  # first: what was learned is counted once
        self.history.save_peers(
            learned.marks,
            learned.peers,
            learned.refusals,
            learned.proofs,
            heard,
            report=report,
            given=given,
            standing=(state.lineage, state.rounds, now - state.since) if report is not None else None,
        )

    def _hear(self, announcer: ConfiguredStrategy[Announcer], heard: Heard) -> None:
        news = self.receiver.hear(heard, announcer.label)
        if (entry := self.receiver.said(heard.message)) is None:
            return
        if news and self.gathering is not None:
            self.gathering.hear(entry)
        if entry.backlog:
            return
        if not (news or heard.backlog):
            self.attempts.hear_once_more(entry, announcer.label)
        if news and self.slice_fetches is not None:
            self.slice_fetches.hear(entry)
        if self.relay is not None:
            self.relay.hear(announcer, entry, news=news)

    async def _leave(self) -> None:
        if self.gathering is not None:
            await self.gathering.gather()
        try:
            await self._save(None, self.runtime.clock())
            await self.publisher.say_goodbye()
        except UnavailableError as error:
            self.runtime.outages.failed("history", str(error))
