"""Joining: a peer whose model has no lineage adopts the model of one, or founds one (docs/design.md, "Joining, founding, splitting")."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import partial
from itertools import islice

import attrs
import numpy as np
import trio

from learnae.errors import PluginError
from learnae.link.messages import Snapshot
from learnae.node.claims import adopted_age, agree, medoid, write_model
from learnae.node.history import PublishedUpdate
from learnae.node.inbox import InboxEntry
from learnae.node.judging import PLUGIN
from learnae.node.lineage import LineageState, LineageVoices, Support
from learnae.node.lineage_search import LANES, MOST_LANES, LineageSearch, Model, SearchLead, SearchMisses, model_of
from learnae.node.obtaining import Obtained, Obtainer
from learnae.node.publishing import Publisher
from learnae.node.reports import RoundRecord
from learnae.node.rounds import MergeBuffers, copy_tensors
from learnae.node.runtime import Runtime
from learnae.node.selection import UpdateSelection
from learnae.records import Announcement, Cid, LocalModel, Update

ABANDONING = ("yielded", "rejoined")

BATCHES = 4
"""So often a peer looks for models of the lineages that it hears, each time of other peers."""
SPOILED = LANES
"""So often at once it looks at other models of one lineage, of which none could be adopted. It finds those that are less than three."""

Leads = Callable[[Collection[Model], Collection[bytes]], Sequence[SearchLead]]
"""What to look for, without these models and these lineages."""


@attrs.define
class LineageAdoption:
    """Finds and adopts models of a lineage. `left_behind` is the newest own update of an earlier run: one more candidate to adopt."""

    lineage_state: LineageState
    selection: UpdateSelection
    obtainer: Obtainer
    buffers: MergeBuffers
    left_behind: PublishedUpdate | None
    runtime: Runtime
    misses: SearchMisses = attrs.field(factory=SearchMisses)
    _told: bool = False
    _rng: np.random.Generator = attrs.field(default=attrs.Factory(lambda self: self.runtime.rng("join"), takes_self=True))

    def candidates(self, lineage: bytes, announced: Iterable[InboxEntry] | None = None) -> list[InboxEntry]:
        """The models of that lineage that may be adopted: live ones first, at random, then those left behind, the own newest first."""
        allowed = self._allowed(self.selection.of_lineage(lineage) if announced is None else announced)
        entries = [self.obtainer.attempts.to_adopt(entry) for entry in allowed]
        self._rng.shuffle(entries)
        if self.left_behind is not None and self.left_behind.lineage == lineage and not self.lineage_state.rules.fresh:
            entries.append(self._own_entry(self.left_behind))
        return sorted(entries, key=lambda entry: (entry.backlog, self._failures(entry)))

    def live_candidates(self, lineage: bytes, round_: int, announced: Iterable[InboxEntry] | None = None) -> list[InboxEntry]:
        """The same for a peer that has a lineage: only models of peers that are there now."""
        entries = self._allowed(self.selection.fresh(lineage, round_, announced))
        self._rng.shuffle(entries)
        return sorted(entries, key=self._failures)

    def leads(self, among: Iterable[Support], entries_of: Callable[[bytes, Sequence[InboxEntry]], list[InboxEntry]]) -> list[SearchLead]:
        """Those of these lineages that have models to try, as many as are looked for at once.

        Lineages that were missed before come last. Among equals, those come last whose peers have all failed: anybody can invent some.
        """
        announced = self.selection.by_lineage()

        def failures(lineage: bytes) -> int:
            return min((self._failures(entry) for entry in announced.get(lineage, ())), default=0)

        ordered = sorted(among, key=lambda support: (self.misses.times(support.lineage), -support.expected, failures(support.lineage)))
        entries = ((support, entries_of(support.lineage, announced.get(support.lineage, ()))) for support in ordered)
        return list(islice((SearchLead(support.lineage, some, support.size) for support, some in entries if some), LANES))

    def search(self, round_record: RoundRecord, *, beside: bool = True) -> LineageSearch:
        return LineageSearch(self.obtainer, round_record, self.runtime.clock, beside, self.obtainer.pace.first_seconds, self._unsure)

    async def find(self, search: LineageSearch, leads: Sequence[SearchLead]) -> tuple[bytes, list[Obtained]] | None:
        """Models of the best of these lineages that has any: three, or five if they disagree, or as many as came. None if nothing came."""
        try:
            found = await search.run(leads)
        finally:
            self.obtainer.peers.forget(self.lineage_state.own)
        for lineage in search.missed:
            self._miss(lineage, search.round_record.round)
        return (found.lineage, found.obtained) if found else None

    async def adopt(self, leads: Leads, snapshot: Snapshot, round_record: RoundRecord, outcome: str) -> bool:
        """The medoid of those that can be had, of the best lineage; False when there is none. Raises TrainerGoneError.

        Models that come and are none to adopt write off their peers, and no lineage: others of it are looked at. So do models that never
        come, but they take time, so of those it is not looked for as often.
        """
        tried, left, missed, spoiled = set[Model](), set[bytes](), 0, Counter[bytes]()
        while missed < BATCHES and spoiled.total() < MOST_LANES:
            search = self.search(round_record)
            found = await self.find(search, leads(tried, left))
            tried |= search.failed
            if found is None:
                if not search.tried:
                    return False
                missed += 1
                continue
            lineage, obtained = found
            tried.update(model_of(item.entry) for item in obtained)
            if await self.adopt_one(lineage, obtained, snapshot, round_record, outcome):
                return True
            spoiled[lineage] += 1
            if spoiled[lineage] == SPOILED:
                left.add(lineage)
        return False

    def _miss(self, lineage: bytes, round_: int) -> None:
        """Of a lineage nothing could be adopted. It counts once all who are there have failed: some bad ones write off no good ones."""
        if all(self._failures(entry) for entry in self._allowed(self.selection.fresh(lineage, round_))):
            self.misses.note(lineage, round_)

    async def adopt_one(
        self, lineage: bytes, obtained: list[Obtained], snapshot: Snapshot, round_record: RoundRecord, outcome: str
    ) -> bool:
        """Adopt the medoid of these models. Returns False if none can be adopted, which counts as a miss. Raises TrainerGoneError."""
        local = self.buffers.local(snapshot)
        while obtained:
            chosen = await self.runtime.in_decoding_thread(medoid, obtained)
            age = adopted_age(chosen, obtained, [entry.update.age for entry in self._announced(lineage)])
            if not (flaw := await self._write(chosen, obtained, local, age)):
                self.misses.forget(lineage)
                await self._settle_in(lineage, chosen.entry, age, snapshot, round_record, outcome)
                return True
            round_record.failed(chosen.entry, *flaw)
            if chosen.entry.peer != self.lineage_state.own:
                self.obtainer.attempts.failed(chosen.entry)
            obtained.remove(chosen)
        self._miss(lineage, round_record.round)
        return False

    async def _unsure(self, lineage: bytes, obtained: Sequence[Obtained]) -> bool:
        return not await self.runtime.in_decoding_thread(agree, obtained, len(self._announced(lineage)))

    async def _write(self, chosen: Obtained, obtained: Sequence[Obtained], local: LocalModel, age: int) -> tuple[str, str] | None:
        """Write this model to the page. Returns where and why it cannot be adopted, or None."""
        try:
            written = await self.runtime.in_decoding_thread(write_model, chosen, obtained, local, age, self.buffers.free_page())
        except PluginError as error:
            return PLUGIN, str(error)
        return None if written else ("join", "the model is not finite")

    async def _settle_in(
        self, lineage: bytes, entry: InboxEntry, age: int, snapshot: Snapshot, round_record: RoundRecord, outcome: str
    ) -> None:
        self._tell(lineage, entry, age, outcome)
        await self.buffers.hand_over(snapshot, lineage=lineage, age=age, outcome=outcome, states=None)
        self.lineage_state.enter(lineage, self.runtime.clock(), vouched=entry.peer in self.lineage_state.rules.trust)
        round_record.outcome = outcome

    def _tell(self, lineage: bytes, entry: InboxEntry, age: int, outcome: str) -> None:
        facts = {"lineage": lineage.hex(), "age": age, "left_behind_by_an_earlier_run": entry.backlog}
        if entry.peer != self.lineage_state.own:
            facts["peer"] = entry.peer[:8]
        if outcome in ABANDONING:
            facts["consequence"] = f"what was learned in lineage {self.lineage_state.lineage.hex()} is not in this peer's model any more"
        say = self.runtime.log.warning if entry.backlog or outcome in ABANDONING else self.runtime.log.info
        say(f"lineage.{outcome}", **facts)
        if not self.lineage_state.rules.trust and not self._told and entry.peer != self.lineage_state.own:
            self._told = True
            self.runtime.log.info(
                "join.trusts_anybody", peer=entry.peer[:8], remedy="name the peers whose models may be adopted in join.trust"
            )

    def _announced(self, lineage: bytes) -> list[InboxEntry]:
        return self._allowed(self.selection.of_lineage(lineage))

    def _failures(self, entry: InboxEntry) -> int:
        return self.obtainer.peers.get(entry.peer).failures

    def _allowed(self, entries: Iterable[InboxEntry]) -> list[InboxEntry]:
        return [entry for entry in entries if self._may_adopt(entry)]

    def _may_adopt(self, entry: InboxEntry) -> bool:
        return self.lineage_state.trusts(entry.peer) and not (entry.backlog and self.lineage_state.rules.fresh)

    def _own_entry(self, own: PublishedUpdate) -> InboxEntry:
        update_ = Update(
            root=Cid(own.root),
            bytes=own.bytes,
            lineage=own.lineage,
            architecture=own.architecture,
            age=own.age,
            provisional=False,
            own_steps=0,
            samples=own.samples,
            step_seconds=0.0,
            codec=own.codec,
            base=Cid(own.needs.split()[0]) if own.needs else None,
        )
        return InboxEntry(
            Announcement(swarm=b"", peer=self.lineage_state.own, number=own.number, body=update_),
            b"",
            b"",
            self.runtime.clock(),
            0,
            backlog=True,
        )


TRUSTED = "hearing a peer of join.trust"
NAMED = "hearing a peer of join.lineage"
PUBLISHING = "hearing a peer that publishes"
NOT_ADOPTED = ("fetch", "join")
"""The stages of models that did not come, or came and were none to adopt."""
LONGEST_TRYING = 2
"""Times as long: a newcomer founds no lineage meanwhile where somebody is there of whom no model was tried."""


@attrs.define
class Joining:
    """Joins a newcomer to a swarm. A founder whose model must come from others logs again and again for which peers it waits.

    A newcomer may hear live peers, and yet get none of their models. Then it tries again for `trying_seconds` before it founds a lineage.
    """

    lineage_state: LineageState
    selection: UpdateSelection
    publisher: Publisher
    adoption: LineageAdoption
    buffers: MergeBuffers
    trying_seconds: float
    runtime: Runtime
    observes: bool = False  # it founds nothing: its model was trained by nobody
    listening_since: float = math.inf

    async def join(self, snapshot: Snapshot, round_record: RoundRecord) -> bool:
        """Adopt an announced model, or else found a lineage. Returns False while it still listens. Raises TrainerGoneError."""
        still = self.lineage_state.rules.wait_seconds - self._listened_for
        if still > snapshot.progress.step_seconds:
            return False
        await trio.sleep(max(0.0, still))  # sooner than another snapshot would come
        if self._listened_for < self.lineage_state.settle_seconds and self.lineage_state.expects_more(
            self.selection.seen(round_record.round)
        ):
            return False
        if await self.adoption.adopt(partial(self._leads, round_record), snapshot, round_record, "joined"):
            self.runtime.outages.works(TRUSTED)
            self.runtime.outages.works(NAMED)
            self.runtime.outages.works(PUBLISHING)
            return True
        if self._may_come_yet(round_record) or self._is_kept(round_record):
            return False
        if self.lineage_state.needs_trusted and self._listened_for < self.lineage_state.settle_seconds:
            self._miss_trusted(round_record, "this peer trains alone, and founds a lineage of its own if none of them comes")
            return False
        if only := self.lineage_state.rules.lineage:
            self.runtime.outages.failed(NAMED, f"nobody of lineage {only} was heard: this peer trains alone until somebody comes")
            return False
        if self.observes:
            self.runtime.outages.failed(PUBLISHING, "nobody was heard whose model can be adopted: this observer waits until somebody comes")
            return False
        return await self._found(snapshot, round_record)

    def resume(self, lineage: bytes, stored: tuple[bytes, int, float]) -> None:
        """The trainer came with a lineage. If it is not known for how long the peer was in it, the peer counts as established."""
        if stored[0] == lineage:
            self.lineage_state.settle(lineage, self.runtime.clock(), rounds=stored[1], seconds=stored[2])
        else:
            self.lineage_state.settle(lineage, self.runtime.clock())

    def spend_round(self, round_record: RoundRecord) -> None:
        """One more round in the own lineage."""
        self.lineage_state.spend_round(self.selection.seen(round_record.round), self.runtime.clock())
        if self.lineage_state.vouched:
            self.runtime.outages.works(TRUSTED)
        else:
            self._miss_trusted(round_record, "this peer goes on in its own lineage, and moves to theirs when one comes")

    @property
    def _listened_for(self) -> float:
        return self.runtime.clock() - self.listening_since

    def _may_come_yet(self, round_record: RoundRecord) -> bool:
        """Whether somebody is there who was not tried yet, or whose model could not be had; for as long as it may take at most."""
        left = self.lineage_state.rules.wait_seconds + self.trying_seconds - self._listened_for
        there = [seen.peer for seen in self.lineage_state.allowed(self.selection.seen(round_record.round)) if seen.live]
        if any(not self.adoption.obtainer.peers.get(peer).failures for peer in there):
            left += (LONGEST_TRYING - 1) * self.trying_seconds
        return left > 0 and bool(there) and any(verdict.stage in NOT_ADOPTED for verdict in round_record.verdicts)

    def _is_kept(self, round_record: RoundRecord) -> bool:
        """Whether a keeper is there that may yet be heard of a lineage, or give a model of one; for as long as that may take at most."""
        if self.lineage_state.rules.fresh or not self.publisher.receiver.keepers.all():
            return False
        missed = any(verdict.stage in NOT_ADOPTED for verdict in round_record.verdicts)
        return self._listened_for < (
            self.lineage_state.rules.wait_seconds + self.trying_seconds if missed else self.lineage_state.settle_seconds
        )

    def _leads(self, round_record: RoundRecord, tried: Collection[Model], left: Collection[bytes]) -> list[SearchLead]:
        """Lineages that are heard, and when they are done, those that were left behind."""
        seen = self.selection.seen(round_record.round)
        if (own := self.adoption.left_behind) is not None:
            seen.append(LineageVoices(own.lineage, provisional=False, live=False, peer=self.lineage_state.own))
        self.adoption.misses.keep({item.lineage for item in seen})
        among = [support for support in self.lineage_state.where_to_join(seen) if support.lineage not in left]

        def untried(lineage: bytes, announced: Sequence[InboxEntry]) -> list[InboxEntry]:
            return [entry for entry in self.adoption.candidates(lineage, announced) if model_of(entry) not in tried]

        live = self.adoption.leads([support for support in among if support.live], untried)
        return live or self.adoption.leads([support for support in among if not support.live], untried)

    async def _found(self, snapshot: Snapshot, round_record: RoundRecord) -> bool:
        published = await self.publisher.publish(snapshot, b"", provisional=True)
        if published is None:
            return False
        round_record.published, round_record.outcome = published, "founded"
        await self.runtime.in_thread(copy_tensors, snapshot.tensors, self.buffers.free_page())
        self.runtime.log.info("lineage.founded", lineage=published.lineage.hex())
        await self.buffers.hand_over(snapshot, lineage=published.lineage, age=snapshot.progress.age, outcome="founded", states={})
        self.lineage_state.enter(published.lineage, self.runtime.clock(), vouched=False)
        return True

    def _miss_trusted(self, round_record: RoundRecord, consequence: str) -> None:
        others = sum(seen.live for seen in self.selection.seen(round_record.round))
        self.runtime.outages.failed(TRUSTED, f"none was heard ({others} others were): {consequence}")
