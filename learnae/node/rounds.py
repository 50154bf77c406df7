"""One round of a node: publish, select, fetch, judge, merge, and offer the merged model to the trainer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import attrs
import numpy as np
import trio

from learnae.errors import PluginError
from learnae.link.messages import Link, MergeResult, Snapshot
from learnae.node.attempts import FetchAttempts
from learnae.node.claims import BoundedTensors, Claims, LineagePopulation, bounded
from learnae.node.decoding import LazyMasks, LazyTensors
from learnae.node.evaluations import LossLedger
from learnae.node.inbox import InboxEntry
from learnae.node.judging import PLUGIN, GateChain, Judgement
from learnae.node.lineage import LineageState
from learnae.node.merging import Merger
from learnae.node.observing import without_own
from learnae.node.obtaining import BackgroundFetches, Obtained, TransferPace
from learnae.node.peers import Peers
from learnae.node.publishing import Publisher
from learnae.node.reports import RoundRecord
from learnae.node.runtime import Runtime
from learnae.node.selection import UpdateSelection
from learnae.node.strategy_state import StrategyStates
from learnae.readers import ModelInMemory
from learnae.records import LocalModel, PeerId, Received, State

if TYPE_CHECKING:
    from learnae.records import Array


@attrs.define
class MergeBuffers:
    """Two pages of memory. One holds the last adopted model, which is the `start` of the next merge. The other is free to be written."""

    link: Link
    strategy_states: StrategyStates
    loss_ledger: LossLedger = attrs.field(factory=LossLedger)
    _start_page: int | None = None
    _last_number: int | None = None
    _buffers: frozenset[str] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._buffers = frozenset(spec.name for spec in self.link.hello.specs if spec.buffer)

    def contains_last_offer(self, snapshot: Snapshot) -> bool:
        """Whether this snapshot has the last adoption in it. Only such a one may be merged: a difference two rounds late diverges."""
        return self._last_number is None or snapshot.progress.adoption == self._last_number

    def local(self, snapshot: Snapshot) -> LocalModel:
        """The own model, as the strategies get it. The first snapshot of a session is its own `start`."""
        if self._start_page is None:
            self._start_page = 0
            copy_tensors(snapshot.tensors, self.link.page(0))
        start = ModelInMemory({name: _read_only(array) for name, array in self.link.page(self._start_page).items()})
        progress = snapshot.progress
        return LocalModel(
            start=start, current=snapshot.tensors, age=progress.age, samples=progress.samples, loss=progress.loss, buffers=self._buffers
        )

    def free_page(self) -> Mapping[str, Array]:
        return self.link.page(self._free)

    async def hand_over(
        self,
        snapshot: Snapshot,
        *,
        lineage: bytes,
        age: int,
        outcome: str,
        states: Mapping[str, State] | None,
        weights: Mapping[PeerId, float] | None = None,
    ) -> None:
        """Offer the free page, wait for the adoption, then keep the states of the strategies. `states=None` makes them begin anew.

        `weights` are those of the updates that were merged, None for a model that is adopted as a whole. Raises TrainerGoneError.
        """
        number = snapshot.progress.adoption + 1
        self._last_number = number
        gain = age - snapshot.progress.age
        self.link.offer(MergeResult(self.link.hello.session, number, self._free, snapshot.slot, lineage, gain, outcome))
        await self.link.adopted(number)
        self._start_page = self._free
        self.strategy_states.commit(number, states)
        self.loss_ledger.adopted(number, weights)

    @property
    def _free(self) -> int:
        return 1 if self._start_page == 0 else 0


def copy_tensors(source: Mapping[str, Array], target: Mapping[str, Array]) -> None:
    for name, array in target.items():
        np.copyto(array, source[name])


def _read_only(array: Array) -> Array:
    view = array.view()
    view.flags.writeable = False
    return view


GATHERING = 0.1
"""The share of the trainer's patience for which a node listens on after it has published.

Equal peers publish at about the same moment; whoever looks at once merges the others' models of the round before (setting D20, two-class
shards: 84 % instead of 89 %; docs/decisions/0005).
"""


@attrs.define
class Rounds:
    """The rounds of a peer that has a lineage and stays in it."""

    lineage_state: LineageState
    selection: UpdateSelection
    publisher: Publisher
    fetches: BackgroundFetches
    gate_chain: GateChain
    merger: Merger
    buffers: MergeBuffers
    strategy_states: StrategyStates
    claims: Claims
    lineage_population: LineagePopulation
    peers: Peers
    attempts: FetchAttempts
    pace: TransferPace
    patience: float
    runtime: Runtime
    observes: bool = False  # publishes nothing, and its own model counts for nothing

    async def publish(self, snapshot: Snapshot, round_record: RoundRecord) -> None:
        if self.observes:
            return
        round_record.published = await self.publisher.publish(
            snapshot, self.lineage_state.lineage, provisional=self.lineage_state.provisional(self.runtime.clock())
        )
        if round_record.published is not None:
            self.fetches.obtainer.own_bytes = round_record.published.bytes + self.publisher.base.bytes

    async def exchange(self, snapshot: Snapshot, round_record: RoundRecord) -> None:
        """Do everything that follows the own publication: select, fetch, judge, merge, offer. Raises TrainerGoneError."""
        await trio.sleep(GATHERING * self.patience * (self.pace.round_seconds or 0.0))
        chosen = self._choose(snapshot, round_record)
        obtained = self._of_own_lineage(await self.fetches.obtain(chosen, round_record), round_record)
        if not obtained:
            return
        local = self.buffers.local(snapshot)
        judgements, learned = await self.runtime.in_merging_thread(
            self.gate_chain.judge, local, self._received(obtained, local), self.strategy_states.states
        )
        self.strategy_states.learn(learned)
        accepted = [judgement.received for judgement in judgements if judgement.accepted]
        failure = await self._merge(snapshot, local, accepted, round_record)
        self._keep_book(obtained, judgements, failure, round_record)

    def _of_own_lineage(self, obtained: Sequence[Obtained], round_record: RoundRecord) -> list[Obtained]:
        """Leave out updates of other lineages: a fetch of an earlier round may end after this peer has moved."""
        for item in obtained:
            if item.entry.update.lineage != self.lineage_state.lineage:
                round_record.failed(item.entry, "fetch", "it came when this peer had moved to another lineage")
        return [item for item in obtained if item.entry.update.lineage == self.lineage_state.lineage]

    def _choose(self, snapshot: Snapshot, round_record: RoundRecord) -> list[InboxEntry]:
        lineage = self.lineage_state.lineage
        round_record.heard = len(self.selection.fresh(lineage, round_record.round))
        for entry in self.selection.oversized(lineage, round_record.round):
            self._refuse_oversized(entry, round_record)
        chosen = self.selection.choose(lineage, round_record.round, snapshot.progress.age, self.runtime.clock(), self.pace.round_seconds)
        return chosen

    def _refuse_oversized(self, entry: InboxEntry, round_record: RoundRecord) -> None:
        """Refuse each update that announces too large a size once, without fetching it."""
        record = self.peers.note(entry.peer)
        record.last_tried, record.fetched_number = round_record.round, entry.announcement.number
        self.attempts.failed(entry)
        round_record.failed(entry, "decode", f"too-large: {entry.update.bytes} bytes announced, {self.selection.limit} expected at most")

    def _received(self, obtained: Sequence[Obtained], local: LocalModel) -> list[Received]:
        return [self._received_one(item, local) for item in obtained]

    def _received_one(self, item: Obtained, local: LocalModel) -> Received:
        tensors = LazyTensors(item.decoder, local.current)
        old = self.selection.staleness(item.entry, self.runtime.clock(), self.pace.round_seconds)
        return Received(
            peer=item.entry.peer,
            update=item.entry.update,
            tensors=tensors,
            masks=LazyMasks(tensors),
            staleness=old,
            sound=item.decoder.sound,
        )

    async def _merge(self, snapshot: Snapshot, local: LocalModel, accepted: Sequence[Received], round_record: RoundRecord) -> str:
        """Merge. Returns why nothing was merged, or the empty string."""
        if not accepted:
            return "refused"
        try:
            age, changed = await self.runtime.in_merging_thread(
                self._write, local, accepted, self.lineage_population.others(self.lineage_state.lineage), round_record.round
            )
        except PluginError as error:
            self.runtime.outages.plugin_failed("merging", error)
            return str(error)
        self.runtime.outages.works("merging")
        weights = {item.peer: item.weight for item in accepted}
        lineage = self.lineage_state.lineage
        await self.buffers.hand_over(snapshot, lineage=lineage, age=age, outcome="merged", states=changed, weights=weights)
        return ""

    def _write(self, local: LocalModel, accepted: Sequence[Received], here: int, round_: int) -> tuple[int, dict[str, State]]:
        """Write the merged model into the free page. Returns its age and the new states of the strategies."""
        if self.observes:
            return self._write_observed(local, accepted, round_)
        provisional = self.lineage_state.provisional(self.runtime.clock())
        believed = self.claims.believe(local, accepted, self.lineage_state.lineage, round_, here=here, provisional=provisional)
        page = self.buffers.free_page()
        changed = self.merger.run(local, bounded(accepted, believed.counters), page, self.strategy_states.states)
        self.claims.merged(local, believed, page)
        return believed.age, changed

    def _write_observed(self, local: LocalModel, accepted: Sequence[Received], round_: int) -> tuple[int, dict[str, State]]:
        believed = self.claims.observe(accepted, self.lineage_state.lineage, round_)
        seen, others = without_own(local, accepted)
        changed = self.merger.run(
            attrs.evolve(seen, current=BoundedTensors(seen.current, believed.counters)),
            bounded(others, believed.counters),
            self.buffers.free_page(),
            self.strategy_states.states,
        )
        return believed.age, changed

    def _keep_book(self, obtained: Sequence[Obtained], judgements: Sequence[Judgement], failure: str, round_record: RoundRecord) -> None:
        for item, judgement in zip(obtained, judgements, strict=True):
            if judgement.accepted and not failure:
                self._measure_newcomer(item)
                self.attempts.merged(item.entry)
            elif judgement.accepted:
                self.attempts.sound(item.entry)
            elif judgement.stage != PLUGIN:
                self.attempts.refused(item.entry, blamed=judgement.blames)
            round_record.judged(
                item.entry, judgement, merged=judgement.accepted and not failure, failure=failure if judgement.accepted else ""
            )
        if not failure:
            round_record.outcome = "merged"

    def _measure_newcomer(self, item: Obtained) -> None:
        """Note how long a peer took, when it is accepted for the first time. Before that, its time says nothing."""
        if not self.peers.trusts(item.entry.peer):
            self.pace.transfer_took(item.seconds, item.bytes)
            self.pace.came_whole(item.entry.peer, item.seconds, item.longest_silence)
