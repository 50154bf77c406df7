"""Records what happens in a round, and calls the plugins that watch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs
import trio

from learnae.errors import PluginError, UpdateRejectedError
from learnae.node.contributions import Contribution, ServedRows, contributions_of
from learnae.node.evaluations import LossShare
from learnae.node.history import PublishedUpdate
from learnae.node.inbox import InboxEntry
from learnae.node.judging import PLUGIN, Judgement
from learnae.node.runtime import Runtime
from learnae.observations import RoundReport, UpdateVerdict
from learnae.plugins.hooks import Hook
from learnae.records import PeerId, Update

if TYPE_CHECKING:
    from learnae.plugins.manager import PluginManager


REASON_CHARACTERS = 500
SLICE = "slice"
"""The stage of what is no update, but a slice of rows that was not kept."""

NOT_HERE = ("unknown-codec", "unusable-codec")  # whoever sends such an update has done nothing wrong


@attrs.define
class RoundRecord:
    round: int
    started: float
    published: PublishedUpdate | None = None
    fetched_bytes: int = 0
    heard: int = 0
    chosen: int = 0
    verdicts: list[UpdateVerdict] = attrs.field(factory=list)
    slices: list[UpdateVerdict] = attrs.field(factory=list)  # slices of rows that were not kept; no round counts them
    served: ServedRows = attrs.field(factory=ServedRows)
    metrics: Mapping[str, float] = attrs.field(factory=dict)
    loss_shares: Sequence[LossShare] = ()
    splits: tuple[bytes, ...] = ()
    outcome: str = "alone"
    connected: int = 0

    def failed(self, entry: InboxEntry, stage: str, reason: str) -> None:
        """An update that never reached the gates."""
        self.verdicts.append(_verdict(self.round, entry, merged=False, weight=0.0, scale=1.0, stage=stage, reason=reason))

    def judged(self, entry: InboxEntry, judgement: Judgement, *, merged: bool, failure: str = "") -> None:
        """An update that the gates have seen; `failure` says why an accepted one was not merged."""
        weight, stage, reason = judgement.received.weight, PLUGIN if failure else judgement.stage, failure or judgement.reason
        self.verdicts.append(_verdict(self.round, entry, merged=merged, weight=weight, scale=judgement.scale, stage=stage, reason=reason))

    def take_over(self, other: RoundRecord) -> None:
        """Take over the notes of fetches that other rounds have begun, and whose results this round takes."""
        self.fetched_bytes += other.fetched_bytes
        self.served.add(other.served)
        self.verdicts += (attrs.evolve(verdict, round=self.round) for verdict in other.verdicts)

    def fetched(self, peer: PeerId, size: int) -> None:
        """So many bytes came for what this peer has offered."""
        self.fetched_bytes += size
        self.served.bytes[peer] += size

    def given(self) -> dict[PeerId, Contribution]:
        """What other peers gave in this round."""
        return contributions_of(self.verdicts, self.served, self.loss_shares)

    def report(self, now: float, lineage: bytes, age: int) -> RoundReport:
        merged = sum(verdict.merged for verdict in self.verdicts)
        failed, lost = (sum(verdict.stage == stage for verdict in self.verdicts) for stage in ("fetch", PLUGIN))
        return RoundReport(
            round=self.round,
            seconds=now - self.started,
            lineage=lineage,
            age=age,
            published=self.published.root if self.published else None,
            published_bytes=self.published.bytes if self.published else 0,
            fetched_bytes=self.fetched_bytes,
            heard=self.heard,
            chosen=self.chosen,
            merged=merged,
            refused=len(self.verdicts) - merged - failed - lost,
            failed=failed,
            outcome=self.outcome,
            verdicts=(*self.verdicts, *self.slices),
            splits=self.splits,
            lost=lost,
            connected=self.connected,
            metrics=self.metrics,
        )


def stage_of(error: UpdateRejectedError | PluginError) -> str:
    """The stage of an update that could not be decoded: "plugin" if the owner of this peer must act, otherwise "decode"."""
    ours = isinstance(error, PluginError) or error.reason in NOT_HERE
    return PLUGIN if ours else "decode"


def _verdict(round_: int, entry: InboxEntry, *, merged: bool, weight: float, scale: float, stage: str, reason: str) -> UpdateVerdict:
    body = entry.announcement.body
    assert isinstance(body, Update)
    return UpdateVerdict(
        round=round_,
        peer=entry.peer,
        number=entry.announcement.number,
        root=body.root,
        merged=merged,
        weight=weight,
        scale=scale,
        stage=stage,
        reason=reason[:REASON_CHARACTERS],
    )


LIMIT_SECONDS = 5.0
WAITING = 256


@attrs.define
class WatcherCalls:
    """The calls of watchers that wait. If too many wait, new ones are dropped. Delays and drops are logged once, until they are over."""

    manager: PluginManager
    runtime: Runtime
    _behind: bool = False
    _running: set[int] = attrs.field(factory=set)  # watchers that were cut off, and whose threads have not ended
    _channel: tuple[trio.MemorySendChannel[Any], trio.MemoryReceiveChannel[Any]] = attrs.field(
        factory=lambda: trio.open_memory_channel(WAITING)
    )

    def round_finished(self, report: RoundReport) -> None:
        for verdict in (verdict for verdict in report.verdicts if verdict.stage != SLICE):
            self._queue("learnae_update_judged", verdict=verdict)
        self._queue("learnae_round_finished", report=report)

    def peer_changed(self, peer: PeerId, state: str) -> None:
        self._queue("learnae_peer_changed", peer=peer, state=state)

    async def run(self) -> None:
        """Until cancelled."""
        async for hook, arguments in self._channel[1]:
            self._behind = self._behind and self._channel[1].statistics().current_buffer_used > 0
            for watcher in self.manager.watchers(hook):
                await self._tell(watcher, arguments)

    async def _tell(self, watcher: Hook, arguments: dict[str, Any]) -> None:
        """Call one watcher. It is left out if its last call was cut off and still runs, so that it takes one thread at most."""
        if id(watcher) in self._running:
            return
        with trio.move_on_after(LIMIT_SECONDS) as limit:
            await self.runtime.in_watcher_thread(self._run, watcher, arguments)
        if limit.cancelled_caught:
            self.runtime.log.warning("watcher.slow", plugin=watcher.plugin.name, hook=watcher.name, limit_seconds=LIMIT_SECONDS)

    def _run(self, watcher: Hook, arguments: dict[str, Any]) -> None:
        self._running.add(id(watcher))
        try:
            self.manager.notify_one(watcher, **arguments)
        finally:
            self._running.discard(id(watcher))

    def _queue(self, hook: str, **arguments: Any) -> None:
        try:
            self._channel[0].send_nowait((hook, arguments))
        except trio.WouldBlock:
            if not self._behind:
                self.runtime.log.warning("watcher.behind", hook=hook, waiting=WAITING)
            self._behind = True
